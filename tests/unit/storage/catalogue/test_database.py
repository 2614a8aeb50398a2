"""Connections: what their failures become, and what a transaction sees, on every database."""

from __future__ import annotations

import sqlite3
import threading
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from nearframe.errors import BackendFailed, Busy, ConfigurationError, NoSpace, StatementRefused, TooBroad
from nearframe.storage.catalogue import SQLCatalogue, database, open_catalogue, postgres, schema, sqlite
from nearframe.storage.catalogue.prepared import Prepared
from tests.unit.storage.catalogue.objects import identity, study_ref, version


def test_a_failure_names_no_values(catalogue: SQLCatalogue) -> None:
    catalogue.record([version()])
    row = {"id": 1, "tenant": "main", "series_id": 1, "current_id": 1, "last_number": 1, "answer": b""}
    duplicate = row | {"id": 9999, "sop_instance_uid": identity().sop_instance_uid}
    with pytest.raises(StatementRefused) as caught, catalogue.database.write() as connection:
        connection.execute(sa.insert(schema.instance), [duplicate])
    assert identity().sop_instance_uid not in str(caught.value)


def test_a_prepared_statement_fails_as_any_other(catalogue: SQLCatalogue) -> None:
    catalogue.record([version()])
    with pytest.raises(StatementRefused), catalogue.database.write() as connection:
        insert = Prepared(sa.insert(schema.head), ["id", "epoch"])
        insert.run(connection, [{"id": None, "epoch": None}])


def test_a_failed_transaction_leaves_nothing(catalogue: SQLCatalogue) -> None:
    with pytest.raises(ZeroDivisionError), catalogue.database.write() as connection:
        connection.execute(sa.update(schema.head).values(seq=7))
        raise ZeroDivisionError
    assert catalogue.head().seq == 0


def test_a_reader_sees_one_state(catalogue: SQLCatalogue) -> None:
    catalogue.record([version()])
    with catalogue.database.read() as connection:
        before = connection.execute(sa.select(schema.head.c.seq)).scalar_one()
        catalogue.record([version(identity(2))])
        assert connection.execute(sa.select(schema.head.c.seq)).scalar_one() == before
    assert catalogue.head().seq == before + 1


def test_readers_do_not_write(catalogue: SQLCatalogue) -> None:
    with pytest.raises(BackendFailed), catalogue.database.read() as connection:
        connection.execute(sa.update(schema.head).values(seq=7))


def test_writers_take_turns(catalogue: SQLCatalogue) -> None:
    entered, release, second = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with catalogue.database.write():
            entered.set()
            release.wait(10)
            assert not second.is_set()

    def follow() -> None:
        catalogue.record([version()])
        second.set()

    threads = [threading.Thread(target=hold), threading.Thread(target=follow)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    assert catalogue.head().seq == 0  # a reader does not wait
    release.set()
    for thread in threads:
        thread.join()
    assert catalogue.state(study_ref()) == 1


#: Counts to a number that takes hours to reach.
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12) SELECT count(*) FROM n"


def test_a_read_that_takes_too_long_is_stopped(catalogue: SQLCatalogue) -> None:
    with pytest.raises(TooBroad), catalogue.database.read_within(0.02) as connection:
        connection.exec_driver_sql(ENDLESS)
    with catalogue.database.read_within(10) as connection:
        assert connection.execute(sa.select(schema.head.c.seq)).scalar() == 0


def test_no_connection_left(catalogue: SQLCatalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue.database._readers.pool, "_timeout", 0.01)
    held = [catalogue.database._readers.connect() for _ in range(database.READERS)]
    with pytest.raises(Busy):
        catalogue.head()
    for connection in held:
        connection.close()
    assert catalogue.head().seq == 0


class TestSQLite:
    def test_a_commit_waits_for_the_disk(self, tmp_path: Path) -> None:
        opened = sqlite.open_sqlite(tmp_path / "catalogue.sqlite")
        with opened.write() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        opened.close()

    def test_folders_are_made(self, tmp_path: Path) -> None:
        open_catalogue(tmp_path / "new" / "home" / "catalogue.sqlite").close()

    def test_a_full_disk(self, tmp_path: Path) -> None:
        catalogue = open_catalogue(tmp_path / "catalogue.sqlite")
        catalogue.record([version()])
        with catalogue.database.write() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(NoSpace):
            catalogue.record([version(identity(2, 1, number)) for number in range(1, 200)])
        assert len(catalogue.list_instances(study_ref())) == 1
        assert catalogue.list_instances(study_ref(2)) == []
        catalogue.close()

    def test_another_process_at_work(self, tmp_path: Path) -> None:
        translate = partial(sqlite._translate, tmp_path / "catalogue.sqlite")
        error = sqlite3.OperationalError("locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        assert isinstance(translate(error), Busy)
        assert translate(ValueError()) is None

    def test_a_file_that_is_no_database(self, tmp_path: Path) -> None:
        path = tmp_path / "catalogue.sqlite"
        path.write_bytes(b"not a database at all" * 100)
        with pytest.raises(BackendFailed):
            open_catalogue(path)


class TestPostgreSQL:
    def test_an_address_that_cannot_be_read(self) -> None:
        with pytest.raises(ConfigurationError, match="postgresql://"):
            open_catalogue("postgresql://host:port:5432/x")

    def test_a_server_that_does_not_answer(self, tmp_path: Path) -> None:
        with pytest.raises(BackendFailed):
            open_catalogue(f"postgresql://postgres@/x?host={tmp_path}")

    @pytest.mark.parametrize(("state", "kind"), [("53100", NoSpace), ("40001", Busy), ("57014", TooBroad)])
    def test_failures_of_the_server(self, state: str, kind: type[Exception]) -> None:
        error = Exception()
        error.sqlstate = state  # type: ignore[attr-defined]
        assert isinstance(postgres._translate(error), kind)

    def test_other_failures(self) -> None:
        assert postgres._translate(Exception()) is None
