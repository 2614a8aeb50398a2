"""What a catalogue promises, on every database."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from nearframe.context import Urgency
from nearframe.errors import Gone, MalformedRequest, NotFound
from nearframe.ids import sha256
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.ports import (
    ContentKind,
    FeedCursor,
    GivenUrgency,
    NewCorrection,
    Outcome,
    Recorded,
    StudyRef,
    Totals,
    Undecided,
)
from tests.unit.storage.catalogue.objects import (
    EXPLICIT_LE,
    PIXEL,
    RECEIVED,
    bulk,
    frame_table,
    identity,
    study_ref,
    version,
)

SOP = identity().sop_instance_uid


def names(catalogue: SQLCatalogue, study: StudyRef, at_seq: int | None = None) -> list[str]:
    """Return the patient's name in each instance of a study."""
    rows = catalogue.metadata(study, at_seq=at_seq)
    return [json.loads(text)["00100010"]["Value"][0]["Alphabetic"] for _, text in rows]


class TestRecord:
    def test_a_first_version_is_created_and_current(self, catalogue: SQLCatalogue) -> None:
        new = version(bulk=(bulk(ContentKind.BULK, 0x00091010, "private"),))
        assert catalogue.record([new]) == [Recorded(Outcome.CREATED, 1, 1)]
        found = catalogue.find_instance("main", SOP)
        assert found.study == study_ref()
        assert found.identity == new.identity
        assert (found.version, found.is_current) == (1, True)
        assert (found.hdr, found.file, found.file_bytes) == (new.hdr, new.file, new.file_bytes)
        assert (found.frames, found.bulk, found.pieces) == (new.frames, new.bulk, new.pieces)
        assert (found.pixel, found.received_at, found.notes) == (PIXEL, RECEIVED, ("wrong_vr",))
        assert found.transfer_syntax_uid == EXPLICIT_LE

    def test_the_same_bytes_again_change_nothing(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        before = catalogue.head()
        assert catalogue.record([version()]) == [Recorded(Outcome.REPEATED, 1, 0)]
        assert catalogue.head() == before

    def test_another_header_becomes_the_current_version(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        assert catalogue.record([version(t00100010="Roe^Jane")]) == [Recorded(Outcome.REVISED, 2, 2)]
        assert catalogue.find_instance("main", SOP).version == 2
        assert catalogue.find_instance("main", SOP, version=1).is_current is False
        assert names(catalogue, study_ref()) == ["Roe^Jane"]

    def test_an_older_version_sent_again_does_not_return(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        catalogue.record([version(t00100010="Roe^Jane")])
        assert catalogue.record([version()]) == [Recorded(Outcome.REPEATED, 1, 0)]
        assert names(catalogue, study_ref()) == ["Roe^Jane"]

    def test_the_same_samples_in_another_encoding_are_the_same_pixels(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(frames=frame_table("a", "b"))])
        recoded = frame_table("A", "B", pix=("a", "b"))
        assert catalogue.record([version(frames=recoded)])[0].outcome is Outcome.REVISED

    def test_other_pixels_are_stored_and_flagged(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        before = catalogue.head()
        other = version(frames=frame_table("other"), t00100010="Roe^Jane")
        assert catalogue.record([other]) == [Recorded(Outcome.CONFLICTING, 2, 0)]
        assert catalogue.find_instance("main", SOP).version == 1
        assert catalogue.find_instance("main", SOP, version=2).frames == other.frames
        assert names(catalogue, study_ref()) == ["Doe^Jane"]
        assert catalogue.head() == before
        assert [entry.version for entry in catalogue.conflicts("main")] == [2]

    def test_unknown_samples_in_another_encoding_are_not_taken_for_equal(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(frames=frame_table("a", pix=(None,)))])
        assert catalogue.record([version(frames=frame_table("A"))])[0].outcome is Outcome.CONFLICTING

    def test_one_uid_several_times_in_a_batch(self, catalogue: SQLCatalogue) -> None:
        batch = [version(), version(t00100010="Roe^Jane"), version(), version(frames=frame_table("other"))]
        outcomes = [(one.outcome.name, one.version) for one in catalogue.record(batch)]
        assert outcomes == [("CREATED", 1), ("REVISED", 2), ("REPEATED", 1), ("CONFLICTING", 3)]
        assert names(catalogue, study_ref()) == ["Roe^Jane"]
        assert [record.version for record in catalogue.list_versions("main", SOP)] == [1, 2, 3]

    def test_tenants_do_not_know_each_other(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(), version(tenant="other", t00100010="Roe^Jane")])
        assert names(catalogue, study_ref(tenant="other")) == ["Roe^Jane"]
        assert catalogue.find_instance("other", SOP).version == 1
        with pytest.raises(NotFound):
            catalogue.find_instance("third", SOP)

    def test_a_correction_may_move_an_instance_to_another_study(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(identity(1, 1, 1)), version(identity(1, 1, 2))])
        uids = replace(identity(1, 1, 2), study_instance_uid="1.2.9", series_instance_uid="1.2.9.1")
        after = catalogue.head()
        assert catalogue.record([version(uids)])[0].outcome is Outcome.REVISED
        assert [entry.study_instance_uid for entry in catalogue.feed(after, 10)] == ["1.2.9", "1.2.1"]
        assert [record.identity for record in catalogue.list_instances(study_ref(1))] == [identity(1, 1, 1)]
        assert [record.identity for record in catalogue.list_instances(study_ref(9))] == [uids]
        with pytest.raises(NotFound):
            catalogue.find_instance("main", uids.sop_instance_uid, study_instance_uid="1.2.1")
        old = catalogue.find_instance("main", uids.sop_instance_uid, study_instance_uid="1.2.1", version=1)
        assert old.study == study_ref(1)

    def test_the_last_instance_to_leave_takes_its_study_along(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        after = catalogue.head()
        catalogue.record([version(replace(identity(), study_instance_uid="1.2.9"))])
        assert [(e.study_instance_uid, e.deleted) for e in catalogue.feed(after, 10)] == [
            ("1.2.9", False),
            ("1.2.1", True),
        ]
        with pytest.raises(NotFound):
            catalogue.state(study_ref(1))

    def test_a_conflict_filed_elsewhere_leaves_the_study_alone(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(), version(identity(2))])
        before = catalogue.state(study_ref(2))
        stray = replace(identity(), study_instance_uid="1.2.2", series_instance_uid="1.2.2.7")
        assert catalogue.record([version(stray, frames=frame_table("x"))])[0].outcome is Outcome.CONFLICTING
        assert catalogue.state(study_ref(2)) == before
        with pytest.raises(NotFound):
            catalogue.state(study_ref(2), "1.2.2.7")
        assert catalogue.conflicts("main")[0].study == study_ref(2)

    def test_many_threads_record_at_once(self, catalogue: SQLCatalogue) -> None:
        start = threading.Barrier(4)

        def store(series: int) -> None:
            start.wait()
            for number in range(1, 6):
                catalogue.record([version(identity(1, series, number)), version(identity(series + 1, 1, number))])

        threads = [threading.Thread(target=store, args=(series,)) for series in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(catalogue.list_instances(study_ref(1))) == 20
        seqs = [entry.seq for entry in catalogue.feed(None, 100)]
        assert seqs == sorted(seqs)
        assert len(set(seqs)) == 5

    def test_several_processes_record_at_once(self, open_again: Callable[[], SQLCatalogue]) -> None:
        # Of their own, as far as the database can tell: each has its connections and its own turn.
        processes = [open_again() for _ in range(3)]

        def store(process: int) -> None:
            for number in range(1, 8):
                processes[process].record([version(identity(1, process + 1, number))])

        threads = [threading.Thread(target=store, args=(process,)) for process in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(processes[0].list_instances(study_ref())) == 21
        assert processes[0].head().seq == 21
        assert len(processes[1].outbox("consumer", 100)) == 21
        assert processes[2].totals() == Totals(studies=1, instances=21)


class TestDeciding:
    def test_records_what_digests_decide(self, catalogue: SQLCatalogue) -> None:
        batch = [version(), version(), version(t00100010="Roe^Jane"), version(frames=frame_table("x"))]
        outcomes = [one.outcome for one in catalogue.record_decided(batch) if isinstance(one, Recorded)]
        assert outcomes == [Outcome.CREATED, Outcome.REPEATED, Outcome.REVISED, Outcome.CONFLICTING]

    def test_asks_for_samples_where_they_would_decide(self, catalogue: SQLCatalogue) -> None:
        recoded = version(frames=frame_table("A", pix=("a",)))
        first, asked = catalogue.record_decided([version(frames=frame_table("a", pix=(None,))), recoded])
        assert isinstance(first, Recorded)
        assert isinstance(asked, Undecided)
        assert asked.current.version == 1
        assert len(catalogue.list_versions("main", SOP)) == 1
        catalogue.set_pix("main", SOP, 1, frame_table("a"))
        [answered] = catalogue.record_decided([recoded])
        assert isinstance(answered, Recorded)
        assert answered.outcome is Outcome.REVISED

    def test_pix_of_an_unknown_version_is_refused(self, catalogue: SQLCatalogue) -> None:
        with pytest.raises(NotFound):
            catalogue.set_pix("main", SOP, 1, frame_table("a"))


class TestReading:
    def test_instances_come_by_series_number_and_uid(self, catalogue: SQLCatalogue) -> None:
        order = [identity(1, series, number) for series in (1, 2) for number in (1, 2, 10)]
        unnumbered = identity(1, 1, 11)
        batch = [version(uids) for uids in reversed(order)]
        catalogue.record([version(unnumbered, t00200013={"00200013": {"vr": "IS"}}), *batch])
        expected = [*order[:3], unnumbered, *order[3:]]
        assert [record.identity for record in catalogue.list_instances(study_ref())] == expected
        assert [uids for uids, _ in catalogue.metadata(study_ref())] == expected
        in_series = catalogue.list_instances(study_ref(), "1.2.1.2")
        assert [record.identity for record in in_series] == order[3:]

    def test_metadata_is_what_was_given(self, catalogue: SQLCatalogue) -> None:
        new = version(t00100010={"00100010": {"vr": "PN", "Value": [{"Ideographic": "山田^太郎"}]}})
        catalogue.record([new])
        [(uids, text)] = catalogue.metadata(study_ref(), "1.2.1.1", SOP)
        assert (uids, json.loads(text)) == (new.identity, new.metadata)

    def test_metadata_of_a_numbered_version(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(), version(t00100010="Roe^Jane")])
        [(_, text)] = catalogue.metadata(study_ref(), None, SOP, version=1)
        assert b"Doe^Jane" in text
        assert catalogue.metadata(study_ref(), None, SOP, version=3) == []

    def test_an_earlier_state_is_read_as_it_was(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(identity(1, 1, 1)), version(identity(1, 1, 2))])
        first = catalogue.state(study_ref())
        catalogue.record([version(identity(1, 1, 1), t00100010="Roe^Jane"), version(identity(1, 1, 3))])
        second = catalogue.state(study_ref())
        catalogue.delete(study_ref(), None, identity(1, 1, 2).sop_instance_uid)
        assert names(catalogue, study_ref(), first) == ["Doe^Jane", "Doe^Jane"]
        assert names(catalogue, study_ref(), second) == ["Roe^Jane", "Doe^Jane", "Doe^Jane"]
        assert names(catalogue, study_ref()) == ["Roe^Jane", "Doe^Jane"]
        at_first = catalogue.list_instances(study_ref(), at_seq=first)
        assert [(record.version, record.is_current) for record in at_first] == [(1, False), (1, False)]

    def test_a_series_keeps_its_state_while_another_changes(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(identity(1, 1)), version(identity(1, 2))])
        catalogue.record([version(identity(1, 2, 2))])
        assert catalogue.state(study_ref(), "1.2.1.1") == 1
        assert catalogue.state(study_ref(), "1.2.1.2") == catalogue.state(study_ref()) == 2

    def test_what_is_not_there(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        for study, series in ((study_ref(2), None), (study_ref(1), "1.2.1.9"), (study_ref(tenant="x"), None)):
            with pytest.raises(NotFound):
                catalogue.state(study, series)
            assert catalogue.list_instances(study, series) == []
            assert catalogue.metadata(study, series) == []
        for wrong in ({"version": 2}, {"study_instance_uid": "9"}, {"series_instance_uid": "9"}):
            with pytest.raises(NotFound):
                catalogue.find_instance("main", SOP, **wrong)

    def test_a_uid_is_data_and_nothing_else(self, catalogue: SQLCatalogue) -> None:
        hostile = replace(identity(), study_instance_uid="1.2'; DROP TABLE study; --", series_instance_uid="../%00")
        catalogue.record([version(hostile)])
        study = StudyRef("main", hostile.study_instance_uid)
        assert catalogue.list_instances(study, "../%00")[0].identity == hostile


class TestTotals:
    def test_count_what_is_in_view(self, catalogue: SQLCatalogue) -> None:
        assert catalogue.totals() == Totals(0, 0)
        catalogue.record([version(), version(identity(1, 1, 2)), version(identity(2)), version(tenant="other")])
        catalogue.record([version(), version(t00100010="Roe^Jane"), version(frames=frame_table("x"))])
        assert catalogue.totals() == Totals(studies=3, instances=4)
        catalogue.delete(study_ref(1), None, SOP)
        catalogue.delete(study_ref(2), None, None)
        assert catalogue.totals() == Totals(studies=2, instances=2)


class TestFeed:
    def test_a_study_appears_once_at_its_last_change(self, catalogue: SQLCatalogue) -> None:
        for number in (1, 2, 3):
            catalogue.record([version(identity(number))])
        catalogue.record([version(identity(1, 1, 2))])
        entries = catalogue.feed(None, 10)
        assert [(entry.study_instance_uid, entry.seq) for entry in entries] == [
            ("1.2.2", 2),
            ("1.2.3", 3),
            ("1.2.1", 4),
        ]

    def test_a_cursor_resumes(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(identity(number)) for number in range(1, 6)])
        epoch = catalogue.head().epoch
        seen: list[str] = []
        cursor = None
        while page := catalogue.feed(cursor, 2):
            seen += [entry.study_instance_uid for entry in page]
            cursor = FeedCursor(epoch, page[-1].seq)
        assert seen == [f"1.2.{number}" for number in range(1, 6)]
        assert cursor == catalogue.head()

    def test_a_cursor_of_another_epoch_is_gone(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        cursor = catalogue.head()
        with pytest.raises(Gone):
            catalogue.feed(FeedCursor(cursor.epoch, cursor.seq + 1), 10)
        catalogue.start_epoch()
        with pytest.raises(Gone):
            catalogue.feed(cursor, 10)
        assert len(catalogue.feed(None, 10)) == 1

    def test_the_epoch_survives_reopening(
        self, catalogue: SQLCatalogue, open_again: Callable[[], SQLCatalogue]
    ) -> None:
        catalogue.record([version()])
        assert open_again().head() == catalogue.head()

    def test_roots_are_found_at_their_latest_sequence(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        root = bytes(32)
        assert catalogue.seq_of_root(study_ref(), root) is None
        for seq in (1, 5, 3):
            catalogue.save_root(study_ref(), seq, root)
        assert catalogue.seq_of_root(study_ref(), root) == 5
        assert catalogue.root_at(study_ref(), 5) == root
        assert catalogue.root_at(study_ref(), 1) is None
        assert catalogue.root_at(study_ref(7), 5) is None
        assert catalogue.seq_of_root(study_ref(tenant="other"), root) is None
        catalogue.save_root(study_ref(7), 1, root)
        assert catalogue.seq_of_root(study_ref(7), root) is None


class TestOutbox:
    def test_every_instance_leaves_an_event(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(), version(), version(frames=frame_table("x"))])
        events = catalogue.outbox("forward", 10)
        assert [(event.kind, event.version, event.detail["outcome"]) for event in events] == [
            ("durable", 1, "created"),
            ("received", 1, "repeated"),
            ("durable", 2, "conflicting"),
        ]
        assert {event.identity for event in events} == {identity()}

    def test_each_consumer_has_its_own_place(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(identity(1, 1, number)) for number in range(1, 4)])
        first, second, third = catalogue.outbox("forward", 10)
        assert catalogue.outbox("analysis", 1) == [first]
        catalogue.acknowledge("forward", second.id)
        assert catalogue.outbox("forward", 10) == [third]
        assert catalogue.outbox("analysis", 10) == [first, second, third]

    def test_what_everybody_has_passed_goes(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(identity(1, 1, number)) for number in range(1, 4)])
        events = catalogue.outbox("forward", 10)
        catalogue.outbox("analysis", 10)
        catalogue.acknowledge("forward", events[2].id)
        catalogue.acknowledge("analysis", events[0].id)
        assert catalogue.outbox("newcomer", 10) == events[1:]

    def test_a_cursor_does_not_go_back(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(identity(1, 1, number)) for number in range(1, 4)])
        events = catalogue.outbox("forward", 10)
        catalogue.acknowledge("forward", events[1].id)
        catalogue.acknowledge("forward", events[0].id)
        assert catalogue.outbox("forward", 10) == events[2:]

    def test_lag_is_what_is_left(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(identity(1, 1, number)) for number in range(1, 4)])
        events = catalogue.outbox("forward", 10)
        assert catalogue.lag("forward") == 3
        catalogue.acknowledge("forward", events[1].id)
        assert catalogue.lag("forward") == 1
        assert catalogue.lag("newcomer") == 1

    def test_other_facts_are_announced(self, catalogue: SQLCatalogue) -> None:
        detail = {"series": "1.2.1.1", "reason": "association_released"}
        event_id = catalogue.announce("series_end", "main", None, detail)
        [event] = catalogue.outbox("analysis", 10)
        assert (event.id, event.kind, event.identity, event.detail) == (event_id, "series_end", None, detail)


class TestConflicts:
    @pytest.fixture
    def conflict(self, catalogue: SQLCatalogue) -> int:
        catalogue.record([version(), version(frames=frame_table("x"), t00100010="Roe^Jane")])
        [record] = catalogue.conflicts("main")
        assert (record.version, record.current_version, record.source) == (2, 1, "STOW")
        assert (record.identity, record.study, record.resolved_at) == (identity(), study_ref(), None)
        return record.id

    def test_keeping_the_current_one_changes_nothing_else(self, catalogue: SQLCatalogue, conflict: int) -> None:
        before = catalogue.head()
        record = catalogue.resolve_conflict(conflict, "current", "local_admin")
        assert record.resolution == "current"
        assert record.resolved_at is not None
        assert catalogue.head() == before
        assert catalogue.conflicts("main") == []
        assert catalogue.conflicts("main", open_only=False) == [record]

    def test_keeping_the_incoming_one_makes_it_current(self, catalogue: SQLCatalogue, conflict: int) -> None:
        after = catalogue.head()
        catalogue.resolve_conflict(conflict, "incoming", "local_admin")
        assert catalogue.find_instance("main", SOP).version == 2
        assert names(catalogue, study_ref()) == ["Roe^Jane"]
        assert names(catalogue, study_ref(), after.seq) == ["Doe^Jane"]
        assert len(catalogue.feed(after, 10)) == 1

    def test_what_cannot_be_resolved(self, catalogue: SQLCatalogue, conflict: int) -> None:
        with pytest.raises(NotFound):
            catalogue.resolve_conflict(conflict + 1000, "current", "local_admin")
        with pytest.raises(MalformedRequest):
            catalogue.resolve_conflict(conflict, "both", "local_admin")
        catalogue.resolve_conflict(conflict, "current", "local_admin")
        with pytest.raises(MalformedRequest):
            catalogue.resolve_conflict(conflict, "incoming", "local_admin")

    def test_deleting_the_instance_closes_it(self, catalogue: SQLCatalogue, conflict: int) -> None:
        catalogue.delete(study_ref(), None, None)
        assert catalogue.conflicts("main") == []
        assert catalogue.conflicts("main", open_only=False)[0].resolution == "removed"


class TestDelete:
    def test_a_study_leaves_a_tombstone_in_the_feed(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version(), version(t00100010="Roe^Jane"), version(identity(2))])
        removed = catalogue.delete(study_ref(), None, None)
        assert [(record.version, record.is_current) for record in removed] == [(1, False), (2, True)]
        assert [(e.study_instance_uid, e.deleted) for e in catalogue.feed(None, 10)] == [
            ("1.2.2", False),
            ("1.2.1", True),
        ]
        assert catalogue.list_instances(study_ref()) == []
        assert catalogue.list_versions("main", SOP) == []
        for number in (None, 1, 2):
            with pytest.raises(NotFound):
                catalogue.find_instance("main", SOP, version=number)

    def test_a_series_or_instance_leaves_the_rest(self, catalogue: SQLCatalogue) -> None:
        batch = [version(identity(1, series, number)) for series in (1, 2) for number in (1, 2)]
        catalogue.record(batch)
        catalogue.delete(study_ref(), "1.2.1.1", None)
        catalogue.delete(study_ref(), "1.2.1.2", "1.2.1.2.1")
        assert [record.identity for record in catalogue.list_instances(study_ref())] == [identity(1, 2, 2)]
        with pytest.raises(NotFound):
            catalogue.state(study_ref(), "1.2.1.1")

    def test_what_is_not_there_cannot_be_deleted(self, catalogue: SQLCatalogue) -> None:
        with pytest.raises(NotFound):
            catalogue.delete(study_ref(), None, None)

    def test_an_instance_may_be_stored_again(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        catalogue.delete(study_ref(), None, None)
        assert catalogue.record([version()])[0] == Recorded(Outcome.CREATED, 2, 3)
        assert [record.version for record in catalogue.list_versions("main", SOP)] == [2]
        assert catalogue.feed(None, 10)[0].deleted is False

    def test_it_is_recorded_and_can_be_undone(self, catalogue: SQLCatalogue) -> None:
        catalogue.record([version()])
        catalogue.delete(study_ref(), None, SOP, "somebody")
        corrections = Corrections(catalogue)
        (made,) = corrections.latest("main")
        assert (made.action, made.principal, made.instances) == ("remove", "somebody", 1)
        assert made.detail == {"study": "1.2.1", "instance": SOP}
        corrections.undo(made.id, NewCorrection("main", "undo", "somebody", "it was right", RECEIVED, {}))
        assert catalogue.find_instance("main", SOP).file == version().file


class TestReplicate:
    def test_takes_over_numbers_and_what_is_current(self, catalogue: SQLCatalogue) -> None:
        old, new = version(), version(t00100010="Roe^Jane")
        other = version(frames=frame_table("x"))
        catalogue.replicate([(old, 1, False), (new, 4, True), (other, 5, False)], [])
        assert catalogue.find_instance("main", SOP).version == 4
        assert [record.version for record in catalogue.list_versions("main", SOP)] == [1, 4, 5]
        assert catalogue.conflicts("main") == []
        assert catalogue.record([version(t00100010="Poe^Jane")])[0].version == 6

    def test_again_is_a_no_op(self, catalogue: SQLCatalogue) -> None:
        seq = catalogue.replicate([(version(), 3, True)], [])
        assert catalogue.replicate([(version(), 3, True)], []) == seq

    def test_follows_a_change_of_the_current_version(self, catalogue: SQLCatalogue) -> None:
        catalogue.replicate([(version(), 1, True)], [])
        catalogue.replicate([(version(t00100010="Roe^Jane"), 2, True)], [])
        assert names(catalogue, study_ref()) == ["Roe^Jane"]

    def test_follows_a_move_to_another_study(self, catalogue: SQLCatalogue) -> None:
        catalogue.replicate([(version(), 1, True)], [])
        moved = version(replace(identity(), study_instance_uid="1.2.9"))
        # The destination's manifest may come before the news that the source lost it.
        catalogue.replicate([(moved, 2, True)], [])
        catalogue.replicate([], [(study_ref(1), SOP)])
        assert len(catalogue.list_instances(study_ref(9))) == 1
        assert catalogue.list_instances(study_ref(1)) == []

    def test_drops_what_the_upstream_no_longer_has(self, catalogue: SQLCatalogue) -> None:
        catalogue.replicate([(version(), 1, True), (version(identity(1, 1, 2)), 1, True)], [])
        catalogue.replicate([], [(study_ref(), SOP), (study_ref(), "1.9.9")])
        assert [record.identity for record in catalogue.list_instances(study_ref())] == [identity(1, 1, 2)]
        catalogue.replicate([(version(), 1, True)], [])
        assert len(catalogue.list_instances(study_ref())) == 2

    def test_a_number_given_to_other_bytes_is_overwritten(self, catalogue: SQLCatalogue) -> None:
        catalogue.replicate([(version(), 1, True)], [])
        # The upstream was restored from a backup and has given the number away again.
        again = version(replace(identity(), series_instance_uid="1.2.1.5"), t00100010="Roe^Jane")
        catalogue.replicate([(again, 1, True)], [])
        assert names(catalogue, study_ref()) == ["Roe^Jane"]
        [record] = catalogue.list_instances(study_ref(), "1.2.1.5")
        assert (record.version, record.file) == (1, again.file)


def test_a_given_class_is_told_by_the_feed_and_changes_nothing_else(catalogue: SQLCatalogue) -> None:
    catalogue.record([version()])
    study = study_ref()
    seq = catalogue.state(study)
    catalogue.save_root(study, seq, sha256(b"root"))
    given = GivenUrgency(Urgency.STAT, "fall", datetime(2026, 11, 22, 18, 0, tzinfo=UTC))
    assert catalogue.give_urgency(study, given)
    assert not catalogue.give_urgency(study, given)
    assert catalogue.given_urgency(study) == given
    assert catalogue.state(study) == seq + 1 == catalogue.head().seq
    assert catalogue.root_at(study, seq + 1) == sha256(b"root")
    assert [entry.given for entry in catalogue.feed(None, 10)] == [given]
    assert catalogue.give_urgency(study, None)
    assert [entry.given for entry in catalogue.feed(None, 10)] == [None]
    with pytest.raises(NotFound):
        catalogue.give_urgency(StudyRef("main", "9.9"), given)
    catalogue.record([version(header="another")])  # the next change goes on from there
    assert catalogue.state(study) == catalogue.head().seq
