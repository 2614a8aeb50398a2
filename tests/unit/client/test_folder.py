"""The folder: whole or not there, whatever happens in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearframe.client import Folder
from nearframe.errors import Busy, ConfigurationError, IntegrityError, NotFound
from nearframe.ids import sha256

DATA = b"some content"
DIGEST = sha256(DATA)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "folder")


def place(folder: Folder) -> Path:
    return folder.path / "contents" / DIGEST.hex()[:2] / DIGEST.hex()[2:]


def test_what_is_put_is_held(folder: Folder) -> None:
    assert not folder.holds(DIGEST)
    folder.put(DIGEST, DATA)
    assert folder.holds(DIGEST)
    assert folder.holds(DIGEST, len(DATA))
    assert not folder.holds(DIGEST, len(DATA) + 1)
    assert folder.read(DIGEST) == DATA
    assert b"".join(folder.read_slice(DIGEST, 5, 3)) == DATA[5:8]
    folder.prove(DIGEST)


@pytest.mark.parametrize("read", [Folder.read, Folder.prove])
def test_what_is_damaged_is_not_held_any_longer(folder: Folder, read: object) -> None:
    folder.put(DIGEST, DATA)
    place(folder).write_bytes(DATA[:-1] + b"x")
    with pytest.raises(IntegrityError):
        read(folder, DIGEST)  # type: ignore[operator]
    assert not folder.holds(DIGEST)
    with pytest.raises(NotFound):
        read(folder, DIGEST)  # type: ignore[operator]


def test_an_empty_file_is_what_a_power_cut_leaves(folder: Folder) -> None:
    folder.put(DIGEST, DATA)
    place(folder).write_bytes(b"")
    assert not folder.holds(DIGEST)


def test_a_slice_beyond_the_end(folder: Folder) -> None:
    folder.put(DIGEST, DATA)
    with pytest.raises(IntegrityError):
        list(folder.read_slice(DIGEST, 5, 100))


def test_a_write_that_fails_leaves_nothing(folder: Folder) -> None:
    with pytest.raises(RuntimeError), folder.written(place(folder)) as file:
        file.write(b"half")
        raise RuntimeError
    assert not folder.holds(DIGEST)
    assert not list((folder.path / "scratch").iterdir())


def test_a_writer_clears_away_what_a_dead_one_left(folder: Folder) -> None:
    (folder.path / "scratch" / "left").write_bytes(b"half")
    with folder.locked():
        assert not list((folder.path / "scratch").iterdir())
        with pytest.raises(Busy), Folder(folder.path).locked():
            pass


def test_only_its_owner_may_look(folder: Folder) -> None:
    assert {path.stat().st_mode & 0o077 for path in (folder.path, folder.path / "contents")} == {0}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError):
        Folder(tmp_path / "file")


def test_parts_grow_and_are_cut_off(folder: Folder) -> None:
    study = folder.study("", "1.2.3")
    assert study.manifest() is None
    study.append_part(DIGEST, DIGEST, 0, b"some wrong")
    study.append_part(DIGEST, DIGEST, 5, b"content")
    assert study.part_digest(DIGEST, DIGEST) == DIGEST
    assert list(study.parts()) == [(DIGEST, DIGEST, len(DATA))]
    folder.take(DIGEST, study.part_path(DIGEST, DIGEST))
    assert folder.read(DIGEST) == DATA
    assert study.part_length(DIGEST, DIGEST) == 0
    study.drop_parts()
    assert list(study.parts()) == []


def test_studies_and_tenants_are_apart(folder: Folder) -> None:
    paths = {folder.study(tenant, uid).part_path(DIGEST, DIGEST) for tenant in ("", "a") for uid in ("1.2", "1.3")}
    assert len(paths) == 4
