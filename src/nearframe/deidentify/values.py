"""Values that stand for others: dummies by VR, dates that are moved."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any, Final

#: What a text is replaced with.
REMOVED: Final = "REMOVED"

_DUMMIES: Final[dict[str, Any]] = {
    "AS": "000D",
    "AT": "00000000",
    "DA": "19000101",
    "DT": "19000101000000",
    "PN": {"Alphabetic": "Removed"},
    "TM": "000000",
}
_NUMBERS: Final = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_EIGHT_ZEROS: Final = "AAAAAAAAAAA="  # bytes: a whole number of every word

_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})(.*)", re.DOTALL)
_OLDEST_YEARS: Final = 89  # of an age that says little (45 CFR 164.514)
_AGE = re.compile(r"(\d{3})Y")


def dummy(vr: str) -> dict[str, Any]:
    """Return a value that fits its VR and says nothing."""
    if vr in _BINARY:
        return {"vr": vr, "InlineBinary": _EIGHT_ZEROS}
    value = 0 if vr in _NUMBERS else _DUMMIES.get(vr, REMOVED)
    return {"vr": vr, "Value": [value]}


def moved(vr: str, value: Any, days: int) -> Any:
    """Return a date, or a date with time, so many days later; a dummy for what is none."""
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    try:
        if match is None:
            raise ValueError
        year, month, day, time = match.groups()
        other = date(int(year), int(month), int(day)) + timedelta(days)
    except (ValueError, OverflowError):
        return _DUMMIES[vr]
    # What follows a date in DA is no time, but whatever a writer put there.
    return f"{other:%Y%m%d}{time if vr == 'DT' else ''}"


def bounded_age(value: Any) -> Any:
    """Return an age, that of the very old as 90 years."""
    match = _AGE.fullmatch(value) if isinstance(value, str) else None
    return "090Y" if match and int(match[1]) > _OLDEST_YEARS else value
