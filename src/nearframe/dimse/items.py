"""The variable items of association requests and answers (PS3.8 section 9.3.2-3, Annex D; PS3.7 Annex D.3).

::

    item   type 1 | reserved 1 | length 2 | value
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from nearframe.dicom.filemeta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from nearframe.errors import MalformedPDU

#: The DICOM application context (PS3.7 Annex A.2.1): there is no other.
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"

#: Roles and extended negotiations of one request: one of each for every context that there may be.
_MOST_NEGOTIATED: Final = 256

_ITEM: Final = struct.Struct(">BxH")
_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_TWO_U16: Final = struct.Struct(">HH")


class Kind(IntEnum):
    """The types of items that are read; others are skipped."""

    APPLICATION_CONTEXT = 0x10
    PROPOSED = 0x20
    RESULT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAX_LENGTH = 0x51
    CLASS_UID = 0x52
    WINDOW = 0x53
    ROLE = 0x54
    VERSION = 0x55
    EXTENDED = 0x56


class ContextResult(IntEnum):
    """What becomes of a proposed context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class Proposed:
    """A presentation context as it is proposed (PS3.8 section 9.3.2.2)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]

    def encode(self) -> bytes:
        syntaxes = b"".join(write_item(Kind.TRANSFER_SYNTAX, uid.encode("ascii")) for uid in self.transfer_syntaxes)
        abstract = write_item(Kind.ABSTRACT_SYNTAX, self.abstract_syntax.encode("ascii"))
        return write_item(Kind.PROPOSED, bytes((self.context_id, 0, 0, 0)) + abstract + syntaxes)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a presentation context (PS3.8 section 9.3.3.2).

    Attributes
    ----------
    transfer_syntax
        Chosen; not significant unless the context was accepted.
    """

    context_id: int
    result: int
    transfer_syntax: str

    @property
    def is_accepted(self) -> bool:
        return self.result == ContextResult.ACCEPTANCE

    def encode(self) -> bytes:
        syntax = write_item(Kind.TRANSFER_SYNTAX, self.transfer_syntax.encode("ascii"))
        return write_item(Kind.RESULT, bytes((self.context_id, 0, self.result, 0)) + syntax)


@dataclass(frozen=True, slots=True)
class Role:
    """Who is user and who is provider of a service (PS3.7 Annex D.3.3.4)."""

    sop_class_uid: str
    is_scu: bool
    is_scp: bool

    def encode(self) -> bytes:
        uid = self.sop_class_uid.encode("ascii")
        return write_item(Kind.ROLE, _U16.pack(len(uid)) + uid + bytes((self.is_scu, self.is_scp)))


@dataclass(frozen=True, slots=True)
class ExtendedNegotiation:
    """What a service class negotiates by itself (PS3.7 Annex D.3.3.5)."""

    sop_class_uid: str
    information: bytes

    def encode(self) -> bytes:
        uid = self.sop_class_uid.encode("ascii")
        return write_item(Kind.EXTENDED, _U16.pack(len(uid)) + uid + self.information)


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The user information item (PS3.8 Annex D, PS3.7 Annex D.3).

    Attributes
    ----------
    max_pdu_bytes
        The largest body of P-DATA-TF that the sender of this takes; 0 for any.
    window
        Operations that may be outstanding: invoked and performed by the requestor; 0 for any.
        None if the item is absent, which means one each.
    """

    max_pdu_bytes: int = 0
    implementation_class_uid: str = IMPLEMENTATION_CLASS_UID
    implementation_version: str = IMPLEMENTATION_VERSION_NAME
    window: tuple[int, int] | None = None
    roles: tuple[Role, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()

    def encode(self) -> bytes:
        items = [
            write_item(Kind.MAX_LENGTH, _U32.pack(self.max_pdu_bytes)),
            write_item(Kind.CLASS_UID, self.implementation_class_uid.encode("ascii")),
        ]
        if self.window is not None:
            items.append(write_item(Kind.WINDOW, _TWO_U16.pack(*self.window)))
        items += [role.encode() for role in self.roles]
        items.append(write_item(Kind.VERSION, self.implementation_version.encode("ascii")))
        items += [item.encode() for item in self.extended]
        return b"".join(items)

    @classmethod
    def decode(cls, value: bytes) -> UserInformation:
        """Read the sub-items; those of unknown type are skipped.

        Raises
        ------
        MalformedPDU
            If one cannot be read, or there are more than can be.
        """
        user = cls(implementation_class_uid="", implementation_version="")
        for kind, data in read_items(value):
            user = _with(user, kind, data)
            if len(user.roles) + len(user.extended) > _MOST_NEGOTIATED:
                raise MalformedPDU("more roles and extended negotiations than there are contexts")
        return user


def _with(user: UserInformation, kind: int, data: bytes) -> UserInformation:
    try:
        match kind:
            case Kind.MAX_LENGTH:
                return replace(user, max_pdu_bytes=_U32.unpack(data)[0])
            case Kind.CLASS_UID:
                return replace(user, implementation_class_uid=uid_text(data))
            case Kind.WINDOW:
                return replace(user, window=_TWO_U16.unpack(data))
            case Kind.ROLE:
                uid, (scu, scp) = _counted(data)
                return replace(user, roles=(*user.roles, Role(uid, bool(scu), bool(scp))))
            case Kind.VERSION:
                return replace(user, implementation_version=data.decode("latin-1").rstrip(" \0"))
            case Kind.EXTENDED:
                uid, information = _counted(data)
                return replace(user, extended=(*user.extended, ExtendedNegotiation(uid, information)))
    except (struct.error, ValueError) as error:
        raise MalformedPDU(f"user information item {kind:#04x} has not the length that it must have") from error
    return user


def write_item(kind: int, value: bytes) -> bytes:
    """Return an item or sub-item."""
    return _ITEM.pack(kind, len(value)) + value


def read_items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each item in turn.

    Raises
    ------
    MalformedPDU
        If one says that it is longer than what is left.
    """
    at = 0
    while at < len(data):
        if at + _ITEM.size > len(data):
            raise MalformedPDU("an item ends within its header")
        kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        if at + length > len(data):
            raise MalformedPDU(f"item {kind:#04x} says it is longer than what is left of the PDU")
        yield kind, data[at : at + length]
        at += length


def read_proposed(value: bytes) -> Proposed:
    """Read the value of a proposed presentation context.

    Raises
    ------
    MalformedPDU
        If it has no abstract syntax, no transfer syntax, or an identifier that none may have.
    """
    abstract = ""
    syntaxes: list[str] = []
    for kind, data in read_items(_behind_fixed(value)):
        if kind == Kind.ABSTRACT_SYNTAX:
            abstract = uid_text(data)
        elif kind == Kind.TRANSFER_SYNTAX:
            syntaxes.append(uid_text(data))
    if not abstract or not syntaxes:
        raise MalformedPDU("a presentation context without abstract or transfer syntax")
    if not value[0] & 1:
        raise MalformedPDU("a presentation context with an even number")
    return Proposed(value[0], abstract, tuple(syntaxes))


def read_result(value: bytes) -> Result:
    """Read the value of an answered presentation context.

    Raises
    ------
    MalformedPDU
        If it cannot be read.
    """
    syntax = ""
    for kind, data in read_items(_behind_fixed(value)):
        if kind == Kind.TRANSFER_SYNTAX:
            syntax = uid_text(data)
    return Result(value[0], value[2], syntax)


def uid_text(value: bytes) -> str:
    """Return a UID; some pad it with a null, as in a data set.

    Raises
    ------
    MalformedPDU
        If it has characters that no UID has, and that could not be sent back.
    """
    if not value.isascii():
        raise MalformedPDU("a UID with characters that are not ASCII")
    return value.decode("ascii").rstrip(" \0")


def _behind_fixed(value: bytes) -> bytes:
    if len(value) < 4:  # identifier, reserved, result, reserved
        raise MalformedPDU("a presentation context ends within its fixed fields")
    return value[4:]


def _counted(data: bytes) -> tuple[str, bytes]:
    """Split a sub-item that begins with the length of a UID, and the UID."""
    (length,) = _U16.unpack_from(data)
    if 2 + length > len(data):
        raise ValueError("the UID is longer than its item")
    return uid_text(data[2 : 2 + length]), data[2 + length :]
