"""The journal: survives a crash, tells targets apart, names nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearframe.importer.journal import Journal, default_folder

KEYS = [f"{n:032x}" for n in range(3)]


def test_remembers_across_runs(tmp_path: Path) -> None:
    with Journal(tmp_path, "http://a", "") as journal:
        journal.add(KEYS[:2])
    with Journal(tmp_path, "http://a", "") as journal:
        assert [key in journal for key in KEYS] == [True, True, False]
    with Journal(tmp_path, "http://b", "") as journal:
        assert KEYS[0] not in journal


def test_another_archive_begins_anew(tmp_path: Path) -> None:
    for archive, held in (("first", False), ("first", True), ("second", False), ("second", True), ("first", False)):
        with Journal(tmp_path, "http://a", archive=archive) as journal:
            assert (KEYS[0] in journal) is held
            journal.add(KEYS[:1])
    assert len(list(tmp_path.iterdir())) == 1


def test_a_line_cut_short_is_no_line(tmp_path: Path) -> None:
    with Journal(tmp_path, "t") as journal:
        journal.add(KEYS)
        path = journal.path
    path.write_bytes(path.read_bytes()[:-5] + b"\xff")
    with Journal(tmp_path, "t") as journal:
        assert [key in journal for key in KEYS] == [True, True, False]


def test_forgets(tmp_path: Path) -> None:
    with Journal(tmp_path, "t") as journal:
        journal.add(KEYS)
        journal.forget()
    assert list(tmp_path.iterdir()) == []


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "nearframe"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_folder().parts[-3:] == (".local", "state", "nearframe")
