"""``nearframe study`` against a running origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["study", *arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(run(capsys, *arguments, "--json"))


@pytest.fixture
def uid(samples: list[Path]) -> str:
    return str(pydicom.dcmread(samples[0]).StudyInstanceUID)


def test_list(origin: Running, capsys: pytest.CaptureFixture[str], uid: str) -> None:
    text = run(capsys, "list", "--url", origin.url)
    assert "CompressedSamples^CT1" in text
    assert uid in text


def test_list_searches_as_qido_does(origin: Running, capsys: pytest.CaptureFixture[str], uid: str) -> None:
    (found,) = run_json(capsys, "list", "--url", origin.url, "PatientID=1CT1", "ModalitiesInStudy=CT")
    assert (found["StudyInstanceUID"], found["NumberOfStudyRelatedInstances"]) == (uid, 2)
    assert run_json(capsys, "list", "--url", origin.url, "PatientID=none") == []
    assert (found["ModalitiesInStudy"], len(found["SOPClassesInStudy"])) == (["CT"], 1)


def test_list_says_what_it_ignored_and_that_it_found_nothing(
    origin: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "list", "--url", origin.url, "PatinetName=doe"]) == 0
    assert "ignored: PatinetName" in capsys.readouterr().err
    assert main(["study", "list", "--url", origin.url, "PatientID=none"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "No study matches.\n")


def test_show_is_a_tree(origin: Running, capsys: pytest.CaptureFixture[str], uid: str) -> None:
    text = run(capsys, "show", uid[:20], "--url", origin.url)
    assert "2 instances, 2 frames, 65.5 kB of pixels" in text
    assert "Explicit VR Little Endian" in text
    shown = run_json(capsys, "show", uid, "--url", origin.url)
    assert shown["series"][0]["frame_bytes"] == 2 * 32768


def test_manifest(origin: Running, capsys: pytest.CaptureFixture[str], uid: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    text = run(capsys, "manifest", uid, "--url", origin.url, "--output", str(file))
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["root"] in text
    assert run_json(capsys, "manifest", uid, "--url", origin.url) == document


def test_diff_of_a_renamed_patient_moves_no_frame(
    origin: Running, capsys: pytest.CaptureFixture[str], samples: list[Path], uid: str, tmp_path: Path
) -> None:
    root = run_json(capsys, "manifest", uid, "--url", origin.url)["root"]
    assert run_json(capsys, "diff", uid, "--from", root, "--url", origin.url) == {"changed": False}
    for path in samples:
        ds = pydicom.dcmread(path)
        ds.PatientName = "CompressedSamples^CT2"
        ds.save_as(tmp_path / path.name)
    assert main(["import", str(tmp_path), "--to", origin.url, "--quiet"]) == 0
    capsys.readouterr()
    diff = run_json(capsys, "diff", uid, "--from", root, "--url", origin.url)
    assert diff["changed"]
    assert (diff["edited_instances"], diff["added_instances"], diff["dropped_instances"]) == (2, 0, 0)
    assert diff["bytes"] < 1000
    assert "edited instances   2" in run(capsys, "diff", uid, "--from", root, "--url", origin.url)


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (["show", "9.9"], "no such study at this node; nearframe study list", 2),
        (["list", "PatientID"], "expected KEY=VALUE", 2),
        (["diff", "1", "--from", "xyz"], "from", 2),
        (["list", "--url", "ftp://x"], "expected http", 2),
        (["list", "--url", "http://127.0.0.1:1"], "is the node running?", 3),
        (["list", "--ca-cert", "/nowhere"], "not readable as PEM", 2),
    ],
)
def test_errors_say_what_to_do(
    origin: Running, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str, code: int
) -> None:
    url = [] if "--url" in arguments else ["--url", origin.url]
    assert says in run(capsys, *arguments, *url, code=code)
