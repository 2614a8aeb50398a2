"""Studies held from one transaction to the next are never believed against the database."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from nearframe.errors import BackendFailed
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue, schema
from nearframe.storage.catalogue.states import SeriesState, StudyState
from nearframe.storage.catalogue.warm import MAX_SERIES, Warm
from tests.unit.storage.catalogue.objects import identity, study_ref, version


def counts(catalogue: SQLCatalogue) -> tuple[int, int]:
    """Return how many instances the study lists, and how many its row counts."""
    with catalogue.database.read() as connection:
        (counted,) = connection.execute(sa.select(schema.study.c.instance_count)).one()
    return len(catalogue.list_instances(study_ref())), counted


def test_a_study_grows_over_many_transactions(tmp_path: Path) -> None:
    with_warm = open_catalogue(tmp_path / "a.sqlite")
    for number in range(1, 6):
        with_warm.record([version(identity(1, 1 + number % 2, number))])
    assert counts(with_warm) == (5, 5)
    with_warm.close()


def test_two_processes_that_write_in_turn_see_each_other(tmp_path: Path) -> None:
    one, other = open_catalogue(tmp_path / "a.sqlite"), open_catalogue(tmp_path / "a.sqlite")
    for number in range(1, 9):
        writer = one if number % 2 else other
        writer.record([version(identity(1, 1, number))])
    other.delete(study_ref(), None, identity(1, 1, 8).sop_instance_uid)
    one.record([version(identity(1, 1, 9))])
    assert counts(one) == counts(other) == (8, 8)
    one.close()
    other.close()


def test_what_was_not_committed_is_forgotten(tmp_path: Path) -> None:
    catalogue = open_catalogue(tmp_path / "a.sqlite")
    catalogue.record([version(identity(1, 1, 1))])

    def fail() -> None:
        raise BackendFailed("the disk did not keep it")

    with pytest.raises(BackendFailed):
        catalogue.record([version(identity(1, 1, 2), t00100010="Other^Name")], fail)
    assert counts(catalogue) == (1, 1)
    catalogue.record([version(identity(1, 1, 3))])
    assert counts(catalogue) == (2, 2)
    assert [row.version for row in catalogue.list_versions("main", identity(1, 1, 3).sop_instance_uid)] == [1]
    catalogue.close()


def studies(*sizes: int) -> dict[tuple[str, str], StudyState]:
    made: dict[tuple[str, str], StudyState] = {}
    for number, size in enumerate(sizes):
        study = made["main", str(number)] = StudyState(number, "main", str(number), 1, None, {}, is_new=True)
        for index in range(size):
            study.series[str(index)] = SeriesState(index, study, str(index), 1, None, {}, Counter("1"), is_new=True)
    return made


def test_it_holds_the_last_studies_within_bounds() -> None:
    warm = Warm()
    warm.put((1, 1), studies(10, MAX_SERIES - 1, 1))
    held = warm.take((1, 1))
    assert [uid for _, uid in held] == ["1", "2"]
    assert not any(study.is_new for study in held.values())
    assert warm.take((1, 1)) == {}, "whoever takes them owns them"


def test_another_stamp_is_another_state() -> None:
    warm = Warm()
    warm.put((1, 1), studies(1))
    assert warm.take((1, 2)) == {}
