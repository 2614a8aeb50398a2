"""``nearframe correct`` against a running origin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running


@pytest.fixture(scope="module")
def archive(start: Callable[..., Running], samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """An origin with one study, to be corrected."""
    node = start("origin", tmp_path_factory.mktemp("corrected"))
    assert main(["import", *map(str, samples), "--to", node.url, "--quiet"]) == 0
    return node


@pytest.fixture
def correct(archive: Running) -> Callable[..., int]:
    def run(*arguments: str) -> int:
        return main(["correct", *arguments, "--url", archive.url])

    return run


def test_a_patient_is_renamed_merged_and_put_back(
    correct: Callable[..., int], archive: Running, samples: list[Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ds = pydicom.dcmread(samples[0])
    why = ["--reason", "typed wrongly"]

    def printed() -> Any:
        return json.loads(capsys.readouterr().out)

    assert correct("patient", str(ds.PatientID), "PatientName=Doe^Jane", "--dry-run", *why) == 0
    assert "2 instances of 1 study" in capsys.readouterr().out
    assert correct("set", str(ds.StudyInstanceUID)[:20], "PatientName=Doe^Jane", "--remove", "PatientAge", *why) == 0
    assert "2 instances changed, no pixel moved" in capsys.readouterr().out
    into = ["PID-9^^^HOSPITAL", "PatientName=Roe^Richard"]
    assert correct("merge", str(ds.PatientID), *into, "--json", *why) == 0
    merged = printed()
    assert merged["instances"] == 2
    assert correct("delete", str(ds.StudyInstanceUID), "--instance", str(ds.SOPInstanceUID), *why) == 0
    capsys.readouterr()
    assert correct("list", "--json") == 0
    deleted, _, renamed = printed()
    assert (deleted["action"], renamed["reason"]) == ("delete", "typed wrongly")
    assert correct("show", str(merged["id"])) == 0
    assert str(ds.SOPInstanceUID) in (shown := capsys.readouterr().out)
    assert "Roe^Richard" in shown
    for made in (deleted, merged, renamed):
        assert correct("undo", str(made["id"]), "--reason", "it was right") == 0
    assert correct("list", "--study", str(ds.StudyInstanceUID)) == 0
    assert f"undone by {renamed['id']}" not in (listed := capsys.readouterr().out)
    assert listed.count("undone by") == 3
    assert main(["sync", str(ds.StudyInstanceUID), "--from", archive.url, "--into", str(tmp_path), "--quiet"]) == 0
    files = {path.read_bytes() for path in tmp_path.rglob("*.dcm") if ".nearframe" not in path.parts}
    assert files == {sample.read_bytes() for sample in samples}


def test_mistakes_are_told(
    correct: Callable[..., int], samples: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    study, why = str(pydicom.dcmread(samples[0]).StudyInstanceUID), ["--reason", "x"]
    for arguments, says in (
        (["set", study, "PatientName", *why], "expected NAME=VALUE"),
        (["set", study, "Rows=4", *why], "Rows cannot be corrected"),
        (["set", study, *why, "PatientSex=female"], "does not fit its VR CS: capitals"),
        (["set", "1.9.9", "PatientID=4", *why], "no such study"),
        (["move", study, "--to-patient", "UNKNOWN", *why], "no such patient"),
        (["undo", "99999", *why], "no such correction"),
    ):
        assert correct(*arguments) == 2
        assert says in capsys.readouterr().err
