"""The index that a continued export goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearframe.errors import ConfigurationError
from nearframe.exporter.index import DIGESTS, INDEX, Entry, FolderIndex


def entry(number: int) -> Entry:
    return Entry(f"{number}.dcm", "1.2", "1.2.3", f"1.2.3.{number}", 3, f"{number:064x}")


def test_what_was_written_is_remembered_while_it_is_there(tmp_path: Path) -> None:
    with FolderIndex(tmp_path, "as stored") as index:
        for number in (1, 2):
            (tmp_path / f"{number}.dcm").write_bytes(b"abc")
            index.add(entry(number))
        index.write_digests()
    assert (tmp_path / DIGESTS).read_text() == "".join(f"{n:064x}  {n}.dcm\n" for n in (1, 2))
    (tmp_path / "2.dcm").write_bytes(b"ab")
    with FolderIndex(tmp_path, "as stored") as again:
        assert list(again.entries.values()) == [entry(1), entry(2)]
        assert again.holds("1.2.3.1")
        assert not again.holds("1.2.3.2"), "cut short"
        assert not again.holds("1.2.3.3")


def test_a_line_that_a_crash_cut_short(tmp_path: Path) -> None:
    with FolderIndex(tmp_path, "as stored") as index:
        index.add(entry(1))
    with (tmp_path / INDEX).open("a") as file:
        file.write(entry(2).line()[:-20])
    with FolderIndex(tmp_path, "as stored") as again:
        assert list(again.entries) == ["1.2.3.1"]
        again.add(entry(3))
    with FolderIndex(tmp_path, "as stored") as once_more:
        assert list(once_more.entries) == ["1.2.3.1", "1.2.3.3"]


def test_two_kinds_never_share_a_folder(tmp_path: Path) -> None:
    with FolderIndex(tmp_path, "as stored"):
        pass
    with pytest.raises(ConfigurationError, match="another kind"):
        FolderIndex(tmp_path, "de-identified")


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("")
    with pytest.raises(ConfigurationError, match="not empty"):
        FolderIndex(tmp_path, "as stored")
