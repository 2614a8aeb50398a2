"""Statuses (PS3.7 Annex C, PS3.4 Table B.2-1), and which of them an error of ours is."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from nearframe.dimse.command import Command, Field, Value
from nearframe.errors import (
    Busy,
    DatabaseAway,
    LimitExceeded,
    MismatchedIdentifier,
    MissingIdentifier,
    NearframeError,
    NoSpace,
    RequestError,
    TooBroad,
)

#: Error Comment is an LO (PS3.7 Annex E.1).
_COMMENT_CHARS: Final = 64


class Status(IntEnum):
    """What became of an operation."""

    SUCCESS = 0x0000
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_INSTANCE = 0x0111
    NO_SUCH_INSTANCE = 0x0112
    INVALID_ARGUMENT = 0x0115
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    UNRECOGNIZED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    UNABLE_TO_PERFORM = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATA_SET_DOES_NOT_MATCH = 0xA900
    SUBOPERATIONS_FAILED = 0xB000
    CANNOT_UNDERSTAND = 0xC000
    CANCELLED = 0xFE00
    PENDING = 0xFF00
    PENDING_WITH_WARNING = 0xFF01


def status_of(error: NearframeError) -> Status:
    """Return the status that tells a peer of an error."""
    match error:
        case LimitExceeded(limit="max_nesting"):
            return Status.CANNOT_UNDERSTAND  # another time there would be no more room for it
        case NoSpace() | Busy() | DatabaseAway() | LimitExceeded() | TooBroad():
            return Status.OUT_OF_RESOURCES
        case MismatchedIdentifier() | MissingIdentifier():
            return Status.DATA_SET_DOES_NOT_MATCH
        case RequestError():
            return Status.CANNOT_UNDERSTAND
        case _:
            return Status.PROCESSING_FAILURE


def comment(text: str) -> dict[Field, Value]:
    """Return the field that says what stood in the way; none if there is nothing to say."""
    return {Field.ERROR_COMMENT: text[:_COMMENT_CHARS]} if text else {}


def answer_to(request: Command, status: int, text: str = "") -> Command:
    """Return an answer without data set; `text` says what stood in the way."""
    return request.answer(status, comment(text))
