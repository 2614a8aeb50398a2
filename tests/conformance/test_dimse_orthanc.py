"""Orthanc as who asks and as who answers, on every transfer syntax that it knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import UID, HTJ2KLossless

from bench.peers import free_port, has_orthanc, orthanc
from nearframe.cli import main
from tests.conformance.conftest import Ports
from tests.conformance.dimse_nodes import DicomNode
from tests.conformance.stock import Item, assert_same, write_stock

pytestmark = [
    pytest.mark.skipif(not has_orthanc(), reason="no Orthanc with its DICOMweb plugin"),
    pytest.mark.filterwarnings("ignore:Invalid value for VR"),
]

STUDY = "2.25.20261124"


@dataclass(frozen=True)
class Orthanc:
    client: httpx.Client
    port: int

    @property
    def peer(self) -> str:
        return f"ORTHANC@127.0.0.1:{self.port}"

    def ask(self, path: str, question: Any) -> Any:
        answer = self.client.post(path, json=question)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def files(self) -> dict[str, bytes]:
        """Return what it holds, by SOP Instance UID."""
        held = {}
        for one in self.ask("/tools/find", {"Level": "Instance", "Query": {"StudyInstanceUID": STUDY}, "Expand": True}):
            held[one["MainDicomTags"]["SOPInstanceUID"]] = self.client.get(f"/instances/{one['ID']}/file").content
        return held

    def forget(self) -> None:
        for one in self.ask("/tools/find", {"Level": "Study", "Query": {}}):
            self.client.delete(f"/studies/{one}")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """What Orthanc 1.10 knows the transfer syntaxes of."""
    stock = write_stock(tmp_path_factory.mktemp("stock"), STUDY)
    return [item for item in stock if item.transfer_syntax_uid != HTJ2KLossless]


@pytest.fixture(scope="module")
def committing_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pacs(
    node: DicomNode, ports: Ports, committing_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    port = free_port()
    with (
        orthanc(tmp_path_factory.mktemp("orthanc"), port=port, dicom_port=ports.orthanc),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
    ):
        for name, title, at in (("node", "NEARFRAME", node.port), ("committer", "COMMITTER", committing_port)):
            known = {"AET": title, "Host": "127.0.0.1", "Port": at}
            assert client.put(f"/modalities/{name}", json=known).status_code == 200
        yield Orthanc(client, ports.orthanc)


@pytest.fixture(scope="module", autouse=True)
def sent(pacs: Orthanc, node: DicomNode, items: list[Item]) -> None:
    """Orthanc sends everything to the node, and forgets it."""
    for item in items:
        assert pacs.client.post("/instances", content=item.path.read_bytes()).status_code == 200
    assert pacs.client.post("/modalities/node/echo", json={}).status_code == 200
    told = pacs.ask("/modalities/node/store", {"Resources": pacs.ask("/tools/find", {"Level": "Study", "Query": {}})})
    assert (told["InstancesCount"], told["FailedInstancesCount"]) == (len(items), 0)
    pacs.forget()


def test_what_it_stored_is_held_as_it_was(node: DicomNode, items: list[Item]) -> None:
    for item in items:
        assert_same(item.dataset, node.held(item.sop_instance_uid))


def assert_it_has_all(pacs: Orthanc, items: list[Item]) -> None:
    """Check that it has every object, and encapsulated ones as they were; it writes anew what it receives."""
    files = pacs.files()
    for item in items:
        held = pydicom.dcmread(BytesIO(files[item.sop_instance_uid]))
        assert_same(item.dataset, held)
        if UID(item.transfer_syntax_uid).is_compressed:
            assert held.file_meta.TransferSyntaxUID == item.transfer_syntax_uid


def test_it_finds_and_has_it_sent_to_itself(pacs: Orthanc, items: list[Item]) -> None:
    asked = {"Level": "Study", "Query": {"StudyInstanceUID": STUDY, "PatientID": "STO*", "PatientName": ""}}
    query = pacs.ask("/modalities/node/query", asked)["Path"]
    assert pacs.client.get(f"{query}/answers").json() == ["0"]
    found = pacs.client.get(f"{query}/answers/0/content?simplify").json()
    assert (found["PatientID"], found["StudyInstanceUID"]) == ("STOCK", STUDY)
    pacs.ask(f"{query}/answers/0/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    assert_it_has_all(pacs, items)
    pacs.forget()


def test_it_has_a_series_moved_to_itself(pacs: Orthanc, items: list[Item]) -> None:
    series = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": items[0].dataset.SeriesInstanceUID}
    pacs.ask("/modalities/node/move", {"Level": "Series", "Resources": [series]})
    assert pacs.files().keys() == {items[0].sop_instance_uid}
    pacs.forget()


def said(capsys: pytest.CaptureFixture[str], *command: object, code: int = 0) -> Any:
    """Return what ``nearframe dicom`` says."""
    capsys.readouterr()
    assert main(["dicom", *map(str, command), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_we_ask_it(
    pacs: Orthanc, items: list[Item], committing_port: int, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert said(capsys, "echo", pacs.peer)["status"] == 0
    folder = items[0].path.parent
    told = said(capsys, "send", pacs.peer, folder, code=1)
    assert (told["stored"], len(told["problems"])) == (len(items), 1)  # HTJ2K
    assert_it_has_all(pacs, items)
    (study,) = said(capsys, "find", pacs.peer, "PatientID=STO*")
    assert study["StudyInstanceUID"] == STUDY
    # It gives up at the first object that it would have to decode and cannot, though we offer to take it as it is.
    assert (
        said(capsys, "get", pacs.peer, STUDY, "--into", tmp_path, code=1)["meaning"] == "it cannot process this [C000]"
    )
    by_uid = {item.sop_instance_uid: item for item in items}
    for path in tmp_path.iterdir():
        got = pydicom.dcmread(path)
        assert_same(by_uid[got.SOPInstanceUID].dataset, got)
    told = said(capsys, "move", pacs.peer, STUDY, "--to", "NEARFRAME")
    assert (told["completed"], told["failed"]) == (len(items), 0)
    listen = ["--listen", f"127.0.0.1:{committing_port}", "--ae-title", "COMMITTER"]
    told = said(capsys, "commit", pacs.peer, *(item.path for item in items), *listen, "--timeout", 20)
    assert (told["kept"], told["failed"]) == (len(items), [])
    pacs.forget()
