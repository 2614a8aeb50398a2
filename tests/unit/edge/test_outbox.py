"""The outbox: nothing acknowledged is missing in it, whatever was cut; nothing is in it twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.edge.outbox import CONSUMER, SCHEMA, Outbox, State
from nearframe.errors import BackendFailed, NoSpace
from nearframe.ids import Digest
from nearframe.metrics import EDGE_FILES_SET_ASIDE, Metrics
from nearframe.storage.ports import UPSTREAM, StudyRef
from tests.syncing import STUDY_UID, Shelves, ct_series, rename, shelves

STUDY = StudyRef("main", STUDY_UID)
ORIGIN = "http://origin"


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


@pytest.fixture
def outbox(edge: Shelves, tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics())
    yield opened
    opened.close()


def files_of(edge: Shelves) -> list[Digest]:
    return [record.file for record in edge.catalogue.list_instances(STUDY)]


def test_what_was_recorded_is_spooled_once(edge: Shelves, outbox: Outbox) -> None:
    edge.put(ct_series(3))
    assert outbox.absorb() == {STUDY}
    assert outbox.absorb() == set()
    edge.put(ct_series(3))  # sent again: held already
    outbox.absorb()
    assert sorted(item.file for item in outbox.batch(STUDY, 10, ORIGIN)) == sorted(files_of(edge))
    assert outbox.counts()[State.SPOOLED] == 3
    assert outbox.is_waiting(STUDY)
    assert edge.catalogue.lag(CONSUMER) == 0


def test_what_was_taken_over_from_the_upstream_is_not(edge: Shelves, outbox: Outbox) -> None:
    edge.put(ct_series(1))
    outbox.absorb()
    [file] = files_of(edge)
    [record] = edge.catalogue.list_instances(STUDY)
    outbox.verified(outbox.batch(STUDY, 1, ORIGIN)[0], 1, "", ORIGIN)
    settled = outbox.settled(STUDY, ORIGIN)
    assert settled == {(record.identity.sop_instance_uid, file): 1}
    edge.catalogue.replicate([], [], {"main": settled})
    outbox.handed_over(STUDY, settled)
    assert outbox.absorb() == set()
    assert outbox.counts() == {State.SPOOLED: 0, State.SENT: 0, State.VERIFIED: 1, State.REFUSED: 0}
    assert outbox.waiting(ORIGIN) == []
    assert not outbox.is_waiting(STUDY)
    assert not edge.catalogue.holds_local(STUDY), UPSTREAM


def test_what_an_upstream_had_before_it_was_restored_is_offered_again(edge: Shelves, outbox: Outbox) -> None:
    edge.put(ct_series(2))
    outbox.absorb()
    here, there = outbox.batch(STUDY, 2, ORIGIN)
    outbox.verified(here, 1, "", "http://elsewhere")
    outbox.verified(there, 1, "", ORIGIN)
    outbox.doubt(ORIGIN)
    assert outbox.settled(STUDY, ORIGIN) == {}
    assert there in outbox.batch(STUDY, 2, ORIGIN)
    assert outbox.counts()[State.VERIFIED] == 1


def test_without_room_to_say_what_waits_all_that_is_local_does(
    edge: Shelves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge.put(ct_series(2))
    with monkeypatch.context() as full:
        full.setattr(Outbox, "_fill", no_room)
        outbox = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics())
        assert outbox.is_waiting(STUDY), "so that it is not let go"
        with pytest.raises(NoSpace):
            outbox.absorb()
        assert outbox.counts()[State.SPOOLED] == 0
    outbox.absorb()
    assert outbox.counts()[State.SPOOLED] == 2
    assert edge.catalogue.lag(CONSUMER) == 0
    outbox.close()


def no_room(_: Outbox) -> None:
    raise NoSpace(needed_bytes=1, free_bytes=0)


def test_a_crash_between_rows_and_events(edge: Shelves, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    edge.put(ct_series(2))
    with monkeypatch.context() as crash:

        def cut(*_: object) -> None:
            raise BackendFailed("the power was cut")

        crash.setattr(edge.catalogue, "acknowledge", cut)
        with pytest.raises(BackendFailed):
            outbox.absorb()
    assert outbox.absorb() == {STUDY}
    assert len(outbox.batch(STUDY, 10, ORIGIN)) == 2


def test_a_crash_before_the_first_look(edge: Shelves, tmp_path: Path) -> None:
    Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics()).close()
    edge.put(ct_series(2))
    again = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics())
    assert again.absorb() == {STUDY}
    again.close()


@pytest.mark.parametrize("damage", ["lost", "spoiled"])
def test_a_file_that_is_gone_is_made_anew(edge: Shelves, tmp_path: Path, damage: str) -> None:
    first = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics())
    edge.put(ct_series(3))
    first.absorb()
    item, *_ = first.batch(STUDY, 10, ORIGIN)
    first.verified(item, 1, "", ORIGIN)
    edge.catalogue.replicate([], [], {"main": first.settled(STUDY, ORIGIN)})
    first.handed_over(STUDY, first.settled(STUDY, ORIGIN))
    first.close()
    path = tmp_path / "outbox.sqlite"
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(b"no database" * 1000)
    again = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics())
    assert sorted(one.file for one in again.batch(STUDY, 10, ORIGIN)) == sorted(set(files_of(edge)) - {item.file})
    assert again.is_waiting(STUDY)
    again.close()


def test_a_file_of_the_schema_before_is_made_anew(edge: Shelves, tmp_path: Path) -> None:
    first = Outbox(tmp_path, edge.catalogue, ManualClock(), Metrics())
    edge.put(ct_series(3))
    first.absorb()
    first.close()
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as before:
        before.execute("ALTER TABLE item DROP COLUMN verified_by")
        before.execute(f"PRAGMA user_version = {SCHEMA - 1}")
    metrics = Metrics()
    again = Outbox(tmp_path, edge.catalogue, ManualClock(), metrics)
    assert sorted(item.file for item in again.batch(STUDY, 10, ORIGIN)) == sorted(files_of(edge))
    assert again.counts()[State.SPOOLED] == 3, "who verified it is not known: everything local is offered once more"
    assert metrics.value(EDGE_FILES_SET_ASIDE, file="outbox") == 1
    again.close()


def test_one_version_of_an_instance_at_a_time_oldest_first(edge: Shelves, outbox: Outbox) -> None:
    edge.put(ct_series(2))
    outbox.absorb()
    first = files_of(edge)
    edge.put(ct_series(2, change=rename("Doe^Janet")))
    outbox.absorb()
    batch = outbox.batch(STUDY, 10, ORIGIN)
    assert sorted(item.file for item in batch) == sorted(first)
    for item in batch:
        outbox.verified(item, 1, "", ORIGIN)
    assert sorted(item.file for item in outbox.batch(STUDY, 10, ORIGIN)) == sorted(files_of(edge))
    [waiting] = outbox.waiting(ORIGIN)
    assert (waiting.study, waiting.unsent) == (STUDY, 2)


def test_refused_until_tried_again_or_sent_again(edge: Shelves, outbox: Outbox) -> None:
    edge.put(ct_series(2))
    outbox.absorb()
    first, second = outbox.batch(STUDY, 10, ORIGIN)
    outbox.refused(first, "too large")
    outbox.refused(second, "too large")
    assert outbox.batch(STUDY, 10, ORIGIN) == []
    assert outbox.waiting(ORIGIN) == []
    assert outbox.is_waiting(STUDY), "it is here alone: nothing of it may be let go"
    [line] = outbox.lines("main", 10)
    assert (line.state, line.instances, line.reason) == (State.REFUSED, 2, "too large")
    assert outbox.lines("other", 10) == []
    assert outbox.retry(StudyRef("main", "1.2.3")) == 0
    assert outbox.retry(STUDY) == 2
    outbox.refused(first, "damaged")
    edge.put(ct_series(2))
    outbox.absorb()
    assert len(outbox.batch(STUDY, 10, ORIGIN)) == 2


def test_how_long_the_oldest_waits(edge: Shelves, tmp_path: Path) -> None:
    clock = ManualClock()
    outbox = Outbox(tmp_path, edge.catalogue, clock, Metrics())
    assert outbox.oldest_s() is None
    edge.put(ct_series(1))
    outbox.absorb()
    clock.advance(90)
    assert outbox.oldest_s() == pytest.approx(90, abs=1)
    [item] = outbox.batch(STUDY, 1, ORIGIN)
    outbox.sent([item])
    assert outbox.counts()[State.SENT] == 1
    outbox.verified(item, 1, "a warning", ORIGIN)
    assert outbox.oldest_s() is None
    outbox.close()
