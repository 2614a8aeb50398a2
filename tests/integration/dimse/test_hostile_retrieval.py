"""Retrievals that name too little or too much, receivers that are away or half-hearted, and what is sent then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from nearframe.dimse.command import Command, CommandField, Field
from nearframe.dimse.identifiers import write_identifier
from nearframe.dimse.items import Proposed, Role, UserInformation
from nearframe.dimse.pdu import AssociateRQ, PDUType
from nearframe.dimse.scp_find import PATIENT_ROOT_FIND
from nearframe.dimse.scp_retrieve import PATIENT_ROOT_GET, PATIENT_ROOT_MOVE, STUDY_ROOT_GET
from nearframe.dimse.scp_step import PERFORMED_STEP
from nearframe.dimse.scu_query import identifier_of
from nearframe.dimse.status import Status
from tests.integration.dimse.conftest import Archive
from tests.integration.dimse.hostile import (
    CT,
    EXPLICIT,
    OBJECT,
    STUDY_FIND,
    STUDY_MOVE,
    UID,
    VERIFICATION,
    Address,
    Wire,
    command,
    message,
    store,
)

SERVICES: Final = (
    VERIFICATION, CT, STUDY_FIND, STUDY_MOVE, STUDY_ROOT_GET, PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET,
    PERFORMED_STEP,
)  # fmt: skip
CONTEXT_OF: Final = {uid: 2 * number + 1 for number, uid in enumerate(SERVICES)}
STUDY: Final = UID.rpartition(".")[0].rpartition(".")[0]


class Reader(Wire):
    """An association for all services; by C-GET objects may come, if it says so."""

    def __init__(self, to: Address, *roles: Role) -> None:
        super().__init__(to)
        contexts = tuple(Proposed(number, uid, (EXPLICIT,)) for uid, number in CONTEXT_OF.items())
        user = UserInformation(1 << 17, roles=roles)
        self.send(AssociateRQ("ARCHIVE", "SCANNER", user, contexts=contexts).encode())
        assert self.hear()[0] == PDUType.ASSOCIATE_AC

    def get(self, identifier: bytes, status: Status = Status.SUCCESS) -> tuple[list[str], Command]:
        """Retrieve, answering each object so; return the UIDs of what came, and the last answer."""
        came = []
        asked = command(CommandField.C_GET_RQ, STUDY_ROOT_GET, has_data=True)
        self.send(message(CONTEXT_OF[STUDY_ROOT_GET], asked, identifier))
        while True:
            told = self.answer()
            if not told.is_answer:
                came.append(told.sop_instance_uid)
                self.send(message(CONTEXT_OF[CT], told.answer(status)))
            elif told.status != Status.PENDING:
                return came, told


def identifier(level: str, **keys: str) -> bytes:
    return write_identifier(identifier_of(keys) | {"00080052": {"vr": "CS", "Value": [level]}}, EXPLICIT)


@pytest.fixture
def reader(node: Archive) -> Iterator[Reader]:
    with Reader(node.dicom) as reader:
        yield reader


@pytest.mark.parametrize("agreed", [VERIFICATION, STUDY_FIND, STUDY_MOVE, PERFORMED_STEP])
def test_an_object_in_a_context_of_another_service(reader: Reader, agreed: str) -> None:
    assert reader.ask(CONTEXT_OF[agreed], store(UID), OBJECT).status == Status.UNRECOGNIZED_OPERATION


@pytest.mark.parametrize("agreed", [VERIFICATION, CT, PERFORMED_STEP])
@pytest.mark.parametrize("kind", [CommandField.C_FIND_RQ, CommandField.C_MOVE_RQ, CommandField.C_GET_RQ])
def test_a_question_in_a_context_of_another_service(reader: Reader, kind: CommandField, agreed: str) -> None:
    asked = command(kind, agreed, has_data=True, move_destination="AWAY")
    answer = reader.ask(CONTEXT_OF[agreed], asked, identifier("STUDY", StudyInstanceUID=STUDY))
    assert answer.status == Status.UNRECOGNIZED_OPERATION


def test_an_object_of_a_private_class_in_the_disguise_of_another(reader: Reader) -> None:
    private = "1.2.826.0.1.3680043.2.1125.1.1"
    asked = command(CommandField.C_STORE_RQ, private, has_data=True, affected_sop_instance_uid=UID)
    assert reader.ask(CONTEXT_OF[CT], asked, OBJECT).status == Status.SOP_CLASS_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("model", "level", "keys"),
    [
        (STUDY_MOVE, "STUDY", {"PatientID": "PID-1"}),
        (STUDY_MOVE, "SERIES", {"StudyInstanceUID": STUDY}),
        (STUDY_MOVE, "IMAGE", {"StudyInstanceUID": STUDY}),
        (PATIENT_ROOT_MOVE, "PATIENT", {"StudyInstanceUID": STUDY}),
        (PATIENT_ROOT_MOVE, "PATIENT", {"PatientID": "*"}),
        (PATIENT_ROOT_MOVE, "PATIENT", {"PatientID": "PID-?"}),
        (PATIENT_ROOT_MOVE, "PATIENT", {"PatientID": "PID-1\\PID-2"}),
    ],
)
def test_what_names_nothing_or_everything_is_not_sent(
    reader: Reader, model: str, level: str, keys: dict[str, str]
) -> None:
    asked = command(CommandField.C_MOVE_RQ, model, has_data=True, move_destination="AWAY")
    answer = reader.ask(CONTEXT_OF[model], asked, identifier(level, **keys))
    assert answer.status == Status.CANNOT_UNDERSTAND


def test_a_patient_who_is_not_here_has_nothing(reader: Reader) -> None:
    asked = command(CommandField.C_MOVE_RQ, PATIENT_ROOT_MOVE, has_data=True, move_destination="AWAY")
    answer = reader.ask(CONTEXT_OF[PATIENT_ROOT_MOVE], asked, identifier("PATIENT", PatientID="NOBODY"))
    assert (answer.status, answer.number(Field.COMPLETED_SUBOPERATIONS, -1)) == (Status.SUCCESS, 0)


def test_a_destination_that_is_away_is_told_of(reader: Reader) -> None:
    asked = command(CommandField.C_MOVE_RQ, STUDY_MOVE, has_data=True, move_destination="AWAY")
    answer = reader.ask(CONTEXT_OF[STUDY_MOVE], asked, identifier("STUDY", StudyInstanceUID=STUDY))
    assert answer.status == Status.UNABLE_TO_PERFORM
    assert "cannot be reached" in answer.text(Field.ERROR_COMMENT)


def test_who_is_no_provider_is_sent_nothing(reader: Reader) -> None:
    came, last = reader.get(identifier("STUDY", StudyInstanceUID=STUDY))
    assert (came, last.status) == ([], Status.UNABLE_TO_PERFORM)
    assert "SCP" in last.text(Field.ERROR_COMMENT)


@pytest.mark.parametrize(
    ("status", "last"),
    [
        (Status.SUCCESS, Status.SUCCESS),
        (0xB000, Status.SUBOPERATIONS_FAILED),
        (Status.OUT_OF_RESOURCES, Status.UNABLE_TO_PERFORM),
        (Status.PENDING, Status.UNABLE_TO_PERFORM),
    ],
)
def test_what_the_receiver_says_is_counted(node: Archive, status: Status, last: Status) -> None:
    with Reader(node.dicom, Role(CT, is_scu=False, is_scp=True)) as reader:
        came, told = reader.get(identifier("IMAGE", StudyInstanceUID=STUDY, SOPInstanceUID=UID), status)
        assert (came, told.status) == ([UID], last)


def test_a_key_that_could_not_be_looked_at_is_told_of(reader: Reader) -> None:
    asked = command(CommandField.C_FIND_RQ, STUDY_FIND, has_data=True)
    of_an_instance = identifier("STUDY", StudyInstanceUID=STUDY, SliceThickness="7")
    assert reader.ask(CONTEXT_OF[STUDY_FIND], asked, of_an_instance).status == Status.PENDING_WITH_WARNING
