"""A class of urgency as people and other nodes give it to a study: JSON read and written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nearframe.context import Urgency
from nearframe.errors import MalformedRequest
from nearframe.storage.ports import GivenUrgency
from nearframe.units import parse_duration

MAX_REASON_CHARS: Final = 200
_SHAPE: Final = 'a class is given as {"class": …, "reason": …, "until": …}; the last two may be left out'


def read_given(document: dict[str, Any], now: datetime) -> GivenUrgency | None:
    """Read ``{"class": "stat", "reason": "fall", "until": "2 h"}``; the end may be an ISO 8601 time too.

    A class of null is None: what was given is taken back.

    Raises
    ------
    MalformedRequest
        Naming the member, and what is expected.
    """
    if document.keys() - {"class", "reason", "until"} or "class" not in document:
        raise MalformedRequest(_SHAPE)
    reason, until = read_reason(document), _until(document.get("until"), now)
    if document["class"] is None:
        return None
    try:
        return GivenUrgency(read_urgency(document["class"]), reason, until)
    except ValueError as error:
        raise MalformedRequest(f"class: {error}") from error


def given_json(given: GivenUrgency) -> dict[str, Any]:
    """Return what `read_given` reads."""
    until = None if given.until is None else given.until.isoformat()
    return {"class": given.urgency.name.lower(), "reason": given.reason, "until": until}


def read_urgency(word: object) -> Urgency:
    """Read the name of a class; raises `ValueError`."""
    names = [urgency.name.lower() for urgency in Urgency]
    if not isinstance(word, str) or word.lower() not in names:
        raise ValueError(f"expected one of {', '.join(names)}")
    return Urgency[word.upper()]


def read_reason(document: dict[str, Any]) -> str:
    """Return the reason that a document gives; raises `MalformedRequest`."""
    reason = document.get("reason") or ""
    if not isinstance(reason, str) or len(reason) > MAX_REASON_CHARS or not reason.isprintable():
        raise MalformedRequest(f"reason: a line of at most {MAX_REASON_CHARS} characters")
    return reason


def _until(given: object, now: datetime) -> datetime | None:
    if given is None:
        return None
    try:
        if not isinstance(given, str):
            raise ValueError("expected a text")
        if given[:4].isdigit() and "-" in given:
            moment = datetime.fromisoformat(given)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        else:
            moment = now + timedelta(seconds=parse_duration(given))
        return moment.replace(microsecond=0)  # people read it
    except (ValueError, OverflowError) as error:
        raise MalformedRequest("until: a time such as 2 h, or a moment such as 2026-11-22T18:00:00Z") from error
