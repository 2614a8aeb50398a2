"""Acknowledgements: which ones a sender asks for, and how they are written (HL7 2.5.1 section 2.9).

Original mode, where a message leaves MSH-15 and MSH-16 empty: one application acknowledgement,
AA, AE or AR. Enhanced mode, where it fills one of them: an accept acknowledgement (CA, CE, CR)
by MSH-15, then an application acknowledgement by MSH-16.

Whatever is sent is sent once the message has taken effect, durably: here both mean that.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from nearframe.errors import UnacceptableMessage
from nearframe.hl7.er7 import Written, header_field, written

#: HL7 table 0357.
CONDITIONS: Final = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    206: "Application record locked",
    207: "Application internal error",
}
#: Nothing is wrong with the content: another version, event or time may do (HL7 2.5.1 section 2.9.2.2).
_REJECTIONS: Final = frozenset({200, 201, 202, 203, 206, 207})
#: Of the standard, as MSH-12 names them.
VERSIONS: Final = re.compile(r"2\.[1-9](\.[0-9])?")
#: Spoken to whom names none of them.
_OUR_VERSION: Final = "2.5.1"
#: From these versions on MSH-9 names event and structure, ERR has a field for each of what and where instead of
#: one for all, and MSA has no text any more.
_STRUCTURE_NAMED: Final = (2, 3, 1)
_ERR_OF_FIELDS: Final = (2, 5)
_NO_TEXT_IN_MSA: Final = (2, 7)
_MAX_ECHOED_CHARS: Final = 250
#: Message types: a general one, and the delayed one of old.
_ACKNOWLEDGEMENTS: Final = frozenset({"ACK", "MCF"})


class Code(StrEnum):
    """Of an application acknowledgement (HL7 table 0008)."""

    ACCEPTED = "AA"
    ERROR = "AE"
    REJECTED = "AR"

    @property
    def of_acceptance(self) -> str:
        """The same as an accept acknowledgement says it."""
        return f"C{self.value[1]}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message.

    Attributes
    ----------
    words
        What was done, or what is wrong; without anything of the message.
    """

    code: Code
    words: str
    error: UnacceptableMessage | None = None

    @classmethod
    def of_error(cls, error: UnacceptableMessage) -> Outcome:
        code = Code.REJECTED if error.condition in _REJECTIONS else Code.ERROR
        return cls(code, str(error), error)


@dataclass(frozen=True, slots=True)
class Header:
    """What is needed of a message to answer it, whatever else is wrong with it; empty where it cannot be found.

    Attributes
    ----------
    sender, receiver
        Application and facility, each as its components.
    asks_acceptance, asks_application
        When an acknowledgement is to be sent: ``AL`` always, ``NE`` never, ``ER`` or ``SU``; empty: original mode.
    """

    sender: tuple[tuple[str, ...], tuple[str, ...]]
    receiver: tuple[tuple[str, ...], tuple[str, ...]]
    event: tuple[str, ...]
    control_id: str
    processing_id: str
    version: str
    asks_acceptance: str
    asks_application: str

    @classmethod
    def of(cls, data: bytes) -> Header:
        """Find it in the bytes of a message."""
        component = header_field(data, 2)[:1] or b"^"

        def components(number: int) -> tuple[str, ...]:
            found = header_field(data, number)[:_MAX_ECHOED_CHARS]
            return tuple(part.decode("ascii", "replace").strip() for part in found.split(component))

        def text(number: int) -> str:
            return components(number)[0]

        return cls(
            sender=(components(3), components(4)),
            receiver=(components(5), components(6)),
            event=components(9),
            control_id=text(10),
            processing_id=text(11),
            version=text(12),
            asks_acceptance=text(15).upper(),
            asks_application=text(16).upper(),
        )

    @property
    def is_acknowledgement(self) -> bool:
        """True for what is never answered: two systems would go on for ever (HL7 2.5.1 section 2.9.2)."""
        return self.event[0] in _ACKNOWLEDGEMENTS

    @property
    def is_enhanced(self) -> bool:
        return bool(self.asks_acceptance or self.asks_application)


def acknowledgements(header: Header, outcome: Outcome, now: datetime) -> Iterator[bytes]:
    """Yield what is to be sent for a message, in order."""
    if not header.is_enhanced:
        yield _acknowledgement(header, outcome, outcome.code, now)
        return
    # What could not be understood is not accepted either, and nothing more is said of it.
    is_answered = outcome.code is not Code.REJECTED and _is_wanted(header.asks_application, outcome.code)
    # An accept acknowledgement that stands alone must not hide that nothing was done.
    acceptance = Code.ACCEPTED if is_answered else outcome.code
    if _is_wanted(header.asks_acceptance, acceptance):
        yield _acknowledgement(header, outcome, acceptance.of_acceptance, now)
    if is_answered:
        yield _acknowledgement(header, outcome, outcome.code, now)


def _is_wanted(condition: str, code: Code) -> bool:
    """Return whether an acknowledgement is sent under a condition of HL7 table 0155."""
    if condition == "ER":
        return code is not Code.ACCEPTED
    if condition == "SU":
        return code is Code.ACCEPTED
    return condition == "AL"


def _acknowledgement(header: Header, outcome: Outcome, code: str, now: datetime) -> bytes:
    spoken = header.version if VERSIONS.fullmatch(header.version) else _OUR_VERSION
    version = tuple(map(int, spoken.split(".")))
    trigger = header.event[1] if len(header.event) > 1 else ""
    is_named = trigger and version >= _STRUCTURE_NAMED
    never = "NE" if header.is_enhanced else ""
    msh: list[Written] = [
        *header.receiver,
        *header.sender,
        now.strftime("%Y%m%d%H%M%S+0000"),
        "",
        ("ACK", trigger, "ACK") if is_named else "ACK",
        uuid.uuid4().hex[:20],
        header.processing_id or "P",
        spoken,
        *("", ""),
        *(never, never),
    ]
    words = "" if version >= _NO_TEXT_IN_MSA else outcome.words
    segments: list[tuple[str, list[Written]]] = [("MSH", msh), ("MSA", [code, header.control_id, words])]
    is_error = code[1] != Code.ACCEPTED.value[1]
    if outcome.error is not None and is_error:
        segments.append(("ERR", _error_fields(outcome.error, version)))
    # A part of every character set that is read, so MSH-18 need not say more.
    return written(segments).encode("ascii", "replace")


def _error_fields(error: UnacceptableMessage, version: tuple[int, ...]) -> list[Written]:
    field = [str(error.field)] if error.field else []
    place = [error.segment, str(error.occurrence), *field] if error.segment else []
    if version < _ERR_OF_FIELDS:
        return [[*place, *[""] * (3 - len(place)), str(error.condition)]]
    condition = (str(error.condition), CONDITIONS[error.condition], "HL70357")
    return ["", place, condition, "E", *("", "", ""), str(error)]
