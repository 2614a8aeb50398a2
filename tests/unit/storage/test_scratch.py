"""Scratch files: what was written comes back from any offset, and the disk never shows it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearframe.errors import BackendFailed, NoSpace
from nearframe.storage.scratch import EncryptedFile, ScratchFolder, remove_leftovers
from nearframe.units import MIB

DATA = bytes(range(256)) * 1200


@pytest.fixture
def written(tmp_path: Path) -> EncryptedFile:
    file = EncryptedFile(tmp_path)
    for at in range(0, len(DATA), 1000):  # not a multiple of the AES block
        file.write(DATA[at : at + 1000])
    return file


@settings(max_examples=200, deadline=None)
@given(reads=st.lists(st.tuples(st.integers(0, len(DATA) + 20), st.integers(0, len(DATA))), max_size=6))
def test_reads_anywhere_like_bytes(tmp_path_factory: pytest.TempPathFactory, reads: list[tuple[int, int]]) -> None:
    file = EncryptedFile(tmp_path_factory.getbasetemp())
    file.write(DATA)
    for offset, length in reads:
        assert file.read(offset, length) == DATA[offset : offset + length]
    file.close()


def test_the_disk_holds_ciphertext_of_a_file_without_a_name(tmp_path: Path, written: EncryptedFile) -> None:
    assert list(tmp_path.iterdir()) == []
    on_disk = os.pread(written._fd, len(DATA), 0)
    assert len(on_disk) == len(DATA)
    assert DATA[:64] not in on_disk


def test_falls_back_where_unlinked_files_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return real_open(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    file = EncryptedFile(tmp_path)
    file.write(b"abc")
    assert file.read(1, 2) == b"bc"
    assert list(tmp_path.iterdir()) == []


def test_a_closed_file_takes_no_more(written: EncryptedFile) -> None:
    written.close()
    written.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        written.write(b"late")


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "left").touch()
    folder = ScratchFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    file = folder.open()
    file.write(DATA)
    assert file.read(100, 10) == DATA[100:110]
    remove_leftovers(tmp_path / "no such folder")


def test_the_reserve_is_looked_at_while_a_file_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ScratchFolder(tmp_path, reserve_bytes=0).open()
    file.write(bytes(MIB))
    room = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result([*room[:4], 0, *room[5:]]))
    with pytest.raises(NoSpace):
        for _ in range(32):
            file.write(bytes(MIB))
    with pytest.raises(NoSpace):
        ScratchFolder(tmp_path, reserve_bytes=1).open()


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, NoSpace), (errno.EIO, BackendFailed)])
def test_what_the_disk_refuses_is_one_of_our_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception]
) -> None:
    file = ScratchFolder(tmp_path).open()

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(error):
        file.write(b"abc")
