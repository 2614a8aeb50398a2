"""Studies counted as they change."""

from __future__ import annotations

from nearframe.context import Urgency
from nearframe.edge.census import Census
from nearframe.edge.tiers import StudyTier
from nearframe.storage.ports import StudyRef


def tier(number: int, urgency: Urgency, held_bytes: int, *, is_pinned: bool = False) -> StudyTier:
    study = StudyRef("main", f"1.2.{number}")
    return StudyTier(study, 0.0, urgency=urgency, held_bytes=held_bytes, is_pinned=is_pinned)


def test_counts_follow_what_changed() -> None:
    census = Census()
    studies = [tier(0, Urgency.STAT, 100, is_pinned=True), tier(1, Urgency.STAT, 0), tier(2, Urgency.ROUTINE, 7)]
    for study in studies:
        census.changed(study)
    assert census.classes()["stat"] == {"studies": 2, "held": 1, "held_bytes": 100}
    assert census.classes()["routine"] == {"studies": 1, "held": 1, "held_bytes": 7}
    assert census.pinned == 1
    studies[0].urgency, studies[0].held_bytes, studies[0].is_pinned = Urgency.ACTIVE, 150, False
    for _ in range(2):
        census.changed(studies[0])
    studies[2].held_bytes = 0
    census.changed(studies[2])
    assert census.classes()["stat"] == {"studies": 1, "held": 0, "held_bytes": 0}
    assert census.classes()["active"] == {"studies": 1, "held": 1, "held_bytes": 150}
    assert census.classes()["routine"] == {"studies": 1, "held": 0, "held_bytes": 0}
    assert census.pinned == 0


def test_who_left_is_counted_no_more() -> None:
    census = Census()
    known, unknown = tier(0, Urgency.BULK, 5), tier(1, Urgency.BULK, 5)
    census.changed(known)
    census.classes()
    for study in (known, unknown):
        census.changed(study)
        census.left(study)
    assert all(counts == {"studies": 0, "held": 0, "held_bytes": 0} for counts in census.classes().values())
