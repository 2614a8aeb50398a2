"""``nearframe sync`` against a running origin and edge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from nearframe.cli import main
from tests.integration.cli.conftest import Running
from tests.syncing import ct_series, edited, instance_uid, rename

STUDY = "1.2.826.0.1.3680043.2.1125.77"
FILES = ct_series(12, rows=128, study=STUDY) + ct_series(3, rows=64, study=STUDY, series=2)


@pytest.fixture(scope="module")
def archive(start: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> Running:
    node = start("origin", tmp_path_factory.mktemp("archive"))
    store(node, FILES, tmp_path_factory.mktemp("files"))
    return node


def store(node: Running, files: list[bytes], folder: Path) -> None:
    for number, file in enumerate(files):
        (folder / f"{number}.dcm").write_bytes(file)
    assert main(["import", str(folder), "--to", node.url, "--quiet", "--again"]) == 0


def sync(capsys: pytest.CaptureFixture[str], into: Path, *options: str) -> Any:
    assert main(["sync", STUDY, "--into", str(into), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def files_in(into: Path) -> dict[str, bytes]:
    paths = [path for path in into.rglob("*.dcm") if ".nearframe" not in path.parts]
    return {str(path.relative_to(into)): path.read_bytes() for path in paths}


def test_files_again_and_after_a_correction(
    archive: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    into = tmp_path / "study"
    assert main(["sync", STUDY[:-1], "--from", archive.url, "--into", str(into)]) == 0
    assert "15 files (15 written); moved" in capsys.readouterr().out
    files = files_in(into)
    assert sorted(files.values()) == sorted(FILES)
    assert sorted(files) == [f"{n:05}.dcm" for n in range(1, 16)]
    assert files["00001.dcm"] == FILES[0]

    again = sync(capsys, into, "--from", archive.url)
    assert (again["how"], again["requests"], again["written"]) == ("unchanged", 1, 0)
    assert again["moved_bytes"] < 200

    renamed = [edited(file, rename("Doe^Janet")) for file in FILES]
    (tmp_path / "renamed").mkdir()
    store(archive, renamed, tmp_path / "renamed")
    capsys.readouterr()
    after = sync(capsys, into, "--from", archive.url)
    assert (after["how"], after["requests"], after["written"]) == ("delta", 1, 15)
    assert after["moved_bytes"] < 1024
    assert sorted(files_in(into).values()) == sorted(renamed)
    index = json.loads((into / "index.json").read_text())
    assert index["root"] == after["root"]
    assert {one["instance"] for one in index["files"]} == set(map(instance_uid, FILES))


def test_a_folder_for_each_series(archive: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sync(capsys, tmp_path, "--from", archive.url, "--layout", "tree", "--as-stored")
    names = sorted(files_in(tmp_path))
    assert (names[0], names[-1], len(names)) == ("series-001/00001.dcm", "series-002/00015.dcm", 15)
    assert sync(capsys, tmp_path, "--from", archive.url, "--layout", "flat")["written"] == 15
    assert sorted(files_in(tmp_path))[0] == "00001.dcm"


def test_the_next_node_is_asked(archive: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["sync", STUDY, "--from", "http://127.0.0.1:9", "--from", archive.url, "--into", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "cannot connect to http://127.0.0.1:9" in captured.err
    assert len(files_in(tmp_path)) == 15


def test_a_file_that_was_lost_or_changed_in_length_comes_back(
    archive: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sync(capsys, tmp_path, "--from", archive.url)
    before = files_in(tmp_path)
    (tmp_path / "00003.dcm").unlink()
    (tmp_path / "00004.dcm").write_bytes(b"")
    assert sync(capsys, tmp_path, "--from", archive.url)["written"] == 2
    assert files_in(tmp_path) == before


def test_an_index_that_lies_reaches_no_other_file(
    archive: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    into = tmp_path / "study"
    sync(capsys, into, "--from", archive.url)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    index = json.loads((into / "index.json").read_text())
    index["files"].append({"file": "../precious", "series": "1", "instance": "1", "digest": "", "bytes": 4})
    index["files"][0]["file"] = "../precious"
    (into / "index.json").write_text(json.dumps(index))
    sync(capsys, into, "--from", archive.url)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["1.2.3.4", "--from", "{url}"], 2, "no such study"),
        ([STUDY, "--from", "http://127.0.0.1:9"], 3, "is the node running?"),
        ([STUDY, "--from", "edge:8043"], 2, "expected http:// or https://"),
        ([STUDY, "--from", "{url}", "--ca-cert", "/nowhere"], 2, "not readable as PEM"),
    ],
)
def test_what_is_wrong_is_said(
    archive: Running,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: list[str],
    code: int,
    said: str,
) -> None:
    arguments = [option.format(url=archive.url) for option in options]
    assert main(["sync", *arguments, "--into", str(tmp_path / "x")]) == code
    assert said in capsys.readouterr().err


def test_another_study_needs_another_folder(
    archive: Running, origin: Running, samples: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sync(capsys, tmp_path, "--from", archive.url)
    other = str(pydicom.dcmread(samples[0]).StudyInstanceUID)
    assert main(["sync", other, "--from", origin.url, "--into", str(tmp_path)]) == 2
    assert "another study" in capsys.readouterr().err


def test_a_killed_client_leaves_what_the_next_one_goes_on_with(
    archive: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path, root: Path
) -> None:
    """Killed at the first content: nothing half written is taken for whole."""
    into = tmp_path / "study"
    killer = (
        "import os, signal, sys\n"
        "from nearframe.cli import main\n"
        "from nearframe.client.folder import Folder\n"
        "put, seen = Folder.put, []\n"
        "def killing(self, digest, data):\n"
        "    seen.append(digest)\n"
        "    if len(seen) == 20:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    put(self, digest, data)\n"
        "Folder.put = killing\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", killer, "sync", STUDY, "--from", archive.url, "--into", str(into), "--quiet"]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(root / "src")}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert files_in(into) == {}
    after = sync(capsys, into, "--from", archive.url, "--as-stored")
    assert len(files_in(into)) == 15
    # 15 headers and four frames had come: the other eleven did.
    assert after["how"] == "unchanged"
    assert after["moved_bytes"] < 11 * 128 * 128 * 2 + 20_000
