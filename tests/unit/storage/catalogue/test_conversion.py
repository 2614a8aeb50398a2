"""A catalogue carried into PostgreSQL: all of it, while somebody writes, and from where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy as sa

from nearframe.context import Urgency
from nearframe.errors import ArchiveMoved, ConfigurationError
from nearframe.ids import sha256
from nearframe.storage.catalogue import SQLCatalogue, conversion, open_catalogue, schema
from nearframe.storage.catalogue.catalogue import open_database
from nearframe.storage.catalogue.conversion import Conversion, Pass
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.postgres import open_postgres
from nearframe.storage.ports import GivenUrgency
from tests.unit.storage.catalogue.objects import identity, study_ref, version

pytestmark = pytest.mark.postgresql

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FIRST, SECOND = study_ref(1), study_ref(2)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "BLOCK_ROWS", 7)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SQLCatalogue]:
    catalogue = open_catalogue(tmp_path / "catalogue.sqlite")
    catalogue.outbox("renditions", 0)
    yield catalogue
    catalogue.close()


@pytest.fixture
def target(postgres_url: str) -> Iterator[Database]:
    database = open_postgres(postgres_url)
    yield database
    database.close()


def fill(catalogue: SQLCatalogue, studies: int = 2, each: int = 20) -> None:
    for study in range(1, studies + 1):
        catalogue.record([version(identity(study, 1, number)) for number in range(1, each + 1)])
    catalogue.give_urgency(FIRST, GivenUrgency(Urgency.STAT, "stroke call"))
    catalogue.save_root(FIRST, 1, sha256(b"root"))
    catalogue.announce("series_end", "main", None, {"series": "1.2.1.1"})


def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Return everything a database holds, but for what `conversion` leaves out."""
    with database.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for table in schema.metadata.tables.values()
            if table not in (schema.schema_version, schema.lease)
        }


def carried(one: Conversion) -> int:
    """Carry until there is nothing to write; return how many passes that took."""
    passes = 1
    while not one.carry().found_nothing:
        passes += 1
    return passes


@pytest.mark.usefixtures("small_blocks")
def test_everything_comes_along(source: SQLCatalogue, target: Database, postgres_url: str) -> None:
    fill(source)
    one = Conversion(source.database, target)
    one.begin(NOW)
    assert carried(one) == 2
    assert rows(target) == rows(source.database)
    assert [found.found_nothing for found in one.move(one.carry, NOW)] == [True]
    opened = open_catalogue(postgres_url)
    assert opened.head() == source.head()
    assert opened.feed(None, 10) == source.feed(None, 10)
    assert opened.list_instances(FIRST) == source.list_instances(FIRST)
    assert opened.metadata(SECOND) == source.metadata(SECOND)
    assert opened.outbox("renditions", 100) == source.outbox("renditions", 100)
    opened.record([version(identity(3))])  # ids and sequences go on from where they were
    assert opened.state(study_ref(3)) == source.head().seq + 1
    opened.close()


@pytest.mark.usefixtures("small_blocks")
def test_what_changes_meanwhile_comes_with_the_next_pass(source: SQLCatalogue, target: Database) -> None:
    fill(source)
    changes: Iterator[Callable[[], object]] = iter(
        (
            lambda: source.record([version(identity(1, 1, number)) for number in range(21, 40)]),
            lambda: source.delete(SECOND, None, None),
            lambda: source.give_urgency(FIRST, None),
            lambda: source.acknowledge("renditions", 10**6),
        )
    )

    def meanwhile(table: str, done: int, total: int) -> None:
        if table == "version" and (change := next(changes, None)) is not None:
            change()

    one = Conversion(source.database, target, meanwhile)
    one.begin(NOW)
    assert carried(one) == 3
    assert rows(target) == rows(source.database)


@pytest.mark.usefixtures("small_blocks")
def test_an_interrupted_run_goes_on(source: SQLCatalogue, target: Database, postgres_url: str) -> None:
    fill(source)

    def interrupt(table: str, done: int, total: int) -> None:
        if table == "version" and done > total // 2:
            raise KeyboardInterrupt

    first = Conversion(source.database, target, interrupt)
    first.begin(NOW)
    with pytest.raises(KeyboardInterrupt):
        first.carry()
    with pytest.raises(ConfigurationError, match="nearframe migrate to its end"):
        open_catalogue(postgres_url)
    source.record([version(identity(5))])
    again = Conversion(source.database, target)
    again.begin(NOW)
    found = again.carry()
    assert 0 < found.written < found.rows
    assert again.carry().found_nothing
    assert rows(target) == rows(source.database)


def test_only_an_empty_database_is_taken(
    source: SQLCatalogue, target: Database, postgres_url: str, tmp_path: Path
) -> None:
    Conversion(source.database, target).begin(NOW)
    with pytest.raises(ConfigurationError, match="of another catalogue"):
        other = open_catalogue(tmp_path / "other.sqlite")
        try:
            Conversion(other.database, target).begin(NOW)
        finally:
            other.close()
    one = Conversion(source.database, target)
    one.move(one.carry, NOW)
    with pytest.raises(ConfigurationError, match="a catalogue in that database already"):
        Conversion(source.database, target).begin(NOW)


def test_what_was_carried_away_is_read_and_not_written(
    source: SQLCatalogue, target: Database, postgres_url: str, tmp_path: Path
) -> None:
    fill(source)
    head = source.head()
    with closing(open_database(tmp_path / "catalogue.sqlite")) as beside:  # as another process does
        one = Conversion(beside, target)
        one.begin(NOW)
        one.move(one.carry, NOW)
    with pytest.raises(ArchiveMoved):
        source.record([version(identity(5))])
    assert (source.head(), len(source.list_instances(FIRST))) == (head, 20)
    with pytest.raises(ConfigurationError, match="--take-back"):
        open_catalogue(tmp_path / "catalogue.sqlite")
    opened = open_catalogue(postgres_url)
    opened.record([version(identity(5))])
    opened.close()


def test_a_move_that_was_interrupted_is_made_again(
    source: SQLCatalogue, target: Database, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> NoReturn:
        raise KeyboardInterrupt

    fill(source)
    with closing(open_database(tmp_path / "catalogue.sqlite")) as beside:
        one = Conversion(beside, target)
        one.begin(NOW)
        with pytest.raises(KeyboardInterrupt):
            one.move(interrupt, NOW)
        source.record([version(identity(5))])  # nothing is moved: it goes on
        assert carried(one) == 2
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(target, "write", interrupt)  # between the two numbers
            one.move(Pass, NOW)
        with pytest.raises(ArchiveMoved):
            source.record([version(identity(6))])
        with pytest.raises(ConfigurationError, match="to its end"):
            open_catalogue(postgres_url)
        again = Conversion(beside, target)
        again.begin(NOW)
        again.move(again.carry, NOW)
    with closing(open_catalogue(postgres_url)) as opened:
        assert len(opened.list_instances(study_ref(5))) == 1
