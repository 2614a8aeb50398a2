"""The schema's versions, on every database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from nearframe.context import Urgency
from nearframe.errors import ConfigurationError
from nearframe.storage.catalogue import SQLCatalogue, migrations, schema
from nearframe.storage.catalogue.catalogue import open_database
from nearframe.storage.ports import GivenUrgency
from tests.unit.storage.catalogue.conftest import Where
from tests.unit.storage.catalogue.objects import study_ref, version

NOW = datetime(2026, 11, 22, tzinfo=UTC)
Open = Callable[[], SQLCatalogue]


def found_version(catalogue: SQLCatalogue) -> int:
    with catalogue.database.read() as connection:
        return int(connection.execute(sa.select(schema.schema_version.c.version)).scalar_one())


def set_version(catalogue: SQLCatalogue, number: int) -> None:
    with catalogue.database.write() as connection:
        connection.execute(sa.update(schema.schema_version).values(version=number))


def test_a_new_database_is_at_the_latest_version(catalogue: SQLCatalogue, open_again: Open) -> None:
    assert found_version(catalogue) == migrations.LATEST
    catalogue.record([version()])
    assert len(open_again().list_instances(study_ref())) == 1


def test_a_newer_schema_is_refused(catalogue: SQLCatalogue, open_again: Open) -> None:
    set_version(catalogue, migrations.LATEST + 1)
    with pytest.raises(ConfigurationError, match="newer release"):
        open_again()


def test_an_older_schema_is_brought_forward_step_by_step(
    catalogue: SQLCatalogue, open_again: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    latest = migrations.LATEST + 2
    steps = {number: lambda _, number=number: taken.append(number) for number in range(1, latest + 1)}
    monkeypatch.setattr(migrations, "LATEST", latest)
    monkeypatch.setattr(migrations, "STEPS", steps)
    set_version(catalogue, latest - 2)
    assert found_version(open_again()) == latest
    assert taken == [latest - 1, latest]


def test_a_database_of_the_release_before_gets_the_tables_it_lacks(catalogue: SQLCatalogue, open_again: Open) -> None:
    with catalogue.database.write() as connection:
        for lacked in range(3, migrations.LATEST + 1):
            schema.metadata.drop_all(connection, migrations.ADDED[lacked])
    set_version(catalogue, 2)
    brought = open_again()
    with brought.database.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.scheduled_step)).scalar_one() == 0


def test_what_a_release_added_is_taken_back_and_added_again(catalogue: SQLCatalogue, open_again: Open) -> None:
    catalogue.record([version()])
    catalogue.give_urgency(study_ref(), GivenUrgency(Urgency.STAT))
    assert migrations.take_back(catalogue.database, 2, NOW, discard=False) == {}
    assert found_version(catalogue) == 2
    with pytest.raises(ConfigurationError, match="1 of given_urgency; --discard"):
        migrations.take_back(catalogue.database, 1, NOW, discard=False)
    assert found_version(catalogue) == 2
    assert migrations.take_back(catalogue.database, 1, NOW, discard=True) == {"given_urgency": 1}
    for wrong in (0, 2, migrations.LATEST + 1):
        with pytest.raises(ConfigurationError, match="has schema 1"):
            migrations.take_back(catalogue.database, wrong, NOW, discard=True)
    again = open_again()
    assert found_version(again) == migrations.LATEST
    assert again.given_urgency(study_ref()) is None
    assert len(again.list_instances(study_ref())) == 1


def test_an_archive_that_was_carried_elsewhere_goes_on_where_it_was(
    catalogue: SQLCatalogue, open_again: Open, where: Where
) -> None:
    catalogue.record([version()])
    epoch = catalogue.head().epoch
    with pytest.raises(ConfigurationError, match="nothing to take back"):
        migrations.go_on_here(catalogue.database, NOW)
    set_version(catalogue, migrations.MOVED)
    with pytest.raises(ConfigurationError, match="set database_url"):
        open_again()
    with closing(open_database(where)) as database:
        migrations.go_on_here(database, NOW)
    again = open_again()
    assert again.head().epoch != epoch
    assert len(again.list_instances(study_ref())) == 1


def test_a_step_that_fails_leaves_everything_as_it_was(
    catalogue: SQLCatalogue, open_again: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: sa.Connection) -> None:
        connection.execute(sa.delete(schema.head))
        raise ZeroDivisionError

    before = migrations.LATEST
    monkeypatch.setattr(migrations, "LATEST", before + 1)
    monkeypatch.setattr(migrations, "STEPS", {before + 1: fail})
    with pytest.raises(ZeroDivisionError):
        open_again()
    assert found_version(catalogue) == before
    assert catalogue.head().seq == 0
