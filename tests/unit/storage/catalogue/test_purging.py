"""Purging: what is forgotten, what stays, and what is let go of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from nearframe.errors import Busy, Conflict, NotFound
from nearframe.ids import Digest, sha256
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.catalogue.purging import Due, LettingGo, Purging
from nearframe.storage.ports import (
    CorrectionRecord,
    Held,
    NewCorrection,
    NewHold,
    NewVersion,
    Outcome,
    Release,
    Rendition,
    Revision,
    StudyRef,
)
from tests.unit.storage.catalogue.objects import RECEIVED, frame_table, identity, study_ref, version
from tests.unit.storage.catalogue.test_derived import hashes_of

LATER = RECEIVED + timedelta(days=100)
SOP = identity().sop_instance_uid


@pytest.fixture
def purging(catalogue: SQLCatalogue) -> Purging:
    return Purging(catalogue)


@pytest.fixture
def corrections(catalogue: SQLCatalogue) -> Corrections:
    return Corrections(catalogue)


def new(action: str) -> NewCorrection:
    return NewCorrection("main", action, "somebody", "it was wrong", RECEIVED, {"studies": ["1.2.1"]})


def delete(corrections: Corrections, uid: str = SOP, version_number: int = 1) -> CorrectionRecord:
    made = corrections.make(new("delete"), [Revision(uid, version_number, None)])
    assert made is not None
    return made


def purge(purging: Purging) -> list[CorrectionRecord]:
    return [made for due in purging.due(LATER) if (made := purging.purge(due, LATER, new("purge"))) is not None]


def contents_of(one: NewVersion) -> set[Digest]:
    return {one.hdr, *(enc for enc, _ in one.frames)}


def let_go(purging: Purging, *waiting: LettingGo) -> list[tuple[set[Digest], bool]]:
    """Let go of what waits; return what a store is told to drop, and whether the study is empty."""
    told = []

    def drop(connection: sa.Connection, study: StudyRef, digests: Sequence[Digest], *, is_empty: bool) -> list[Digest]:
        told.append((set(digests), is_empty))
        return list(digests)

    for one in waiting or purging.letting_go():
        purging.let_go(one, drop)
    return told


def test_what_was_deleted_is_forgotten(catalogue: SQLCatalogue, purging: Purging, corrections: Corrections) -> None:
    first, second = version(frames=frame_table("a")), version(header="2", frames=frame_table("a"))
    kept = version(identity(1, 1, 2), frames=frame_table("b"))
    catalogue.record([first, second, kept])
    catalogue.add_hashes(hashes_of(identity(), first.frames))
    seq = catalogue.state(study_ref())
    catalogue.save_root(study_ref(), seq, bytes(32))
    deleted = delete(corrections, SOP, 2)
    (made,) = purge(purging)
    assert (made.action, made.instances, made.detail) == ("purge", 1, {"studies": ["1.2.1"]})
    assert corrections.find("main", made.id) == made
    assert catalogue.list_versions("main", SOP) == []
    assert len(catalogue.list_instances(study_ref(), at_seq=seq)) == 1
    assert catalogue.seq_of_root(study_ref(), bytes(32)) is None
    (waiting,) = purging.letting_go()
    assert set(waiting.digests) == contents_of(first) | contents_of(second)
    assert let_go(purging) == [(set(waiting.digests), False)]
    with pytest.raises(Conflict, match="for good"):
        corrections.undo(deleted.id, new("undo"))
    with pytest.raises(Conflict, match="for good"):
        corrections.undo(made.id, new("undo"))
    assert purge(purging) == []


def test_what_the_study_still_refers_to_is_not_let_go(
    catalogue: SQLCatalogue, purging: Purging, corrections: Corrections
) -> None:
    gone = version(frames=frame_table("shared", "own"))
    catalogue.record([gone, version(identity(1, 1, 2), frames=frame_table("shared"))])
    delete(corrections)
    purge(purging)
    # It is sent again before the store lets it go.
    catalogue.record([version(identity(1, 1, 3), frames=frame_table("own"))])
    assert let_go(purging) == [({gone.hdr}, False)]


def test_a_store_is_asked_once(catalogue: SQLCatalogue, purging: Purging, corrections: Corrections) -> None:
    catalogue.record([version()])
    delete(corrections)
    purge(purging)
    (waiting,) = purging.letting_go()
    assert len(let_go(purging)) == 1
    assert let_go(purging, waiting) == []  # another process was first


def test_what_a_store_did_not_let_go_of_is_asked_again(
    catalogue: SQLCatalogue, purging: Purging, corrections: Corrections
) -> None:
    catalogue.record([version()])
    delete(corrections)
    purge(purging)
    (waiting,) = purging.letting_go()

    def fail(connection: sa.Connection, study: StudyRef, digests: Sequence[Digest], *, is_empty: bool) -> list[Digest]:
        raise Busy("the store")

    with pytest.raises(Busy):
        purging.let_go(waiting, fail)
    assert purging.letting_go() == [waiting]


def test_nothing_is_purged_before_its_time(catalogue: SQLCatalogue, purging: Purging, corrections: Corrections) -> None:
    catalogue.record([version(), version(identity(1, 1, 2))])
    delete(corrections)
    assert purging.due(RECEIVED) == []
    (due,) = purging.due(LATER)
    assert due == Due("main", frozenset({study_ref()}), due.instances)
    assert purging.due(LATER, study_ref(2)) == []
    assert purging.due(LATER, study_ref(1)) == [due]


def test_what_came_again_has_its_own_time(catalogue: SQLCatalogue, purging: Purging, corrections: Corrections) -> None:
    catalogue.record([version()])
    delete(corrections)
    again = replace(version(header="again"), received_at=LATER)
    assert catalogue.record([again])[0].outcome is Outcome.WITHDRAWN
    assert purging.due(LATER) == []
    (due,) = purging.due(LATER + timedelta(days=1))
    assert purging.purge(due, LATER, new("purge")) is None  # what is due is looked at again
    assert len(catalogue.list_versions("main", SOP)) == 2


def test_what_was_brought_back_stays(catalogue: SQLCatalogue, purging: Purging, corrections: Corrections) -> None:
    catalogue.record([version()])
    made = delete(corrections)
    (due,) = purging.due(LATER)
    corrections.undo(made.id, new("undo"))
    assert purging.purge(due, LATER, new("purge")) is None
    assert catalogue.find_instance("main", SOP).file == version().file
    assert purging.letting_go() == []


def test_a_purged_instance_stays_away_and_an_expired_one_may_come(
    catalogue: SQLCatalogue, purging: Purging, corrections: Corrections
) -> None:
    removed = identity(2)
    catalogue.record([version(), version(removed)])
    delete(corrections)
    catalogue.delete(study_ref(2), None, None)
    assert len(purge(purging)) == 2
    assert (contents_of(version()), True) in let_go(purging)
    assert catalogue.record([version()])[0].outcome is Outcome.WITHDRAWN
    assert catalogue.record([version(removed)])[0].outcome is Outcome.CREATED
    with pytest.raises(NotFound):
        catalogue.find_instance("main", SOP)


def test_an_instance_that_was_moved_goes_from_both_studies(
    catalogue: SQLCatalogue, purging: Purging, corrections: Corrections
) -> None:
    catalogue.record([version()])
    moved = version(replace(identity(), study_instance_uid="1.2.2"))
    assert corrections.make(new("move"), [Revision(SOP, 1, moved)]) is not None
    delete(corrections, SOP, 2)
    (due,) = purging.due(LATER)
    assert due.studies == {study_ref(1), study_ref(2)}
    assert purging.purge(due, LATER, new("purge")) is not None
    assert {one.study for one in purging.letting_go()} == {study_ref(1), study_ref(2)}


def test_nothing_on_hold_is_purged(catalogue: SQLCatalogue, purging: Purging, corrections: Corrections) -> None:
    catalogue.record([version()])
    delete(corrections)
    (due,) = purging.due(LATER)
    holds = Holds(catalogue)
    hold = holds.place(NewHold("main", Held(patient_id="P1"), "counsel", "case 12", RECEIVED))
    assert purging.due(LATER) == []
    assert purging.purge(due, LATER, new("purge")) is None
    assert len(catalogue.list_versions("main", SOP)) == 1
    holds.release("main", hold.id, Release("counsel", "settled", RECEIVED))
    assert purging.due(LATER) == [due]


def test_renditions_go_with_their_frames(catalogue: SQLCatalogue, purging: Purging, corrections: Corrections) -> None:
    one = version(frames=frame_table("a"))
    catalogue.record([one])
    made = Rendition(sha256(b"a"), "1.2.840.10008.1.2.4.202", sha256(b"made of a"), 9, ())
    catalogue.add_renditions("main", [made])
    delete(corrections)
    purge(purging)
    (waiting,) = purging.letting_go()
    assert made.digest in waiting.digests
    assert let_go(purging) == [(set(waiting.digests), True)]
    assert catalogue.rendition("main", made.source, made.transfer_syntax_uid) is None
    (released,) = purging.letting_go()
    assert released.is_released
    purging.erased([released.id])
    assert purging.letting_go() == []


def test_it_is_remembered_across_a_restart(
    catalogue: SQLCatalogue, purging: Purging, corrections: Corrections, open_again: Callable[[], SQLCatalogue]
) -> None:
    catalogue.record([version()])
    delete(corrections)
    purge(purging)
    assert Purging(open_again()).letting_go() == purging.letting_go() != []
