"""Scratch files: what was written comes back from any offset, and the disk never shows it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearframe.storage.scratch import EncryptedFile

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
