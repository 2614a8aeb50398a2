"""A DICOM peer that says whatever it likes, as bytes on a socket, and hears what it is told."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self, TypeAlias

from nearframe.dimse.command import Command, CommandField, Field
from nearframe.dimse.items import Proposed, UserInformation
from nearframe.dimse.pdu import (
    PDV_HEADER_BYTES,
    Abort,
    AbortReason,
    AbortSource,
    AssociateRQ,
    PDUType,
    ReleaseRQ,
    read_fragment_header,
    read_header,
    write_data_header,
)
from nearframe.dimse.status import Status
from tests.integration.dimse.test_workflow import data_set_of
from tests.syncing import ct_series

Address: TypeAlias = tuple[str, int]


def uid_of(data_set: bytes) -> str:
    """Return the SOP Instance UID of a data set in Explicit VR."""
    at = data_set.index(b"\x08\0\x18\0UI") + 6
    (length,) = struct.unpack_from("<H", data_set, at)
    return data_set[at + 2 : at + 2 + length].rstrip(b"\0").decode()


EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
VERIFICATION: Final = "1.2.840.10008.1.1"
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
STUDY_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
#: By context: verification is 1, and so on.
CONTEXTS: Final = (
    Proposed(1, VERIFICATION, (EXPLICIT,)),
    Proposed(3, CT, (EXPLICIT,)),
    Proposed(5, CT, (DEFLATED,)),
    Proposed(7, STUDY_FIND, (EXPLICIT,)),
    Proposed(9, STUDY_MOVE, (EXPLICIT,)),
)
ECHO, STORE, STORE_DEFLATED, FIND, MOVE = (context.context_id for context in CONTEXTS)
#: An object that can be stored, and its name.
OBJECT: Final = data_set_of(ct_series(1, study="1.2.826.0.1.3680043.2.1125.35")[0])
UID: Final = uid_of(OBJECT)
#: A-ABORT before there is an association (PS3.8 Table 9-10, AA-1).
ABORTED: Final = Abort(AbortSource.USER).encode()
_LONGEST_WAIT_S: Final = 30.0
_FRAGMENT_BYTES: Final = 1 << 16
_ROOM_BYTES: Final = 1 << 14


def aborted_for(reason: AbortReason) -> bytes:
    """Return the A-ABORT by which a provider ends an association (AA-8)."""
    return Abort(AbortSource.PROVIDER, reason).encode()


def request(calling: str = "SCANNER", called: str = "ARCHIVE", contexts: Sequence[Proposed] = CONTEXTS) -> bytes:
    """Return an A-ASSOCIATE-RQ."""
    return AssociateRQ(called, calling, UserInformation(1 << 17), contexts=tuple(contexts)).encode()


def command(kind: CommandField, sop_class: str, *, number: int = 1, has_data: bool = False, **more: Any) -> Command:
    """Return a request; further fields by name."""
    fields = {Field.AFFECTED_SOP_CLASS_UID: sop_class, **{Field[name.upper()]: value for name, value in more.items()}}
    return Command.request(kind, number, fields, has_data=has_data)


def store(uid: str, number: int = 1) -> Command:
    """Return a C-STORE-RQ."""
    kind = CommandField.C_STORE_RQ
    return command(kind, CT, number=number, has_data=True, affected_sop_instance_uid=uid)


def fragment(context_id: int, data: bytes, *, is_command: bool, is_last: bool = True) -> bytes:
    """Return a P-DATA-TF of one fragment."""
    return write_data_header(context_id, len(data), is_command=is_command, is_last=is_last) + data


def message(context_id: int, asked: Command, data: bytes | None = None) -> bytes:
    """Return a message as P-DATA-TF."""
    return b"".join([fragment(context_id, asked.encode(), is_command=True), *_data(context_id, data)])


def _data(context_id: int, data: bytes | None) -> Iterator[bytes]:
    if data is None:
        return
    for at in range(0, len(data) or 1, _FRAGMENT_BYTES):
        part = data[at : at + _FRAGMENT_BYTES]
        yield fragment(context_id, part, is_command=False, is_last=at + len(part) == len(data))


class Wire:
    """A connection to a node, with little room for what the node says."""

    def __init__(self, to: Address) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(_LONGEST_WAIT_S)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM_BYTES)
        self.socket.connect(to)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def send_until_cut(self, part: bytes, at_most: int) -> int:
        """Send the same again and again until the node cuts the connection; return how many bytes that took."""
        sent = 0
        try:
            while sent < at_most:
                sent += self.socket.send(part)
        except OSError:
            pass
        return sent

    def hear(self) -> bytes:
        """Return the next PDU; nothing once the connection has ended."""
        head = self._exactly(6)
        return head + self._exactly(read_header(head)[1]) if head else b""

    def said(self) -> bytes:
        """Return all that the node still says until it ends the connection."""
        return b"".join(iter(self.hear, b""))

    def associate(self, calling: str = "SCANNER") -> None:
        self.send(request(calling))
        answer = self.hear()
        assert answer[0] == PDUType.ASSOCIATE_AC, answer

    def answer(self) -> Command:
        """Return the next command of the node; data sets are passed over."""
        while True:
            pdu = self.hear()
            assert pdu, "the node has ended the connection"
            assert pdu[0] == PDUType.P_DATA_TF, pdu
            header = read_fragment_header(pdu[6 : 6 + PDV_HEADER_BYTES])
            if header.is_command:
                return Command.decode(pdu[6 + PDV_HEADER_BYTES :])

    def ask(self, context_id: int, asked: Command, data: bytes | None = None) -> Command:
        """Send a request, and return its first answer."""
        self.send(message(context_id, asked, data))
        return self.answer()

    def ask_all(self, context_id: int, asked: Command, data: bytes | None = None) -> list[int]:
        """Send a request, and return the statuses of all its answers."""
        statuses = [self.ask(context_id, asked, data).status]
        while statuses[-1] == Status.PENDING:
            statuses.append(self.answer().status)
        return statuses

    def echo(self) -> int:
        return self.ask(ECHO, command(CommandField.C_ECHO_RQ, VERIFICATION)).status

    def release(self) -> None:
        self.send(ReleaseRQ().encode())
        assert self.hear()[0] == PDUType.RELEASE_RP

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        try:
            while len(found) < size and (part := self.socket.recv(size - len(found))):
                found += part
        except ConnectionResetError:
            return b""
        return bytes(found) if len(found) == size else b""


class Associated(Wire):
    """A connection with an association that holds all of `CONTEXTS`."""

    def __init__(self, to: Address, calling: str = "SCANNER") -> None:
        super().__init__(to)
        self.associate(calling)
