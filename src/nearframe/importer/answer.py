"""Reading a Store Instances Response (PS3.18 section 10.5.3, Table I.2-2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

#: Failure Reason: out of resources. The only one worth another try.
OUT_OF_RESOURCES = range(0xA700, 0xA800)

_REASONS = {
    0x0110: "the server failed to process it",
    0x0122: "the server does not take objects of its SOP class",
    0x0124: "not authorized",
    0xA700: "the server is out of resources",
    0xA900: "it is not what its SOP class says, or an identifier is missing",
    0xA901: "it belongs to another study than the one asked for",
    0xC000: "the server cannot read it",
    0xC122: "the server does not take its transfer syntax",
    0xB000: "stored, with some values changed by the server",
    0xB006: "stored, with some elements left out by the server",
    0xB007: "stored, though it is not what its SOP class says",
    0xB0C0: "stored, but not current: other pixels are held under its UID (nearframe conflicts list)",  # our own
}
_WARNINGS = range(0xB000, 0xC000)

_REFERENCED = "00081199"
_FAILED = "00081198"
_OTHER_FAILURES = "0008119A"
_INSTANCE_UID = "00081155"
_WARNING_REASON = "00081196"
_FAILURE_REASON = "00081197"
_ERROR_COMMENT = "00000902"


class Said(NamedTuple):
    """What a server said of one instance.

    Attributes
    ----------
    uid
        SOP Instance UID, empty where the server could not read it.
    code
        Warning or Failure Reason; None for an instance stored without warning.
    comment
        The server's own words, if it has any.
    """

    uid: str
    code: int | None = None
    comment: str = ""

    @property
    def reason(self) -> str:
        """The reason in words, empty where there is none."""
        return "" if self.code is None else reason_text(self.code, self.comment)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said of the instances of one request.

    Attributes
    ----------
    unnamed
        Failures of parts whose SOP Instance UID the server could not read.
    """

    stored: tuple[Said, ...] = ()
    failed: tuple[Said, ...] = ()
    unnamed: tuple[Said, ...] = ()

    @property
    def warns(self) -> bool:
        return any(said.code is not None for said in self.stored)


def read_answer(body: object) -> Answer:
    """Read the response; what it lacks, or says in another form, is left out."""
    if isinstance(body, list):
        body = body[0] if body else {}
    if not isinstance(body, Mapping):
        return Answer()
    return Answer(
        stored=tuple(_said(item, _number(item, _WARNING_REASON)) for item in _items(body, _REFERENCED)),
        failed=tuple(_said(item, _number(item, _FAILURE_REASON) or 0) for item in _items(body, _FAILED)),
        unnamed=tuple(_said(item, _number(item, _FAILURE_REASON) or 0) for item in _items(body, _OTHER_FAILURES)),
    )


def reason_text(code: int, comment: str = "") -> str:
    """Return a Failure or Warning Reason in words, ours and the server's."""
    words = _REASONS.get(code) or (_REASONS[0xA700] if code in OUT_OF_RESOURCES else "")
    if words and code in _WARNINGS:
        return words
    return ": ".join(part for part in (words, comment) if part) or f"reason {code:04X}"


def _items(body: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    element = body.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return [item for item in values if isinstance(item, Mapping)] if isinstance(values, list) else []


def _first(item: Mapping[str, Any], tag: str) -> object:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and values else None


def _said(item: Mapping[str, Any], code: int | None) -> Said:
    return Said(str(_first(item, _INSTANCE_UID) or ""), code, str(_first(item, _ERROR_COMMENT) or ""))


def _number(item: Mapping[str, Any], tag: str) -> int | None:
    value = _first(item, tag)
    return value if isinstance(value, int) else None
