"""Fragments become messages: a command that is whole, and its data set as it comes (PS3.8 Annex E)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nearframe.dimse.command import Command
from nearframe.dimse.pdu import FragmentHeader
from nearframe.dimse.stream import Piece
from nearframe.errors import MalformedPDU
from nearframe.units import KIB

#: The longest that PS3.7 can ask for is below 1 KiB, but for a list of attribute identifiers.
MAX_COMMAND_BYTES: Final = 64 * KIB
#: So many fragments of a message may be smaller than this, and not its last: each costs as much time as 64 KiB do.
MAX_CRUMBS: Final = 1000
_CRUMB_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Arrived:
    """A command, before its data set if it has one."""

    context_id: int
    command: Command


@dataclass(frozen=True, slots=True)
class Data:
    """Some bytes of the data set of the command that arrived last."""

    data: bytes
    is_last: bool


class Assembler:
    """Puts the messages of one direction of an association together."""

    def __init__(self) -> None:
        self._command = bytearray()
        self._context_id = 0
        self._awaits_data = False
        self._crumbs = 0

    @property
    def is_between_messages(self) -> bool:
        return not (self._command or self._awaits_data)

    def add(self, piece: Piece) -> Iterator[Arrived | Data]:
        """Yield what a piece brings or completes.

        Raises
        ------
        MalformedPDU
            If messages are mixed, a command is none, or there are too many fragments of next to nothing.
        """
        header = piece.header
        if piece.is_end:
            self._count(header)
        if header.is_command:
            if self._awaits_data:
                raise MalformedPDU("a command where the data set of another is awaited")
            if self._command and header.context_id != self._context_id:
                raise MalformedPDU("two messages whose fragments are mixed")
            self._context_id = header.context_id
            self._command += piece.data
            if len(self._command) > MAX_COMMAND_BYTES:
                raise MalformedPDU(f"a command of more than {MAX_COMMAND_BYTES} bytes")
            if piece.is_end and header.is_last:
                yield self._arrived()
        else:
            if not self._awaits_data or header.context_id != self._context_id:
                raise MalformedPDU("a data set that no command announced")
            is_last = piece.is_end and header.is_last
            self._awaits_data = not is_last
            yield Data(bytes(piece.data), is_last)

    def _count(self, header: FragmentHeader) -> None:
        if header.is_last:
            self._crumbs = 0
        elif header.size < _CRUMB_BYTES:
            self._crumbs += 1
            if self._crumbs > MAX_CRUMBS:
                raise MalformedPDU(f"a message of more than {MAX_CRUMBS} fragments below {_CRUMB_BYTES} bytes")

    def _arrived(self) -> Arrived:
        command = Command.decode(bytes(self._command))
        self._command.clear()
        self._awaits_data = command.has_data
        return Arrived(self._context_id, command)
