"""``nearframe dicom`` against a node as a user starts it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import UID

from nearframe.cli import main
from tests.integration.cli.conftest import Running


@pytest.fixture(scope="module")
def peer(start: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> str:
    node = start("origin", tmp_path_factory.mktemp("dicom"), "--dicom", "127.0.0.1:0", "--ae-title", "ARCHIVE")
    found = re.search(r"DICOM at (\S+) as ARCHIVE", node.line)
    assert found
    return f"ARCHIVE@{found[1]}"


@pytest.fixture(scope="module")
def sent(peer: str, samples: list[Path]) -> list[pydicom.Dataset]:
    assert main(["dicom", "send", peer, str(samples[0].parent)]) == 0
    return [pydicom.dcmread(path) for path in samples]


def said(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main(["dicom", *command, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_echo(peer: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "echo", peer)
    assert (found["status"], found["implementation_version"]) == (0, "NEARFRAME")
    assert main(["dicom", "echo", peer]) == 0
    assert "done [0000]" in capsys.readouterr().out


def test_a_wrong_title_is_explained(peer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dicom", "echo", peer.replace("ARCHIVE", "NOBODY")]) == 2
    assert "the AE title that it was called by is not its own" in capsys.readouterr().err


def test_nobody_there(capsys: pytest.CaptureFixture[str], unused_tcp_port: int) -> None:
    assert main(["dicom", "echo", f"ARCHIVE@127.0.0.1:{unused_tcp_port}"]) == 3
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("peer", ["ARCHIVE", "ARCHIVE@host", "@host:1", "A-TITLE-TOO-LONG-FOR-DICOM@host:1"])
def test_no_peer(peer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dicom", "echo", peer]) == 2
    assert "expected TITLE@HOST:PORT" in capsys.readouterr().err


def test_a_peer_of_the_settings(peer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    title, _, place = peer.partition("@")
    host, _, port = place.rpartition(":")
    settings = tmp_path / "nearframe.toml"
    settings.write_text(f'[[peers]]\nae_title = "{title}"\nhost = "{host}"\nport = {port}\n')
    assert said(capsys, "echo", title, "--config", str(settings))["status"] == 0


def test_find(peer: str, sent: list[pydicom.Dataset], capsys: pytest.CaptureFixture[str]) -> None:
    uid = sent[0].StudyInstanceUID
    (study,) = said(capsys, "find", peer, f"StudyInstanceUID={uid}", "--level", "study")
    assert study["PatientID"] == sent[0].PatientID
    assert said(capsys, "find", peer, f"StudyInstanceUID={uid}")[0]["SeriesInstanceUID"] == sent[0].SeriesInstanceUID
    assert said(capsys, "find", peer, "PatientID=nobody") == []
    assert main(["dicom", "find", peer, "PatientNmae=x"]) == 2


def test_get_brings_the_data_sets_as_they_were_sent(
    peer: str, sent: list[pydicom.Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = sent[0].StudyInstanceUID
    found = said(capsys, "get", peer, uid, "--into", str(tmp_path / "got"))
    wanted = {one.SOPInstanceUID: one for one in sent if one.StudyInstanceUID == uid}
    assert (found["status"], found["files"]) == (0, len(wanted))
    for path in (tmp_path / "got").iterdir():
        got = pydicom.dcmread(path)
        assert got == wanted[got.SOPInstanceUID]
        assert got.file_meta.TransferSyntaxUID == wanted[got.SOPInstanceUID].file_meta.TransferSyntaxUID


def test_what_the_peer_does_not_have_is_told(
    peer: str, sent: list[pydicom.Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dicom", "get", peer, "1.2.3", "--into", str(tmp_path)]) == 1
    assert "0 files" in (told := capsys.readouterr().out)
    assert "the peer has nothing of that" in told


def test_a_destination_that_the_peer_does_not_know(
    peer: str, sent: list[pydicom.Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(capsys, "move", peer, sent[0].StudyInstanceUID, "--to", "NOBODY", code=1)
    assert found["status"] == 0xA801
    assert "does not know the destination" in found["meaning"]


def test_commitment_to_what_is_held(
    peer: str, sent: list[pydicom.Dataset], samples: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(capsys, "commit", peer, *map(str, samples), "--timeout", "10")
    assert (found["kept"], found["failed"]) == (len(sent), [])
    unknown = pydicom.dcmread(samples[0])
    unknown.SOPInstanceUID = unknown.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    unknown.save_as(tmp_path / "unknown.dcm")
    found = said(capsys, "commit", peer, str(tmp_path), "--timeout", "10", code=1)
    assert found["failed"] == [{"sop_instance_uid": "1.2.3.4", "reason": "it has no such instance"}]


def test_a_worklist_without_orders(peer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "worklist", peer, "--date", "20261122", "--modality", "CT") == []


def test_a_step_of_the_worklist_is_whole_in_json(
    start: Callable[..., Running], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = start("origin", tmp_path, "--dicom", "127.0.0.1:0", "--ae-title", "ARCHIVE")
    found = re.search(r"DICOM at (\S+) as ARCHIVE", node.line)
    assert found
    step = {"00400002": {"vr": "DA", "Value": [f"{datetime.now().astimezone():%Y%m%d}"]}}
    step |= {"00080060": {"vr": "CS", "Value": ["CT"]}, "00400009": {"vr": "SH", "Value": ["SPS-7"]}}
    step |= {"00400001": {"vr": "AE", "Value": ["CT1"]}, "00400003": {"vr": "TM", "Value": ["0900"]}}
    order = {"00100020": {"vr": "LO", "Value": ["PID-7"]}, "00400100": {"vr": "SQ", "Value": [step]}}
    httpx.post(f"{node.url}/api/worklist", json=[order]).raise_for_status()
    (planned,) = said(capsys, "worklist", f"ARCHIVE@{found[1]}", "--date", "today")
    assert planned["PatientID"] == "PID-7"
    (planned_step,) = planned["ScheduledProcedureStepSequence"]
    assert (planned_step["Modality"], planned_step["ScheduledStationAETitle"]) == ("CT", ["CT1"])


def test_rules_forward_what_comes(
    peer: str,
    start: Callable[..., Running],
    samples: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    title, _, place = peer.partition("@")
    host, _, port = place.rpartition(":")
    settings = tmp_path / "nearframe.toml"
    settings.write_text(
        f'[[peers]]\nae_title = "{title}"\nhost = "{host}"\nport = {port}\n'
        f'[[forward]]\nto = "{title}"\nModality = "CT"\nPatientID = "forward*"\n'
    )
    node = start("origin", tmp_path / "home", "--config", str(settings))
    wanted = pydicom.dcmread(samples[0])
    wanted.StudyInstanceUID, wanted.PatientID = f"{wanted.StudyInstanceUID}.7", "forwarded"
    wanted.SOPInstanceUID = wanted.file_meta.MediaStorageSOPInstanceUID = UID(f"{wanted.SOPInstanceUID}.7")
    wanted.save_as(tmp_path / "wanted.dcm")
    assert main(["import", str(tmp_path / "wanted.dcm"), str(samples[0]), "--to", node.url, "--quiet"]) == 0
    deadline = time.monotonic() + 20
    while not (found := said(capsys, "find", peer, "PatientID=forwarded")):
        assert time.monotonic() < deadline
    assert [one["StudyInstanceUID"] for one in found] == [wanted.StudyInstanceUID]


def test_an_edge_has_no_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "nearframe.toml"
    settings.write_text('[[peers]]\nae_title = "PACS"\nhost = "pacs"\nport = 104\n[[forward]]\nto = "PACS"\n')
    options = ["--home", str(tmp_path / "home"), "--insecure", "--upstream", "http://127.0.0.1:9"]
    assert main(["edge", "--config", str(settings), *options]) == 2
    assert "the rules belong to the settings of the origin" in capsys.readouterr().err


def test_what_is_no_dicom_is_told(peer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("Dear colleague")
    found = said(capsys, "send", peer, str(tmp_path), code=1)
    assert (found["found"], found["not_dicom"]) == (0, 1)
