"""A class of urgency as people and other nodes give it to a study."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from nearframe.context import Urgency
from nearframe.errors import MalformedRequest
from nearframe.units import parse_duration

MAX_REASON_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class GivenUrgency:
    """A class, why, and when it ends.

    Attributes
    ----------
    urgency
        None takes back what was given.
    until
        Seconds since 1970, or None: until something else is given.
    """

    urgency: Urgency | None
    reason: str = ""
    until: float | None = None

    @classmethod
    def parse(cls, document: dict[str, Any], now: float) -> GivenUrgency:
        """Read ``{"class": "stat", "reason": "fall", "until": "2 h"}``; the end may be an ISO 8601 time too.

        Raises
        ------
        MalformedRequest
            Naming the member, and what is expected.
        """
        unknown = document.keys() - {"class", "reason", "until"}
        if unknown or "class" not in document:
            raise MalformedRequest(
                'a class is given as {"class": …, "reason": …, "until": …}; the last two may be left out'
            )
        word = document["class"]
        try:
            urgency = None if word is None else read_urgency(word)
        except ValueError as error:
            raise MalformedRequest(f"class: {error}") from error
        return cls(urgency, read_reason(document), _until(document.get("until"), now))

    def as_json(self) -> dict[str, Any]:
        """Return what `parse` reads."""
        word = None if self.urgency is None else self.urgency.name.lower()
        until = None if self.until is None else datetime.fromtimestamp(self.until, UTC).isoformat()
        return {"class": word, "reason": self.reason, "until": until}


def read_urgency(word: object) -> Urgency:
    """Read the name of a class; raises `ValueError`."""
    names = [urgency.name.lower() for urgency in Urgency]
    if not isinstance(word, str) or word.lower() not in names:
        raise ValueError(f"expected one of {', '.join(names)}")
    return Urgency[word.upper()]


def read_reason(document: dict[str, Any]) -> str:
    """Return the reason that a document gives; raises `MalformedRequest`."""
    reason = document.get("reason") or ""
    if not isinstance(reason, str) or len(reason) > MAX_REASON_CHARS or not (reason.isprintable() or not reason):
        raise MalformedRequest(f"reason: a line of at most {MAX_REASON_CHARS} characters")
    return reason


def _until(given: object, now: float) -> float | None:
    if given is None:
        return None
    try:
        if not isinstance(given, str):
            raise ValueError("expected a text")
        if given[:4].isdigit() and "-" in given:
            moment = datetime.fromisoformat(given)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        return now + parse_duration(given)
    except (ValueError, OverflowError) as error:
        raise MalformedRequest("until: a time such as 2 h, or a moment such as 2026-11-22T18:00:00Z") from error
