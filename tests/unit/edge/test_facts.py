"""What rules look at in a study, as its headers say it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest

from nearframe.edge.facts import StudyFacts, facts_of
from nearframe.query.manifests import build_manifest
from nearframe.storage.ports import StudyRef
from tests.syncing import STUDY_UID, Shelves, ct_series, shelves

STUDY = StudyRef("main", STUDY_UID)
KEY = b"k" * 32


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


def facts(origin: Shelves, key: bytes = KEY) -> StudyFacts:
    return facts_of(build_manifest(origin.catalogue, STUDY, origin.catalogue.state(STUDY)), key)


def local(text: str) -> datetime:
    """Return a scanner's time, which has no zone."""
    return datetime.fromisoformat(text)


def test_facts_of_a_series(origin: Shelves) -> None:
    def change(ds) -> None:  # type: ignore[no-untyped-def]
        ds.ReferringPhysicianName, ds.InstitutionName = "Who^Doctor", "General"
        ds.BodyPartExamined, ds.RequestedProcedurePriority = "CHEST", "STAT"
        ds.PerformedProcedureStepStartDate = "20261123"

    origin.put(ct_series(3, change=change))
    found = facts(origin)
    assert found.modalities == {"CT"}
    assert found.descriptions == {"CT thorax", "Thorax 1.0 B50f"}
    assert found.referring_physicians == {"Who^Doctor"}
    assert found.institutions == {"General"}
    assert found.body_parts == {"CHEST"}
    assert found.order_priorities == {"STAT"}
    assert found.acquired_at == local("2026-11-22 08:15")
    assert found.step_dates == {date(2026, 11, 23)}
    assert found.frame_bytes == 3 * 16 * 16 * 2


def test_a_patient_is_told_apart_and_not_named(origin: Shelves) -> None:
    origin.put(ct_series(1))
    mine, other = facts(origin), facts(origin, b"o" * 32)
    assert len(mine.patient) == 16
    assert mine.patient != other.patient
    assert mine.patient == facts(origin).patient


def test_odd_dates_are_no_dates(origin: Shelves) -> None:
    def change(ds) -> None:  # type: ignore[no-untyped-def]
        ds.StudyDate, ds.StudyTime = "", "08"
        ds.PatientID = ""

    origin.put(ct_series(1, change=change))
    assert (facts(origin).acquired_at, facts(origin).patient) == (None, b"")


@pytest.mark.parametrize(
    ("acquired_at", "step_dates", "is_of_today"),
    [
        ("2026-11-22 08:00", set(), True),
        ("2026-11-21 10:00", set(), True),
        ("2026-11-21 08:00", set(), False),
        ("2026-11-24 08:00", set(), False),
        ("2020-01-01", {date(2026, 11, 22)}, True),
        (None, set(), False),
    ],
)
def test_today(acquired_at: str | None, step_dates: set[date], is_of_today: bool) -> None:
    found = StudyFacts(
        acquired_at=None if acquired_at is None else local(acquired_at), step_dates=frozenset(step_dates)
    )
    assert found.is_of_today(local("2026-11-22 09:00")) is is_of_today
