"""``nearframe push`` to Orthanc, and ``nearframe import`` of all that Orthanc has: the same bytes, there and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest

from bench.peers import free_port, has_orthanc, orthanc
from nearframe.cli import main
from tests.integration.cli.conftest import Running
from tests.multiparts import split_parts


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DICOMweb service of an Orthanc."""
    if not has_orthanc():
        pytest.skip("no Orthanc with its DICOMweb plugin")
    port = free_port()
    with orthanc(tmp_path_factory.mktemp("orthanc"), port=port):
        yield f"http://127.0.0.1:{port}/dicom-web"


def said(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main([*command, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_there_and_back(
    origin: Running,
    pacs: str,
    start: Callable[..., Running],
    samples: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = str(pydicom.dcmread(samples[0]).StudyInstanceUID)
    state = ["--state", str(tmp_path / "state"), "--reconcile"]
    pushed = said(capsys, "push", study[:20], "--url", origin.url, "--to", pacs, *state)
    assert (pushed["found"], pushed["stored"]) == (2, 2)
    compared = pushed["reconciliation"]
    assert [compared[name] for name in ("studies", "instances", "held", "others", "missing_count")] == [1, 2, 2, 0, 0]
    other = start("origin", tmp_path / "other")
    back = said(capsys, "import", pacs, "--to", other.url, *state, "--rate", "50MB")
    assert (back["stored"], back["reconciliation"]["held"]) == (2, 2)
    answer = httpx.get(
        f"{other.url}/dicomweb/studies/{study}",
        headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
    )
    assert sorted(file for _, file in split_parts(answer.content, answer.headers["content-type"])) == sorted(
        path.read_bytes() for path in samples
    )


def test_a_study_that_is_not_there(origin: Running, pacs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "1.2.3", "--url", origin.url, "--to", pacs]) == 2
    assert "no such study" in capsys.readouterr().err
