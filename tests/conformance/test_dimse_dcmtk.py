"""Every service with DCMTK's commands, both ways, on every transfer syntax that they know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, HTJ2KLossless

from nearframe.cli import main
from tests.conformance import dcmtk
from tests.conformance.conftest import Ports
from tests.conformance.dimse_nodes import DicomNode
from tests.conformance.stock import STUDY, Item, assert_same
from tests.integration.dimse.test_workflow import data_set_of

# Some of the files that come with pydicom have UIDs that no standard allows, and pydicom says so.
pytestmark = [dcmtk.needs_dcmtk, pytest.mark.filterwarnings("ignore:Invalid value for VR")]

_OF_STUDY = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"]


@pytest.fixture(scope="module")
def known(stock: list[Item]) -> list[Item]:
    """What DCMTK 3.6.7 can name."""
    return [item for item in stock if item.transfer_syntax_uid != HTJ2KLossless]


@pytest.fixture(scope="module", autouse=True)
def sent(node: DicomNode, known: list[Item], stock: list[Item]) -> None:
    """The node holds the stock: dcmsend sent what it can."""
    dcmtk.ask("dcmsend", node.port, "-dn", *(item.path for item in known))
    assert main(["dicom", "send", node.peer, *(str(item.path) for item in stock if item not in known)]) == 0


def received(folder: Path) -> dict[str, Path]:
    return {pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID: path for path in folder.iterdir()}


def test_echoscu(node: DicomNode) -> None:
    dcmtk.ask("echoscu", node.port, "--repeat", 3)
    # As many contexts as there can be, of as many syntaxes as fit what is read before there is an association.
    dcmtk.ask("echoscu", node.port, "-ppc", 128, "-pts", 15)


def test_echoscu_is_told_why_not(node: DicomNode) -> None:
    assert "Called AE Title Not Recognized" in dcmtk.ask("echoscu", node.port, called="NOBODY", code=1)
    said = dcmtk.run("echoscu", "-aet", "NOBODY", "-aec", "NEARFRAME", "127.0.0.1", node.port, code=1)
    assert "Calling AE Title Not Recognized" in said


def test_what_dcmsend_sent_is_held_as_it_was(node: DicomNode, known: list[Item]) -> None:
    for item in known:
        assert_same(item.dataset, node.held(item.sop_instance_uid))


@pytest.mark.parametrize("proposed", ["-xb", "-xd", "-xi"])
def test_storescu_in_whatever_it_proposes(node: DicomNode, stock: list[Item], tmp_path: Path, proposed: str) -> None:
    sent = pydicom.dcmread(stock[0].path)
    sent.SOPInstanceUID = sent.file_meta.MediaStorageSOPInstanceUID = UID(f"{STUDY}.100.1.{ord(proposed[-1])}")
    sent.StudyInstanceUID, sent.SeriesInstanceUID, sent.PatientID = f"{STUDY}.100", f"{STUDY}.100.1", "OTHER"
    sent.save_as(tmp_path / "sent.dcm")
    dcmtk.ask("storescu", node.port, proposed, tmp_path / "sent.dcm")
    assert_same(sent, node.held(sent.SOPInstanceUID))


def test_what_we_send_to_storescp_is_what_the_file_is(
    known: list[Item], stock: list[Item], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with dcmtk.storescp(tmp_path) as port:
        told = send(capsys, f"STORESCP@127.0.0.1:{port}", stock[0].path.parent)
    assert told["stored"] == len(known)
    (problem,) = told["problems"]
    assert "does not take this kind of object" in problem["reason"]
    found = received(tmp_path)
    assert {uid: data_set_of(path.read_bytes()) for uid, path in found.items()} == {
        item.sop_instance_uid: data_set_of(item.path.read_bytes()) for item in known
    }


def send(capsys: pytest.CaptureFixture[str], peer: str, folder: Path) -> dict[str, Any]:
    capsys.readouterr()
    main(["dicom", "send", peer, str(folder), "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def test_movescu_has_the_study_sent_to_a_third(
    node: DicomNode, stock: list[Item], ports: Ports, tmp_path: Path
) -> None:
    with dcmtk.storescp(tmp_path, port=ports.receiver):
        dcmtk.ask("movescu", node.port, "-aem", "RECEIVER", *_OF_STUDY)
    found = received(tmp_path)
    assert found.keys() == {item.sop_instance_uid for item in stock}
    for item in stock:
        path, held = found[item.sop_instance_uid], node.stored(item.sop_instance_uid)
        if item.transfer_syntax_uid == HTJ2KLossless:
            assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
            assert_same(item.dataset, pydicom.dcmread(path))
        else:
            assert data_set_of(path.read_bytes()) == data_set_of(held)


def test_movescu_receives_by_itself(node: DicomNode, ports: Ports, stock: list[Item], tmp_path: Path) -> None:
    series = ["-k", "QueryRetrieveLevel=SERIES", "-k", f"SeriesInstanceUID={STUDY}.1"]
    options = ["-aem", "RECEIVER", "+P", ports.receiver, "-od", tmp_path]
    dcmtk.ask("movescu", node.port, *options, "-S", *series, "-k", f"StudyInstanceUID={STUDY}")
    assert received(tmp_path).keys() == {stock[0].sop_instance_uid}


def test_movescu_is_told_of_a_destination_that_is_not_known(node: DicomNode) -> None:
    said = dcmtk.ask("movescu", node.port, "-aem", "NOBODY", *_OF_STUDY, code=None)
    assert "MoveDestinationUnknown" in said


def test_movescu_gives_up(node: DicomNode, ports: Ports, stock: list[Item], tmp_path: Path) -> None:
    with dcmtk.storescp(tmp_path, port=ports.receiver):
        dcmtk.ask("movescu", node.port, "-aem", "RECEIVER", "--cancel", 1, *_OF_STUDY, code=None)
    assert 0 < len(received(tmp_path)) < len(stock)


def test_getscu_that_would_rather_have_jpeg_2000(node: DicomNode, stock: list[Item], tmp_path: Path) -> None:
    dcmtk.ask("getscu", node.port, "+xv", "+B", "-od", tmp_path, *_OF_STUDY)
    found = received(tmp_path)
    assert found.keys() == {item.sop_instance_uid for item in stock}
    for item in stock:
        assert_same(item.dataset, pydicom.dcmread(found[item.sop_instance_uid]))


def find(node: DicomNode, folder: Path, *options: str) -> list[pydicom.Dataset]:
    """Return what findscu finds."""
    folder.mkdir()
    dcmtk.ask("findscu", node.port, "-X", "-od", folder, *options)
    return [pydicom.dcmread(path, force=True) for path in sorted(folder.iterdir())]


def test_findscu_at_every_level(node: DicomNode, stock: list[Item], tmp_path: Path) -> None:
    patient = ["-k", "PatientID=STOCK", "-k", "PatientName"]
    (found,) = find(node, tmp_path / "patient", "-P", "-k", "QueryRetrieveLevel=PATIENT", *patient)
    assert (found.PatientID, found.RetrieveAETitle) == ("STOCK", "NEARFRAME")
    wanted = ["-k", "StudyDate=20261101-20261130", "-k", "PatientID=STO*", "-k", "NumberOfStudyRelatedInstances"]
    studies = find(node, tmp_path / "study", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", *wanted)
    assert {one.StudyInstanceUID: one.NumberOfStudyRelatedInstances for one in studies}[STUDY] == len(stock)
    keys = ["-S", "-k", f"StudyInstanceUID={STUDY}", "-k", "SeriesInstanceUID"]
    series = find(node, tmp_path / "series", *keys, "-k", "QueryRetrieveLevel=SERIES", "-k", "Modality=RT*")
    assert sorted(one.Modality for one in series) == ["RTDOSE", "RTPLAN"]
    images = find(node, tmp_path / "image", *keys, "-k", "QueryRetrieveLevel=IMAGE", "-k", "SOPInstanceUID")
    assert {one.SOPInstanceUID for one in images} == {item.sop_instance_uid for item in stock}


def test_findscu_gives_up(node: DicomNode, tmp_path: Path) -> None:
    keys = ["-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={STUDY}", "-k", "SOPInstanceUID"]
    assert "Cancel" in dcmtk.ask("findscu", node.port, "-v", "--cancel", 1, *keys)
