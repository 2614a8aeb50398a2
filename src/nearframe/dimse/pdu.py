"""Protocol data units (PS3.8 section 9.3): bytes <-> values.

::

    every PDU   type 1 | reserved 1 | length 4 (of what follows)
    P-DATA-TF   type 4 | any number of: length 4 | context 1 | control 1 | a fragment

All PDUs but P-DATA-TF are small, and are values here. P-DATA-TF is only headers here:
its fragments go through `stream.PDUStream` as they come, and never wait to be whole.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from nearframe.dimse.items import (
    APPLICATION_CONTEXT,
    Kind,
    Proposed,
    Result,
    UserInformation,
    read_items,
    read_proposed,
    read_result,
    uid_text,
    write_item,
)
from nearframe.errors import MalformedPDU

HEADER_BYTES: Final = 6
#: Of a fragment of P-DATA-TF: its length, its presentation context, and its control header.
PDV_HEADER_BYTES: Final = 6

_PDU: Final = struct.Struct(">BxI")
_PDV: Final = struct.Struct(">IBB")
_ASSOCIATE: Final = struct.Struct(">H2x16s16s32x")
_FOUR: Final = struct.Struct(">xBBB")
_IS_COMMAND, _IS_LAST = 0x01, 0x02


class PDUType(IntEnum):
    """The first byte of a PDU."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class RejectResult(IntEnum):
    """Whether it may be tried again (PS3.8 Table 9-21)."""

    PERMANENT = 1
    TRANSIENT = 2


class Rejection(IntEnum):
    """Who rejects, and why (PS3.8 Table 9-21): source in the high byte, reason in the low one."""

    NO_REASON = 0x0101
    APPLICATION_CONTEXT_NOT_SUPPORTED = 0x0102
    CALLING_AE_TITLE_NOT_RECOGNIZED = 0x0103
    CALLED_AE_TITLE_NOT_RECOGNIZED = 0x0107
    PROTOCOL_VERSION_NOT_SUPPORTED = 0x0202
    TEMPORARY_CONGESTION = 0x0301
    LOCAL_LIMIT_EXCEEDED = 0x0302


class AbortSource(IntEnum):
    """Who gave up (PS3.8 Table 9-26)."""

    USER = 0
    PROVIDER = 2


class AbortReason(IntEnum):
    """Why the provider gave up (PS3.8 Table 9-26); not significant where the user did."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


@dataclass(frozen=True, slots=True)
class Associate:
    """What A-ASSOCIATE-RQ and -AC have in common.

    Attributes
    ----------
    called_ae_title, calling_ae_title
        Without the spaces around them. In an -AC they repeat those of the request.
    """

    called_ae_title: str
    calling_ae_title: str
    user: UserInformation = field(default_factory=UserInformation)
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1


@dataclass(frozen=True, slots=True)
class AssociateRQ(Associate):
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2)."""

    contexts: tuple[Proposed, ...] = ()

    def encode(self) -> bytes:
        items = b"".join(context.encode() for context in self.contexts)
        return _encode_associate(PDUType.ASSOCIATE_RQ, self, items)


@dataclass(frozen=True, slots=True)
class AssociateAC(Associate):
    """A-ASSOCIATE-AC (PS3.8 section 9.3.3)."""

    results: tuple[Result, ...] = ()

    def encode(self) -> bytes:
        items = b"".join(result.encode() for result in self.results)
        return _encode_associate(PDUType.ASSOCIATE_AC, self, items)


@dataclass(frozen=True, slots=True)
class AssociateRJ:
    """A-ASSOCIATE-RJ (PS3.8 section 9.3.4).

    Attributes
    ----------
    source, reason
        As sent; `Rejection` names the pairs there are.
    because
        What whoever looks after this node should know besides; it is not sent.
    """

    result: int
    source: int
    reason: int
    because: str = field(default="", compare=False)

    @classmethod
    def of(cls, why: Rejection, result: RejectResult = RejectResult.PERMANENT, *, because: str = "") -> AssociateRJ:
        return cls(result, why >> 8, why & 0xFF, because)

    def encode(self) -> bytes:
        return _PDU.pack(PDUType.ASSOCIATE_RJ, 4) + _FOUR.pack(self.result, self.source, self.reason)

    def __str__(self) -> str:
        pair = self.source << 8 | self.reason
        try:
            name = Rejection(pair).name.lower().replace("_", " ")
        except ValueError:
            name = f"source {self.source}, reason {self.reason}"
        return name if self.result == RejectResult.PERMANENT else f"{name}, for now"


@dataclass(frozen=True, slots=True)
class ReleaseRQ:
    """A-RELEASE-RQ (PS3.8 section 9.3.6)."""

    def encode(self) -> bytes:
        return _PDU.pack(PDUType.RELEASE_RQ, 4) + bytes(4)


@dataclass(frozen=True, slots=True)
class ReleaseRP:
    """A-RELEASE-RP (PS3.8 section 9.3.7)."""

    def encode(self) -> bytes:
        return _PDU.pack(PDUType.RELEASE_RP, 4) + bytes(4)


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT (PS3.8 section 9.3.8)."""

    source: int = AbortSource.USER
    reason: int = AbortReason.NOT_SPECIFIED

    def encode(self) -> bytes:
        return _PDU.pack(PDUType.ABORT, 4) + _FOUR.pack(0, self.source, self.reason)


SmallPDU = AssociateRQ | AssociateAC | AssociateRJ | ReleaseRQ | ReleaseRP | Abort


@dataclass(frozen=True, slots=True)
class FragmentHeader:
    """Of a presentation data value (PS3.8 section 9.3.5.1 and Annex E).

    Attributes
    ----------
    size
        Bytes of the fragment that follows.
    """

    size: int
    context_id: int
    is_command: bool
    is_last: bool


def read_header(data: bytes | memoryview) -> tuple[int, int]:
    """Return the type of a PDU, which may be none that there is, and the length of its body."""
    kind, length = _PDU.unpack(data)
    return kind, length


def read_fragment_header(data: bytes | memoryview) -> FragmentHeader:
    """Read the six bytes before a fragment.

    Raises
    ------
    MalformedPDU
        If its length has no room for what it counts, or its context has a number that none has.
    """
    length, context_id, control = _PDV.unpack(data)
    if length < 2:
        raise MalformedPDU("a presentation data value shorter than its own header")
    if not context_id & 1:
        raise MalformedPDU("a presentation data value of a context with an even number")
    return FragmentHeader(length - 2, context_id, bool(control & _IS_COMMAND), bool(control & _IS_LAST))


def write_data_header(context_id: int, size: int, *, is_command: bool, is_last: bool) -> bytes:
    """Return what stands before a fragment that travels in a PDU of its own."""
    control = (_IS_COMMAND if is_command else 0) | (_IS_LAST if is_last else 0)
    return _PDU.pack(PDUType.P_DATA_TF, size + PDV_HEADER_BYTES) + _PDV.pack(size + 2, context_id, control)


def read_pdu(kind: PDUType, body: bytes) -> SmallPDU:
    """Read the body of any PDU but P-DATA-TF.

    Raises
    ------
    MalformedPDU
        If it cannot be read.
    """
    match kind:
        case PDUType.ASSOCIATE_RQ | PDUType.ASSOCIATE_AC:
            return _read_associate(kind, body)
        case PDUType.RELEASE_RQ:
            return ReleaseRQ()
        case PDUType.RELEASE_RP:
            return ReleaseRP()
        case PDUType.ASSOCIATE_RJ | PDUType.ABORT:
            if len(body) < _FOUR.size:
                raise MalformedPDU(f"{kind.name} ends within its four bytes")
            first, source, reason = _FOUR.unpack_from(body)
            return AssociateRJ(first, source, reason) if kind is PDUType.ASSOCIATE_RJ else Abort(source, reason)
        case PDUType.P_DATA_TF:
            raise AssertionError("P-DATA-TF is streamed")


def _encode_associate(kind: PDUType, pdu: Associate, contexts: bytes) -> bytes:
    body = b"".join(
        (
            _ASSOCIATE.pack(pdu.protocol_version, _ae_field(pdu.called_ae_title), _ae_field(pdu.calling_ae_title)),
            write_item(Kind.APPLICATION_CONTEXT, pdu.application_context.encode("ascii")),
            contexts,
            write_item(Kind.USER_INFORMATION, pdu.user.encode()),
        )
    )
    return _PDU.pack(kind, len(body)) + body


def _read_associate(kind: PDUType, body: bytes) -> AssociateRQ | AssociateAC:
    if len(body) < _ASSOCIATE.size:
        raise MalformedPDU(f"{kind.name} ends within its fixed fields")
    version, called, calling = _ASSOCIATE.unpack_from(body)
    application, user = "", UserInformation()
    proposed: list[Proposed] = []
    results: list[Result] = []
    for item, value in read_items(body[_ASSOCIATE.size :]):
        # PS3.8 section 9.3.1: items of unknown type are skipped.
        if item == Kind.APPLICATION_CONTEXT:
            application = uid_text(value)
        elif item == Kind.PROPOSED:
            proposed.append(read_proposed(value))
        elif item == Kind.RESULT:
            results.append(read_result(value))
        elif item == Kind.USER_INFORMATION:
            user = UserInformation.decode(value)
    titles = _ae_text(called), _ae_text(calling)
    if kind is PDUType.ASSOCIATE_RQ:
        return AssociateRQ(*titles, user, application, version, tuple(proposed))
    return AssociateAC(*titles, user, application, version, tuple(results))


def _ae_field(title: str) -> bytes:
    return title.encode("ascii").ljust(16)


def _ae_text(field: bytes) -> str:
    # Not ASCII, control characters: such a title is nobody's, and is refused as unknown, not as unreadable.
    return field.decode("latin-1").strip(" \0")
