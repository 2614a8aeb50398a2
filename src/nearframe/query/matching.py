"""Attribute matching (PS3.4 section C.2.2.2): a key's value as a test, and the test on an attribute.

SQL evaluates the tests of indexed attributes (`storage.catalogue.conditions`); `matches`
says what they mean, and evaluates the others on DICOM JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from nearframe.dicom.model import DICOMJSON
from nearframe.errors import MalformedRequest
from nearframe.storage.catalogue.criteria import Criterion, Empty, Name, Numbers, Pattern, Range, Test, Text, UIDs
from nearframe.storage.catalogue.text import (
    fold,
    fold_name,
    name_groups,
    name_index,
    plain_date,
    plain_datetime,
    plain_time,
    sound,
    words,
)

MAX_VALUE: Final = 65_536  # characters of one key: a list of a thousand UIDs
MAX_ALTERNATIVES: Final = 2000
MAX_PATTERN: Final = 256
MAX_WORDS: Final = 8

_NUMBERS: Final = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_STRINGS: Final = frozenset({"AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})
#: Backslash is a character of these, not a separator (PS3.5 section 6.2).
_UNDIVIDED: Final = frozenset({"LT", "ST", "UR", "UT"})
#: No value of these can hold a comma, so it separates alternatives, as viewers send it.
_NO_COMMA: Final = frozenset({"AE", "AS", "CS", "UI", "IS", "DS"})
#: Text for people, compared without case and accents; identifiers and codes are compared exactly.
_FOR_PEOPLE: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})
_IDENTIFIERS: Final = frozenset({"00080050", "00100020", "00100021", "00200010", "00401001", "00400009"})

_NORMALISE: Final[dict[str, Callable[..., str]]] = {
    "DA": lambda value, fill="0": plain_date(value),
    "TM": plain_time,
    "DT": plain_datetime,
}
# The end of a range is told from an offset by what may stand where: an offset follows at least the hour.
_MOMENT: Final = r"(?:\d{10,14}(?:\.\d{1,6})?[+-](?:0\d|1[0-4])[0-5]\d|\d{4,14}(?:\.\d{1,6})?)"
_DT_RANGE: Final = re.compile(rf"({_MOMENT})?-({_MOMENT})?")


def parse_test(vr: str, tag: str, value: str, *, fuzzy: bool = False) -> Test | None:
    """Read a key's value; None is universal matching: any value will do.

    Raises
    ------
    MalformedRequest
        If the value cannot be one of this VR.
    """
    value = value.strip(" \0")
    if len(value) > MAX_VALUE:
        raise MalformedRequest(f"a key has more than {MAX_VALUE} characters")
    if not value.strip("*"):
        return None
    if value == '""':
        return Empty()
    if vr == "UI":
        return _uids(value)
    if vr == "PN":
        return _name(value, fuzzy=fuzzy)
    if vr in _NORMALISE:
        return _range(vr, value)
    if vr in _NUMBERS:
        return _numbers(value)
    if vr in _STRINGS:
        return _text(vr, tag, value)
    raise MalformedRequest(f"attributes of VR {vr} cannot be searched by value")


def matches(test: Test, element: DICOMJSON | None) -> bool:
    """Tell whether one of an attribute's values passes; an absent attribute has none."""
    values = [value for value in (element or {}).get("Value") or [] if value not in (None, "")]
    if isinstance(test, Empty):
        return not values
    return any(_passes(test, value) for value in values)


def accepts(criterion: Criterion, document: DICOMJSON) -> bool:
    """Tell whether a data set passes a criterion: some item of each sequence on the path has to."""
    return _accepts(criterion.path, criterion.test, document)


def _accepts(path: Sequence[str], test: Test, document: DICOMJSON) -> bool:
    element = document.get(path[0])
    if len(path) == 1:
        return matches(test, element)
    items = (element or {}).get("Value") or []
    return any(isinstance(item, dict) and _accepts(path[1:], test, item) for item in items)


# -- reading values --------------------------------------------------------------------------


def _split(vr: str, value: str) -> list[str]:
    if vr in _UNDIVIDED:
        return [value]
    parts = re.split(r"[\\,]" if vr in _NO_COMMA or vr in _NUMBERS else r"\\", value)
    found = [part.strip() for part in parts if part.strip()]
    if len(found) > MAX_ALTERNATIVES:
        raise MalformedRequest(f"a key lists more than {MAX_ALTERNATIVES} values")
    return found


def _uids(value: str) -> UIDs | None:
    # Some viewers put wildcards around every value they send.
    uids = [uid for part in _split("UI", value) if (uid := part.strip("*"))]
    if any("*" in uid or "?" in uid for uid in uids):
        raise MalformedRequest("wildcards do not apply to UIDs: list them, separated by commas")
    return UIDs(tuple(dict.fromkeys(uids))) if uids else None


def _text(vr: str, tag: str, value: str) -> Text | None:
    folded = vr in _FOR_PEOPLE and tag not in _IDENTIFIERS
    parts = [fold(part) if folded else part for part in _split(vr, value)]
    if any(not part.strip("*") for part in parts):
        return None
    return Text(tuple(_pattern(part) for part in parts), folded) if parts else None


def _name(value: str, *, fuzzy: bool) -> Name | None:
    groups = tuple(_name_patterns(group) for group in value.split("=")[:3])
    if not any(groups):
        return None
    looked_for = words(fold(value)) if fuzzy else []
    return Name(groups, tuple(dict.fromkeys(looked_for))[:MAX_WORDS])


def _name_patterns(group: str) -> tuple[Pattern, ...]:
    folded = fold_name(group)
    if not folded.strip("*^"):
        return ()
    # "Doe^*" asks for any given name, and for none: trailing empty components are not stored.
    shorter = re.sub(r"(\^\*+)+$", "", folded)
    return tuple(_pattern(text) for text in dict.fromkeys((shorter, folded)))


def _pattern(text: str) -> Pattern:
    if len(text) > MAX_PATTERN:
        raise MalformedRequest(f"a value has more than {MAX_PATTERN} characters")
    return Pattern(text)


def _numbers(value: str) -> Numbers:
    try:
        numbers = tuple(float(part) for part in _split("IS", value))
    except ValueError:
        raise MalformedRequest("a numeric attribute is searched by a number") from None
    if not all(map(math.isfinite, numbers)):
        raise MalformedRequest("a numeric attribute is searched by a finite number")
    return Numbers(numbers)


def _range(vr: str, value: str) -> Range | None:
    low, high, is_single = _bounds(vr, value)
    normalise = _NORMALISE[vr]
    limits = normalise(low, fill="0") if low else "", normalise(high, fill="9") if high else ""
    if (low and not limits[0]) or (high and not limits[1]):
        form = {"DA": "YYYYMMDD", "TM": "HHMMSS.FFFFFF", "DT": "YYYYMMDDHHMMSS.FFFFFF&ZZXX"}[vr]
        raise MalformedRequest(f"a {vr} is written {form}, a range with a hyphen between two of them")
    return Range(vr, *limits, is_single) if any(limits) else None


def _bounds(vr: str, value: str) -> tuple[str, str, bool]:
    if vr == "DT":
        match = None if re.fullmatch(_MOMENT, value) else _DT_RANGE.fullmatch(value)
        return (match[1] or "", match[2] or "", False) if match else (value, value, True)
    low, hyphen, high = value.partition("-")
    return (low.strip(), high.strip(), False) if hyphen else (value, value, True)


# -- testing values --------------------------------------------------------------------------


def _passes(test: Test, value: Any) -> bool:
    match test:
        case UIDs(values):
            return str(value).strip() in values
        case Text(patterns, folded):
            text = fold(str(value)) if folded else str(value).strip()
            return any(pattern.matches(text) for pattern in patterns)
        case Range(vr=vr, low=low, high=high):
            found = _NORMALISE[vr](str(value))
            return bool(found) and low <= found and (not high or found <= high)
        case Numbers(values):
            return _number(value) in values
        case Name():
            return isinstance(value, dict) and _name_passes(test, name_groups(value))
        case _:
            return False


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _name_passes(test: Name, groups: tuple[str, str, str]) -> bool:
    if len(test.groups) == 1:
        whole = any(pattern.matches(group) for group in groups for pattern in test.groups[0])
    else:
        asked = zip(groups, test.groups, strict=False)
        whole = all(any(p.matches(group) for p in patterns) for group, patterns in asked if patterns)
    return whole or (bool(test.words) and all(_word_passes(word, name_index(groups)) for word in test.words))


def _word_passes(word: str, index: str) -> bool:
    code = sound(word)
    return f" {word}" in index or (code is not None and f" ~{code} " in index)
