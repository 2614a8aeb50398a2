"""What a peer says, in words for a person: why an association is rejected, what a status means, and what to do."""

from __future__ import annotations

import os
import socket
from typing import Final

from nearframe.dimse.command import Command, Field
from nearframe.dimse.items import ContextResult
from nearframe.dimse.pdu import Abort, AbortReason, AbortSource, AssociateRJ, Rejection, RejectResult
from nearframe.dimse.status import Status

_REJECTIONS: Final = {
    Rejection.NO_REASON: "it gives no reason; often an AE title or an address that it does not know",
    Rejection.APPLICATION_CONTEXT_NOT_SUPPORTED: "it does not speak DICOM's application context",
    Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED: (
        "it does not know our AE title, or not from this address: have it configured there"
    ),
    Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED: "the AE title that it was called by is not its own",
    Rejection.PROTOCOL_VERSION_NOT_SUPPORTED: "it speaks no version 1 of the upper layer",
    Rejection.TEMPORARY_CONGESTION: "it is busy: try again",
    Rejection.LOCAL_LIMIT_EXCEEDED: "it has as many associations as it takes: try again",
}
_ABORTS: Final[dict[int, str]] = {
    AbortReason.UNRECOGNIZED_PDU: "a PDU of a type that it does not know",
    AbortReason.UNEXPECTED_PDU: "a PDU out of order",
    AbortReason.UNRECOGNIZED_PARAMETER: "a parameter that it does not know",
    AbortReason.UNEXPECTED_PARAMETER: "a parameter out of place",
    AbortReason.INVALID_PARAMETER: "a value that cannot be",
}
#: PS3.6 Table A-1.
_SERVICES: Final = {
    "1.2.840.10008.1.1": "verification (C-ECHO)",
    "1.2.840.10008.1.20.1": "storage commitment",
    "1.2.840.10008.3.1.2.3.3": "performed procedure steps",
    "1.2.840.10008.5.1.4.31": "a worklist",
    "1.2.840.10008.5.1.4.1.2.1.1": "queries for patients (C-FIND)",
    "1.2.840.10008.5.1.4.1.2.2.1": "queries for studies (C-FIND)",
    "1.2.840.10008.5.1.4.1.2.1.2": "C-MOVE of patients",
    "1.2.840.10008.5.1.4.1.2.2.2": "C-MOVE of studies",
    "1.2.840.10008.5.1.4.1.2.1.3": "C-GET of patients",
    "1.2.840.10008.5.1.4.1.2.2.3": "C-GET of studies",
}
_CONTEXTS: Final = {
    ContextResult.USER_REJECTION: "not from us",
    ContextResult.NO_REASON: "it does not say why",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "not at all",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "not in this transfer syntax",
}
#: PS3.7 Annex C and the tables of PS3.4 Annexes B, C, F and J.
_STATUSES: Final = {
    0x0000: "done",
    0x0001: "done, but optional attributes are not supported",
    0x0105: "it has no such attribute",
    0x0106: "a value is not allowed",
    0x0107: "done, but it does not know every attribute",
    0x0110: "it failed while it worked on this",
    0x0111: "it has an instance of this UID already",
    0x0112: "it has no such instance",
    0x0113: "it knows no such event",
    0x0114: "it knows no such argument",
    0x0115: "an argument is not allowed",
    0x0116: "done, but a value was out of range",
    0x0117: "the instance UID is malformed",
    0x0118: "it knows no such SOP class",
    0x0119: "the instance is of another SOP class",
    0x0120: "a required attribute is missing",
    0x0121: "a required value is missing",
    0x0122: "it does not support this SOP class",
    0x0123: "it knows no such action",
    0x0124: "it does not allow us to do this",
    0x0210: "the message number is in use",
    0x0211: "it does not know this operation",
    0x0212: "the operation was written wrongly",
    0x0213: "it is short of resources: try again",
    0xA701: "it could not count the matches: it is short of resources",
    0xA702: "it could not send what was asked for: the destination refused it, or cannot be reached",
    0xA801: "it does not know the destination: have that AE title, with host and port, configured there",
    0xB000: "done, with changes or not for all",
    0xB006: "stored, but elements were discarded",
    0xB007: "stored, though it is not what its SOP class says",
    0xFE00: "cancelled",
    0xFF00: "going on",
    0xFF01: "going on, but not every key is supported",
}
#: By the high byte, for statuses of which the low one is the peer's own.
_RANGES: Final = {
    0xA700: "it is out of resources, usually disk: try again later",
    0xA900: "it says that the data set does not fit the SOP class",
    0xAA00: "it failed while it worked on this",
    0xC000: "it cannot process this",
}


def rejection(answer: AssociateRJ) -> str:
    """Return why an association is rejected (PS3.8 Table 9-21)."""
    try:
        why = _REJECTIONS[Rejection(answer.source << 8 | answer.reason)]
    except ValueError:
        why = f"for a reason that the standard does not have (source {answer.source}, reason {answer.reason})"
    return why if answer.result == RejectResult.PERMANENT or "try again" in why else f"{why}; only for now: try again"


def abort(pdu: object) -> str:
    """Return what an A-ABORT adds to that (PS3.8 Table 9-26)."""
    if not isinstance(pdu, Abort) or pdu.source == AbortSource.USER:
        return ": its log says why"
    return f": it could not read what it was sent ({_ABORTS.get(pdu.reason, 'for no reason that it tells')})"


def unreachable(error: OSError) -> str:
    """Return why a connection could not be made, and what to look at."""
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there: is the port right, and does the service run?"
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}: is the host's name right?"
    return os.strerror(error.errno) if error.errno else str(error)


def not_offered(abstract_syntax: str, why: str) -> str:
    """Return what it means that there is no presentation context for a service, or for objects of a class."""
    service = _SERVICES.get(abstract_syntax)
    what = f"does not offer {service}" if service else "does not take objects of this class"
    return f"the DICOM peer {what}: {why}"


def status(code: int) -> str:
    """Return what a status means."""
    return _STATUSES.get(code) or _RANGES.get(code & 0xFF00) or _RANGES.get(code & 0xF000) or "an unknown status"


def status_and_code(code: int) -> str:
    """Return what a status means, and its number: what is logged, since a peer's own words may be about a patient."""
    return f"{status(code)} [{code:04X}]"


def answer(command: Command) -> str:
    """Return what an answer means, with what the peer itself says about it."""
    said = "".join(c for c in command.text(Field.ERROR_COMMENT) if c.isprintable())
    return status_and_code(command.status) + (f" ({said})" if said else "")


def context_result(result: int) -> str:
    """Return why a presentation context was not accepted (PS3.8 Table 9-18)."""
    try:
        return _CONTEXTS[ContextResult(result)]
    except (KeyError, ValueError):
        return "it does not say why"


def is_success(code: int) -> bool:
    """Return whether what was asked is done: warnings are successes too (PS3.7 Annex C)."""
    return code in (Status.SUCCESS, 0x0001, 0x0107, 0x0116) or code & 0xF000 == _WARNINGS


_WARNINGS: Final = 0xB000
