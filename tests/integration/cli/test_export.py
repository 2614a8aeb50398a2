"""``nearframe export`` of a running node: folders, zip files, media, and what strangers may see."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID

from nearframe.cli import main
from tests.archive import sample
from tests.integration.cli.conftest import Running
from tests.media import files_of


@pytest.fixture(scope="module")
def node(start: Callable[..., Running], samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A node with two CT slices, an MR in Implicit VR, and a secondary capture that says nothing of text in it."""
    folder = tmp_path_factory.mktemp("more")
    for name in ("MR_small_implicit.dcm", "SC_rgb_rle.dcm"):
        (folder / name).write_bytes(sample(name))
    running = start("origin", tmp_path_factory.mktemp("exported"))
    assert main(["import", *map(str, samples), str(folder), "--to", running.url, "--quiet"]) == 0
    return running


@pytest.fixture
def export(node: Running, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def export(*arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(["export", *arguments, "--url", node.url, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return export


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.dcm")}


def test_folders_hold_every_byte_and_go_on(export: Callable[..., Any], samples: list[Path], tmp_path: Path) -> None:
    into = tmp_path / "all"
    report = export("--all", "--into", str(into))
    assert (report["studies"], report["found"], report["written"]) == (3, 4, 4)
    written = sorted(files(into).values())
    originals = [*(path.read_bytes() for path in samples), sample("MR_small_implicit.dcm"), sample("SC_rgb_rle.dcm")]
    assert written == sorted(originals)
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=into, check=False).returncode == 0
    before = files(into)
    next(into.rglob("*.dcm")).unlink()
    again = export("--all", "--into", str(into))
    assert (again["held"], again["written"]) == (3, 1)
    assert files(into) == before, "under the same names"


def test_one_study_as_a_zip_file(export: Callable[..., Any], samples: list[Path], tmp_path: Path) -> None:
    study = str(pydicom.dcmread(samples[0]).StudyInstanceUID)
    path = tmp_path / "study.zip"
    assert export(study[:30], "--as", "zip", "--into", str(path))["written"] == 2
    with zipfile.ZipFile(path) as read:
        stored = {name: read.read(name) for name in read.namelist()}
    assert [stored[f"study-00001/series-001/0000{n}.dcm"] for n in (1, 2)] == [one.read_bytes() for one in samples]
    assert {"index.jsonl", "SHA256SUMS"} < stored.keys()


def test_a_zip_file_on_standard_output(node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out, isatty=lambda: False))
    assert main(["export", "--all", "--as", "zip", "--into", "-", "--url", node.url]) == 0
    with zipfile.ZipFile(out) as read:
        assert len(read.namelist()) == 6


@pytest.mark.filterwarnings("ignore")  # pydicom's, of its own odd files
def test_a_medium(export: Callable[..., Any], tmp_path: Path) -> None:
    into = tmp_path / "medium"
    assert export("--all", "--as", "dicomdir", "--into", str(into))["written"] == 4
    on_it = [ds for _, ds in files_of(into / "DICOMDIR")]
    assert len(on_it) == 4
    # Neither Implicit VR nor RLE is what readers of media take.
    assert {ds.file_meta.TransferSyntaxUID for ds in on_it} == {UID("1.2.840.10008.1.2.1")}
    assert main(["export", "--all", "--as", "dicomdir", "--into", str(into)]) == 2, "not into what is there"


def test_deidentified_twice_with_one_key(export: Callable[..., Any], tmp_path: Path) -> None:
    key = ["--deidentify", "basic", "--keep", "device,modified-dates", "--key", str(tmp_path / "key")]
    first, second = tmp_path / "first", tmp_path / "second"
    report = export("--all", "--into", str(first), *key, code=1)
    assert (report["written"], report["failed_count"]) == (3, 1)
    assert "may be burned" in report["failed"][0]["reason"]
    export("--all", "--into", str(second), *key, code=1)
    assert files(first) == files(second)
    everything = b"".join(path.read_bytes() for path in first.rglob("*") if path.is_file())
    assert b"1CT1" not in everything
    assert b"CompressedSamples" not in everything
    assert export("--all", "--into", str(first), *key, code=1)["held"] == 3
    one = pydicom.dcmread(next(first.rglob("*.dcm")))
    assert one.PatientIdentityRemoved == "YES"


def test_masked_by_a_profile_file(export: Callable[..., Any], tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text('[[mask]]\nwhen = { Modality = "OT" }\nregions = [[0, 0, 1000, 10]]\n')
    report = export("--all", "--into", str(tmp_path / "out"), "--deidentify", str(profile))
    assert (report["written"], len(report["masked"])) == (4, 1)
    picture = pydicom.dcmread(tmp_path / "out" / report["masked"][0]).pixel_array
    assert not picture[:10].any()
    assert picture[10:].any()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--all", "--keep", "dates"], "--deidentify"),
        (["--all", "--deidentify", "basic", "--keep", "names"], "safe-private"),
        (["--all", "--deidentify", "nowhere.toml"], "cannot be read"),
        (["1.2.3.4.5.6"], "no such study"),
    ],
)
def test_mistakes(
    node: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["export", *arguments, "--into", str(tmp_path / "out"), "--url", node.url]) == 2
    assert says in capsys.readouterr().err


def test_nothing_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--into", "somewhere"])
    assert "required" in capsys.readouterr().err
