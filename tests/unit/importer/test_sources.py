"""Finding files: folders, archives within archives, media; nothing raises, nothing is followed out."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path

import pytest

from nearframe.importer import archives, sources
from nearframe.importer.report import Problem
from nearframe.importer.sources import Found, Other, find
from tests.unit.importer.conftest import dicom_file

ONE, TWO = dicom_file("1.2.1"), dicom_file("1.2.2", size=5000)


def names(paths: list[Path], root: Path) -> list[str]:
    return [item.name.removeprefix(f"{root}{os.sep}") for item in find(paths) if isinstance(item, Found)]


def contents(paths: list[Path]) -> list[bytes]:
    found = []
    for item in find(paths):
        if isinstance(item, Found):
            with item.open() as file:
                found.append(file.read())
            assert len(found[-1]) == item.size
    return found


def problems(paths: list[Path]) -> list[str]:
    return [item.reason for item in find(paths) if isinstance(item, Problem)]


def zip_of(**entries: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_folder_is_walked_in_a_stable_order(folder: Path) -> None:
    assert names([folder], folder) == [
        *(f"series0/IM{n:03}" for n in range(0, 10, 2)),
        *(f"series1/IM{n:03}" for n in range(1, 10, 2)),
    ]
    assert sum(isinstance(item, Other) for item in find([folder])) == 2


def test_archives_within_archives(tmp_path: Path) -> None:
    inner = zip_of(a=ONE, b=TWO, c=b"text")
    (tmp_path / "outer.zip").write_bytes(zip_of(inner=inner, d=gzip.compress(TWO), folder=b""))
    assert contents([tmp_path]) == [ONE, TWO, TWO]
    assert names([tmp_path], tmp_path) == ["outer.zip!inner!a", "outer.zip!inner!b", "outer.zip!d"]


def test_gzip_files_by_content(tmp_path: Path) -> None:
    (tmp_path / "scan").write_bytes(gzip.compress(ONE))
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"text"))
    assert contents([tmp_path]) == [ONE]


def test_an_archive_within_too_many_archives_is_other(tmp_path: Path) -> None:
    data = ONE
    for _ in range(sources.MAX_NESTING + 1):
        data = gzip.compress(data)
    (tmp_path / "deep").write_bytes(data)
    assert [type(item) for item in find([tmp_path])] == [Other]


def test_broken_and_locked_archives_are_problems(tmp_path: Path) -> None:
    whole = zip_of(a=ONE)
    (tmp_path / "cut.zip").write_bytes(whole[:-30])
    (tmp_path / "cut.gz").write_bytes(gzip.compress(TWO)[:-20])
    assert len(problems([tmp_path])) == 2
    locked = bytearray(whole)
    at = locked.index(b"PK\x01\x02")
    locked[at + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(locked)
    assert any("encrypted" in reason for reason in problems([tmp_path]))


def test_bombs_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_UNPACKED_BYTES", 10_000)
    monkeypatch.setattr(archives, "_READ_BYTES", 4096)
    bomb = dicom_file(size=4_000_000)
    (tmp_path / "bomb.zip").write_bytes(zip_of(bomb=bomb))
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bomb))
    assert contents([tmp_path]) == []
    assert problems([tmp_path]) == [sources._BOMB] * 2


def test_a_large_archive_within_an_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_NESTED_ARCHIVE_BYTES", 100)
    (tmp_path / "outer.zip").write_bytes(zip_of(inner=zip_of(a=ONE), b=TWO))
    assert contents([tmp_path]) == [TWO]
    assert "unpack the outer one" in problems([tmp_path])[0]


def test_what_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert problems([tmp_path / "no such path", tmp_path]) == ["No such file or directory"] * 2


def test_the_key_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(ONE)

    def key() -> str:
        (found,) = find([path])
        assert isinstance(found, Found)
        return found.key

    before = key()
    assert key() == before
    os.utime(path, ns=(1, 1))
    assert key() != before
