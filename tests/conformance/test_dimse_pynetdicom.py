"""pynetdicom: its commands, and as a library what no command does, on either side."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation

from nearframe.dimse.command import CommandField
from nearframe.dimse.scp_commitment import COMMITMENT_INSTANCE, STORAGE_COMMITMENT_PUSH
from nearframe.dimse.scp_find import STUDY_ROOT_FIND
from nearframe.dimse.scp_step import PERFORMED_STEP
from nearframe.dimse.scu import UNCOMPRESSED, VERIFICATION, Peer, associate
from nearframe.dimse.status import Status
from tests.conformance.conftest import Ports
from tests.conformance.dimse_nodes import DicomNode
from tests.conformance.stock import STUDY, Item, assert_same
from tests.integration.dimse.test_workflow import CT_CLASS, ask, performed

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR", "ignore:.*pynetdicom:DeprecationWarning")


def run(command: str, node: DicomNode, *arguments: object) -> None:
    """Run a command of pynetdicom's: its scripts may not be the first of their names."""
    named = ["-aet", command.upper(), "-aec", "NEARFRAME"]
    whole = [sys.executable, "-m", "pynetdicom", command, "127.0.0.1", node.port, *arguments, *named]
    done = subprocess.run(list(map(str, whole)), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.fixture(scope="module", autouse=True)
def sent(node: DicomNode, stock: list[Item]) -> None:
    """The node holds the stock: pynetdicom sent it."""
    run("storescu", node, "-cx", stock[0].path.parent)


def test_what_storescu_sent_is_held_as_it_was(node: DicomNode, stock: list[Item]) -> None:
    for item in stock:
        assert_same(item.dataset, node.held(item.sop_instance_uid))


def test_movescu_and_getscu(node: DicomNode, ports: Ports, stock: list[Item], tmp_path: Path) -> None:
    keys = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"]
    receiver = ["--store", "--store-port", ports.receiver, "--store-aet", "RECEIVER", "-aem", "RECEIVER"]
    for command, options in (("movescu", receiver), ("getscu", [])):
        run(command, node, *keys, *options, "-od", tmp_path / command)
        found = [pydicom.dcmread(path) for path in (tmp_path / command).iterdir()]
        assert len(found) == len(stock)
        by_uid = {item.sop_instance_uid: item for item in stock}
        for one in found:
            assert_same(by_uid[one.SOPInstanceUID].dataset, one)


@contextmanager
def called(node: DicomNode, *contexts: str, handlers: Any = (), extended: Any = ()) -> Iterator[Association]:
    """Hold an association that pynetdicom asked for."""
    entity = AE("PYNETDICOM")
    for context in contexts:
        entity.add_requested_context(context, ExplicitVRLittleEndian)
    held = entity.associate(
        "127.0.0.1", node.port, ae_title="NEARFRAME", evt_handlers=list(handlers), ext_neg=list(extended)
    )
    assert held.is_established
    try:
        yield held
    finally:
        held.release()


def test_it_negotiates_a_window_and_who_it_is(node: DicomNode) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 3
    user = UserIdentityNegotiation()
    user.user_identity_type, user.primary_field = 1, b"somebody"
    with called(node, VERIFICATION, extended=[window, user]) as held:
        assert held.acceptor.asynchronous_operations == (5, 3)
        assert held.send_c_echo().Status == Status.SUCCESS


@contextmanager
def listening(*handlers: Any, context: str) -> Iterator[Peer]:
    """Have pynetdicom listen, as the peer that it is."""
    entity = AE("PYNETDICOM")
    entity.add_supported_context(context)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    assert server is not None
    try:
        yield Peer("127.0.0.1", server.server_address[1], "PYNETDICOM", "NEARFRAME")
    finally:
        server.shutdown()


async def test_it_has_one_operation_under_way_where_we_would_have_eight() -> None:
    stored = []

    def store(event: evt.Event) -> int:
        stored.append(event.file_meta.MediaStorageSOPInstanceUID)
        return 0

    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_ASYNC_OPS, lambda event: (4, 1))]
    with listening(*handlers, context=CT_CLASS) as peer:
        async with associate(peer, [(CT_CLASS, UNCOMPRESSED[:1])], window=8) as user:
            assert user.association.agreement is not None
            assert user.association.agreement.window == (1, 1)  # all that it takes, whatever its handler says
            sending = [user.store(CT_CLASS, f"1.2.{number}", UNCOMPRESSED[0], bytes(20_000)) for number in range(4)]
            assert [answer.status for answer in await asyncio.gather(*sending)] == [Status.SUCCESS] * 4
    assert stored == ["1.2.0", "1.2.1", "1.2.2", "1.2.3"]


async def test_we_report_a_performed_step() -> None:
    told = []

    def create(event: evt.Event) -> tuple[int, pydicom.Dataset]:
        told.append(event.attribute_list.PerformedProcedureStepStatus)
        return 0, event.attribute_list

    def change(event: evt.Event) -> tuple[int, pydicom.Dataset]:
        told.append(event.modification_list.PerformedProcedureStepStatus)
        return 0, event.modification_list

    handlers = [(evt.EVT_N_CREATE, create), (evt.EVT_N_SET, change)]
    with listening(*handlers, context=PERFORMED_STEP) as peer:
        async with associate(peer, [(PERFORMED_STEP, UNCOMPRESSED)]) as user:
            for kind, state in ((CommandField.N_CREATE_RQ, "IN PROGRESS"), (CommandField.N_SET_RQ, "COMPLETED")):
                answer = await ask(user, kind, "1.2.9", performed(state), PERFORMED_STEP)
                assert answer.command.status == Status.SUCCESS
    assert told == ["IN PROGRESS", "COMPLETED"]


def test_it_reports_a_performed_step(node: DicomNode) -> None:
    with called(node, PERFORMED_STEP) as held:
        begun, ended = (pydicom.Dataset.from_json(json.dumps(performed(s))) for s in ("IN PROGRESS", "DISCONTINUED"))
        kind, uid = PERFORMED_STEP, "2.25.7"
        assert held.send_n_create(begun, kind, uid)[0].Status == Status.SUCCESS
        assert held.send_n_create(begun, kind, uid)[0].Status == Status.DUPLICATE_INSTANCE
        assert held.send_n_set(ended, kind, uid)[0].Status == Status.SUCCESS
        assert held.send_n_set(ended, kind, uid)[0].Status == Status.PROCESSING_FAILURE


def test_it_is_told_what_is_kept(node: DicomNode, stock: list[Item]) -> None:
    asked = pydicom.Dataset()
    asked.TransactionUID = "2.25.8"
    asked.ReferencedSOPSequence = [pydicom.Dataset(), pydicom.Dataset()]
    for item, uid in zip(asked.ReferencedSOPSequence, (stock[0].sop_instance_uid, "1.2.3"), strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT_CLASS, uid
    reports: list[pydicom.Dataset] = []
    told = threading.Event()

    def report(event: evt.Event) -> tuple[int, None]:
        reports.append(event.event_information)
        told.set()
        return 0, None

    handlers = [(evt.EVT_N_EVENT_REPORT, report)]
    with called(node, STORAGE_COMMITMENT_PUSH, handlers=handlers) as held:
        kind, instance = STORAGE_COMMITMENT_PUSH, COMMITMENT_INSTANCE
        assert held.send_n_action(asked, 1, kind, instance)[0].Status == Status.SUCCESS
        assert told.wait(20)
    (kept,), (failed,) = reports[0].ReferencedSOPSequence, reports[0].FailedSOPSequence
    assert kept.ReferencedSOPInstanceUID == stock[0].sop_instance_uid
    assert failed.FailureReason == Status.NO_SUCH_INSTANCE


def test_it_gives_up_a_search(node: DicomNode) -> None:
    asked = pydicom.Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID, asked.SOPInstanceUID = "IMAGE", STUDY, ""
    with called(node, STUDY_ROOT_FIND) as held:
        answers = held.send_c_find(asked, STUDY_ROOT_FIND, msg_id=7)
        assert next(answers)[0].Status == Status.PENDING
        held.send_c_cancel(7, query_model=STUDY_ROOT_FIND)
        *_, (last, _) = answers
        # All may have been on its way before that was read.
        assert last.Status in (Status.CANCELLED, Status.SUCCESS)
