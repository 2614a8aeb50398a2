"""The files of an edge's own: whatever byte is flipped in them, the edge starts, and knows what it must."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from nearframe.clock import ManualClock
from nearframe.context import Urgency
from nearframe.edge.outbox import CONSUMER, Outbox
from nearframe.edge.pacs.ledger import Ledger
from nearframe.edge.tiers import Consult, StudyTier, TierFile
from nearframe.errors import BackendFailed, ConfigurationError
from nearframe.ids import Digest
from nearframe.metrics import EDGE_FILES_SET_ASIDE, Metrics
from nearframe.storage.ownfile import open_own, rows_of
from nearframe.storage.ports import StudyRef
from tests.syncing import STUDY_UID, Shelves, ct_series, shelves

STUDY = StudyRef("main", STUDY_UID)
FLIPS = 40

TABLES = sa.MetaData()
THING = sa.Table("thing", TABLES, sa.Column("name", sa.Text, nullable=False), sa.Column("size", sa.Float))


def read_things(connection: sa.Connection) -> list[str]:
    return [row["name"] for row in rows_of(connection, THING)]


def begin(path: Path, *names: str) -> None:
    file = open_own(path, 3, TABLES, read_things, Metrics())
    assert file.is_new
    with file.database.write() as connection:
        for name in names:
            connection.execute(sa.insert(THING).values(name=name, size=1.5))
    file.database.close()


def reopen(path: Path, metrics: Metrics | None = None) -> tuple[list[str], bool]:
    file = open_own(path, 3, TABLES, read_things, metrics or Metrics())
    file.database.close()
    return file.kept, file.is_new


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    begin(tmp_path / "own.sqlite", "a", "b")
    assert reopen(tmp_path / "own.sqlite") == (["a", "b"], False)


@pytest.mark.parametrize(
    "damage",
    [
        "PRAGMA user_version = 2",
        "UPDATE thing SET name = x'00'",
        "UPDATE thing SET size = 'much'",
        "CREATE TABLE other (a); DROP TABLE thing",
    ],
)
def test_what_no_release_wrote_is_set_aside(tmp_path: Path, damage: str) -> None:
    path, metrics = tmp_path / "own.sqlite", Metrics()
    for number in (1, 2):
        begin(path, "a")
        connection = sqlite3.connect(path)
        connection.executescript(damage)
        connection.close()
        assert reopen(path, metrics) == ([], True)
        assert (tmp_path / f"own.damaged-{number}.sqlite").exists()
        assert metrics.value(EDGE_FILES_SET_ASIDE, file="own") == number
        path.unlink()


def test_a_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.sqlite"
    begin(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="schema 99"):
        reopen(path)
    assert path.exists()


def test_a_disk_that_cannot_be_read_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "own.sqlite"
    path.mkdir()
    with pytest.raises(BackendFailed):
        reopen(path)
    assert path.is_dir()


# -- each of them ------------------------------------------------------------------------------


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


def flipped(source: Path, folder: Path, name: str, rng: random.Random) -> Path:
    """Return a copy of a file, and of its log, with a byte changed in the one that is named."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for found in source.parent.glob(f"{source.name}*"):
        if not found.name.endswith("-shm"):
            shutil.copy(found, folder / found.name)
    data = bytearray((folder / name).read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (folder / name).write_bytes(data)
    return folder


def waiting(outbox: Outbox) -> set[tuple[str, Digest]]:
    return {(item.sop_instance_uid, item.file) for item in outbox.batch(STUDY, 100, "http://origin")}


@pytest.mark.parametrize("where", ["outbox.sqlite", "outbox.sqlite-wal"])
def test_nothing_local_is_missing_in_an_outbox_with_a_flipped_bit(edge: Shelves, tmp_path: Path, where: str) -> None:
    outbox, rng, metrics = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics()), random.Random(where), Metrics()
    for number in range(4):  # transactions of their own: a log that ends early ends between two of them
        edge.put(ct_series(3, series=number + 1))
        outbox.absorb()
    local = waiting(outbox)
    assert len(local) == 12
    if where == "outbox.sqlite":
        outbox.close()  # which empties the log
    for _ in range(FLIPS):
        folder = flipped(tmp_path / "outbox.sqlite", tmp_path / "flipped", where, rng)
        again = Outbox(folder, edge.catalogue, ManualClock(), metrics)
        assert local <= waiting(again)
        assert again.is_waiting(STUDY)
        again.counts()
        again.lines("main", 100)
        again.close()
    if where == "outbox.sqlite":
        assert metrics.value(EDGE_FILES_SET_ASIDE, file="outbox") > 0
        return
    outbox.close()


def test_an_older_copy_of_the_outbox(edge: Shelves, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics())
    edge.put(ct_series(2))
    outbox.absorb()
    outbox.close()
    copy = (tmp_path / "outbox.sqlite").read_bytes()
    outbox = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics())
    edge.put(ct_series(2, series=2))
    outbox.absorb()
    outbox.close()
    (tmp_path / "outbox.sqlite").write_bytes(copy)
    outbox = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics())
    assert len(waiting(outbox)) == 4
    assert edge.catalogue.passed(CONSUMER) > 0
    outbox.close()


def test_tiers_with_a_flipped_bit(tmp_path: Path) -> None:
    path, rng, metrics = tmp_path / "tiers.sqlite", random.Random(1), Metrics()
    file = TierFile(path, Metrics())
    studies = [StudyRef("main", f"1.2.{number}") for number in range(20)]
    file.save([StudyTier(study, 1000.0, acquired_at="2026-11-22T08:15:00", patient=b"tag") for study in studies])
    file.save_consult(Consult("c", (studies[0], studies[1]), Urgency.STAT, "call", 1.0, 2.0))
    file.close()
    for _ in range(FLIPS):
        again = TierFile(flipped(path, tmp_path / "flipped", path.name, rng) / path.name, metrics)
        assert len(again.kept.studies) in (0, len(studies))
        assert again.is_new is (not again.kept.studies)
        again.close()
    assert metrics.value(EDGE_FILES_SET_ASIDE, file="tiers") > 0


def test_a_ledger_with_a_flipped_bit(tmp_path: Path) -> None:
    path, rng, metrics = tmp_path / "pacs.sqlite", random.Random(1), Metrics()
    ledger = Ledger(tmp_path, Metrics())
    ledger.settle(STUDY, {f"1.2.{number}": Digest(bytes([number]) * 32) for number in range(50)}, (), 1000.0)
    ledger.close()
    for _ in range(FLIPS):
        again = Ledger(flipped(path, tmp_path / "flipped", path.name, rng), metrics)
        assert len(again.compared) <= 1
        again.close()
    assert metrics.value(EDGE_FILES_SET_ASIDE, file="pacs") > 0


@pytest.mark.parametrize("lost", ["", "-wal", "*"])
def test_each_of_them_can_be_deleted(edge: Shelves, tmp_path: Path, lost: str) -> None:
    edge.put(ct_series(3))
    outbox, tiers = (
        Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics()),
        TierFile(tmp_path / "t.sqlite", Metrics()),
    )
    ledger = Ledger(tmp_path, Metrics())
    outbox.absorb()
    tiers.save([StudyTier(STUDY, 1.0)])
    ledger.settle(STUDY, {"1.2.3": Digest(bytes(32))}, (), 1.0)
    folder = tmp_path / "left"
    folder.mkdir()
    for name in ("outbox.sqlite", "t.sqlite", "pacs.sqlite"):  # as a kill leaves them, with their logs
        for found in tmp_path.glob(f"{name}*"):
            shutil.copy(found, folder / found.name)
        for found in folder.glob(f"{name}{lost}"):
            found.unlink()
    local = waiting(outbox)
    for one in (outbox, tiers, ledger):
        one.close()
    outbox = Outbox(folder, edge.catalogue, ManualClock(), Metrics())
    assert waiting(outbox) == local
    outbox.close()
    TierFile(folder / "t.sqlite", Metrics()).close()
    Ledger(folder, Metrics()).close()
