"""Command sets."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dimse.command import Command, CommandField, Field
from nearframe.errors import MalformedPDU

#: C-ECHO-RQ, message 7: as PS3.7 Annex E writes it.
ECHO = bytes.fromhex(
    "00000000 04000000 38000000"
    "00000200 12000000 312e322e3834302e31303030382e312e3100"
    "00000001 02000000 3000"
    "00001001 02000000 0700"
    "00000008 02000000 0101"
)


def echo() -> Command:
    fields = {Field.AFFECTED_SOP_CLASS_UID: "1.2.840.10008.1.1"}
    return Command.request(CommandField.C_ECHO_RQ, 7, fields, has_data=False)


def test_a_request_is_the_bytes_of_the_standard() -> None:
    assert echo().encode() == ECHO


def test_a_request_is_read() -> None:
    found = Command.decode(ECHO)
    assert (found.kind, found.message_id, found.has_data, found.is_answer) == (CommandField.C_ECHO_RQ, 7, False, False)
    assert found.sop_class_uid == "1.2.840.10008.1.1"


def test_an_answer_names_what_was_asked() -> None:
    request = Command.request(
        CommandField.N_ACTION_RQ,
        9,
        {Field.REQUESTED_SOP_CLASS_UID: "1.2.3", Field.REQUESTED_SOP_INSTANCE_UID: "1.2.3.4"},
        has_data=True,
    )
    answer = Command.decode(request.answer(0x0110, {Field.ERROR_COMMENT: "no room"}).encode())
    assert answer.is_answer
    assert (answer.kind, answer.answers, answer.status) == (CommandField.N_ACTION_RQ, 9, 0x0110)
    assert (answer.text(Field.AFFECTED_SOP_CLASS_UID), answer.sop_instance_uid) == ("1.2.3", "1.2.3.4")
    assert answer.text(Field.ERROR_COMMENT) == "no room"


def test_tags_and_unknown_elements() -> None:
    command = Command({**echo().fields, Field.OFFENDING_ELEMENT: (0x00100010, 0x7FE00010)})
    unknown = bytes.fromhex("00000050 02000000 6162")  # (0000,5000), of an old edition
    of_a_data_set = bytes.fromhex("08005800 04000000 312e3200")  # (0008,0058), of Orthanc
    assert Command.decode(command.encode() + unknown + of_a_data_set) == command


def test_a_command_that_no_edition_knows() -> None:
    assert Command({Field.COMMAND_FIELD: 0x0777}).kind is None


@pytest.mark.parametrize(
    "data",
    [b"", ECHO[:-1], ECHO[:3], b"\x08\0\0\1\2\0\0\0\1\0", ECHO[:12], b"\0\0\0\1\1\0\0\0x"],
    ids=["nothing", "cut", "cut in a tag", "only another group", "no command", "a number of one byte"],
)
def test_what_is_no_command_set(data: bytes) -> None:
    with pytest.raises(MalformedPDU):
        Command.decode(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedPDU):
        Command.decode(data)
