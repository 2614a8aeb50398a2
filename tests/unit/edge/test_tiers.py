"""The file of tiers: what was written is read; what is damaged is begun anew; what is newer is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from nearframe.context import Urgency
from nearframe.edge.tiers import Consult, Departed, StudyTier, TierFile
from nearframe.errors import ConfigurationError
from nearframe.metrics import Metrics
from nearframe.storage.ports import StudyRef

A, B = StudyRef("main", "1.2.3"), StudyRef("other", "1.2.4")


def tier(study: StudyRef = A) -> StudyTier:
    return StudyTier(
        study, 1000.5, routed=Urgency.ARCHIVE, route="always", given=Urgency.STAT, reason="fall", until=2000.0,
        is_pinned=True, held_bytes=2**40, frame_bytes=7, departed=Departed.EXPIRED, patient=b"\0\1",
        modalities="CT\\SR", body_parts="HEAD", acquired_at="2026-11-22T08:15:00",
    )  # fmt: skip


def columns(one: StudyTier) -> tuple[object, ...]:
    return tuple(
        getattr(one, name)
        for name in StudyTier.__slots__
        if name not in ("consults", "urgency", "wanted_at", "reroute_at")
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    consult = Consult("c1", (A, B), Urgency.STAT, "call", 1.0, 2.0)
    file = TierFile(tmp_path / "tiers.sqlite", Metrics())
    assert file.is_new
    file.save([tier(), tier(B)])
    file.save_consult(consult)
    changed = tier(B)
    changed.given = None
    file.save([changed])
    file.close()
    again = TierFile(tmp_path / "tiers.sqlite", Metrics())
    tiers, consults = again.kept.studies, again.kept.consults
    assert not again.is_new
    assert again.patient_key == file.patient_key
    assert sorted(map(columns, tiers), key=repr) == sorted(map(columns, [tier(), changed]), key=repr)
    assert consults == [consult]
    again.forget(A)
    again.close_consult("c1")
    again.close()
    last = TierFile(tmp_path / "tiers.sqlite", Metrics())
    assert [one.study for one in last.kept.studies] == [B]
    assert last.kept.consults == []
    last.close()


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "tiers.sqlite"
    path.write_bytes(b"no database at all" * 100)
    file = TierFile(path, Metrics())
    assert file.is_new
    assert (file.kept.studies, file.kept.consults) == ([], [])
    file.close()
    assert (tmp_path / "tiers.damaged-1.sqlite").exists()


def test_a_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiers.sqlite"
    TierFile(path, Metrics()).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="schema 99"):
        TierFile(path, Metrics())


def test_the_class_that_holds() -> None:
    one = StudyTier(A, 0.0, routed=Urgency.ROUTINE)
    assert one.decide(0.0) is Urgency.ROUTINE
    one.given, one.until = Urgency.BULK, 10.0
    assert one.decide(9.0) is Urgency.BULK
    one.consults = {"c": Urgency.ACTIVE}
    assert one.decide(9.0) is Urgency.ACTIVE
    one.consults = {}
    assert one.decide(10.0) is Urgency.ROUTINE
    assert one.given is None
