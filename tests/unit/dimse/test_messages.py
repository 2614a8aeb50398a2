"""Fragments become messages."""

from __future__ import annotations

import pytest

from nearframe.dimse.command import Command, CommandField
from nearframe.dimse.messages import MAX_COMMAND_BYTES, MAX_CRUMBS, Arrived, Assembler, Data
from nearframe.dimse.pdu import FragmentHeader
from nearframe.dimse.stream import Piece
from nearframe.errors import MalformedPDU

STORE = Command.request(CommandField.C_STORE_RQ, 1, {}, has_data=True)
ECHO = Command.request(CommandField.C_ECHO_RQ, 2, {}, has_data=False)


def piece(data: bytes, *, command: bool, last: bool = True, end: bool = True, context: int = 1) -> Piece:
    return Piece(FragmentHeader(len(data), context, command, last), memoryview(data), end)


def test_a_command_in_three_pieces_and_its_data() -> None:
    assembler = Assembler()
    raw = STORE.encode()
    assert list(assembler.add(piece(raw[:5], command=True, last=False))) == []
    assert list(assembler.add(piece(raw[5:9], command=True, end=False))) == []
    assert list(assembler.add(piece(raw[9:], command=True))) == [Arrived(1, STORE)]
    assert not assembler.is_between_messages
    assert list(assembler.add(piece(b"ab", command=False, last=False))) == [Data(b"ab", is_last=False)]
    assert list(assembler.add(piece(b"c", command=False, end=False))) == [Data(b"c", is_last=False)]
    assert list(assembler.add(piece(b"", command=False))) == [Data(b"", is_last=True)]
    assert assembler.is_between_messages


@pytest.mark.parametrize(
    "before",
    [[], [piece(ECHO.encode(), command=True)], [piece(STORE.encode()[:4], command=True, last=False)]],
    ids=["nothing", "a command without data", "half a command"],
)
def test_data_that_no_command_announced(before: list[Piece]) -> None:
    assembler = Assembler()
    for known in before:
        list(assembler.add(known))
    with pytest.raises(MalformedPDU):
        list(assembler.add(piece(b"x", command=False)))


def test_messages_are_not_mixed() -> None:
    assembler = Assembler()
    list(assembler.add(piece(STORE.encode(), command=True)))
    for intruder in (piece(ECHO.encode(), command=True), piece(b"x", command=False, context=3)):
        with pytest.raises(MalformedPDU):
            list(assembler.add(intruder))


def test_half_a_command_of_one_context_and_half_of_another() -> None:
    assembler = Assembler()
    list(assembler.add(piece(ECHO.encode()[:4], command=True, last=False)))
    with pytest.raises(MalformedPDU):
        list(assembler.add(piece(ECHO.encode()[4:], command=True, context=3)))


def test_a_command_has_a_largest_size() -> None:
    assembler = Assembler()
    with pytest.raises(MalformedPDU, match="more than"):
        for _ in range(MAX_COMMAND_BYTES // 1000 + 1):
            list(assembler.add(piece(bytes(1000), command=True, last=False)))


@pytest.mark.parametrize("command", [True, False])
def test_a_message_does_not_come_in_crumbs(command: bool) -> None:
    assembler = Assembler()
    for _ in range(2):  # counted for each message
        list(assembler.add(piece(STORE.encode(), command=True)))
        for _ in range(MAX_CRUMBS):
            list(assembler.add(piece(b"", command=False, last=False)))
        list(assembler.add(piece(b"", command=False)))
    if not command:
        list(assembler.add(piece(STORE.encode(), command=True)))
    with pytest.raises(MalformedPDU, match="fragments below"):
        for _ in range(MAX_CRUMBS + 1):
            list(assembler.add(piece(b"", command=command, last=False)))
