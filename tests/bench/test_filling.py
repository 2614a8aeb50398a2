"""Catalogues that are filled in bulk are those that recording makes."""

from __future__ import annotations

import itertools
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from bench.filling import fill, is_filled, trim
from bench.synthetic import ROOT, Shape, versions
from nearframe.context import local_admin
from nearframe.dicom.levels import Level
from nearframe.query.search import SearchService
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue, schema
from nearframe.storage.ports import StudyRef
from tests.postgres import create_schema

SHAPE = Shape(36, series_per_study=2, instances_per_series=3)
STUDY = f"{ROOT}.4"
_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    if request.param == "sqlite":
        return tmp_path / "filled.sqlite"
    return create_schema(request.getfixturevalue("postgres_server"), f"filled{next(_numbers)}")


def _answers(catalogue: SQLCatalogue) -> list[object]:
    search = SearchService(catalogue)
    asked = [
        (Level.STUDY, [("PatientName", "*a*")], None, None),
        (Level.STUDY, [("ModalitiesInStudy", "MR"), ("includefield", "all")], None, None),
        (Level.SERIES, [("includefield", "all")], STUDY, None),
        (Level.INSTANCE, [("SOPInstanceUID", f"{STUDY}.2.1")], STUDY, f"{STUDY}.2"),
    ]
    found = [search.search(local_admin(), level, params, *uids) for level, params, *uids in asked]
    instances = [
        (one.identity, one.version, one.hdr, one.file, one.frames, one.pixel)
        for one in catalogue.list_instances(StudyRef("main", STUDY))
    ]
    return [*(sorted(answer.rows) for answer in found), instances, catalogue.totals()]


def test_answers_are_those_of_a_recorded_catalogue(place: Path | str, tmp_path: Path) -> None:
    fill(place, SHAPE)
    with closing(open_catalogue(tmp_path / "recorded.sqlite")) as recorded, closing(open_catalogue(place)) as filled:
        recorded.record(list(versions(SHAPE)))
        assert _answers(filled) == _answers(recorded)
        assert len(filled.metadata(StudyRef("main", STUDY))) == SHAPE.instances_per_study
    assert is_filled(place, SHAPE)


def test_what_was_stored_since_is_taken_out_again(place: Path | str) -> None:
    fill(place, SHAPE)
    with closing(open_catalogue(place)) as catalogue:
        before = _rows(catalogue)
        more = Shape(SHAPE.instances * 2, SHAPE.series_per_study, SHAPE.instances_per_series)
        catalogue.record(list(versions(more))[SHAPE.instances :])
        assert _rows(catalogue) != before
    trim(place, SHAPE)
    with closing(open_catalogue(place)) as catalogue:
        assert _rows(catalogue) == before


def _rows(catalogue: SQLCatalogue) -> dict[str, int]:
    with catalogue.database.read() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in schema.metadata.sorted_tables
        }
