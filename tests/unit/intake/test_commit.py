"""Group commit: order of the steps, sharing, and failures that stay where they belong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from nearframe.dicom.model import Attributes
from nearframe.errors import BackendFailed, Busy, MalformedDICOM, NoSpace
from nearframe.ids import Digest, Identity
from nearframe.intake.commit import MAX_GROUP, GroupCommit
from nearframe.storage.ports import (
    Catalogue,
    ContentStore,
    InstanceRecord,
    Mark,
    NewVersion,
    Outcome,
    Recorded,
    StudyRef,
    Undecided,
)
from nearframe.wire.frametable import FrameTable

TIMEOUT_S = 20
MARK = Mark(7)


def version_of(uid: str) -> NewVersion:
    return NewVersion(
        tenant="main",
        identity=Identity("1.2", uid, "1.3", "1.4"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        hdr=bytes(32),
        header_bytes=0,
        file=bytes(32),
        file_bytes=0,
        frames=FrameTable(),
        bulk=(),
        pieces=(),
        pixel=None,
        metadata={},
        attributes=Attributes({}, {}, {}),
        source="test",
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


class Store:
    """A content store and catalogue that note what was asked, and wait or fail when told to."""

    is_remote = False

    def __init__(self) -> None:
        self.transactions = 0
        self.steps: list[Any] = []
        self.marks: list[Mark] = []
        self.recorded: list[NewVersion] = []
        self.sync_error: Exception | None = None
        self.refused: set[str] = set()
        self.undecided: set[str] = set()
        self.confirmed: Mapping[StudyRef, Collection[Digest]] = {}
        self.gone = False
        self.record_error: Exception = ValueError()
        self.held = threading.Event()
        self.held.set()
        self.syncing = threading.Event()

    def sync(self, since: Mark) -> None:
        self.marks.append(since)
        self.syncing.set()
        assert self.held.wait(TIMEOUT_S)
        self.steps.append("sync")
        if self.sync_error:
            raise self.sync_error

    def confirm(self, since: Mark, contents: Mapping[StudyRef, Collection[Digest]]) -> None:
        self.steps.append("confirm")
        assert self.confirmed in ({}, contents)
        if self.gone:
            raise Busy("another process let go of it")

    def record_decided(self, batch: Sequence[NewVersion], durable: Callable[[], object]) -> list[Recorded | Undecided]:
        decided = [version for version in batch if version.identity.sop_instance_uid not in self.undecided]
        recorded = iter(self.record(decided, durable))
        held = cast(InstanceRecord, None)
        return [next(recorded) if version in decided else Undecided(held) for version in batch]

    def record(self, batch: Sequence[NewVersion], durable: Callable[[], object]) -> list[Recorded]:
        uids = [version.identity.sop_instance_uid for version in batch]
        self.transactions += 1
        durable()
        self.steps.append(uids)
        self.recorded += batch
        if self.refused.intersection(uids):
            raise self.record_error
        return [Recorded(Outcome.CREATED, 1, 7) for _ in batch]


@pytest.fixture
def store() -> Store:
    return Store()


def settled(version: NewVersion, _undecided: Undecided) -> NewVersion:
    """Stand for decoding: what comes out can be told by its source."""
    if version.identity.sop_instance_uid == "cannot":
        raise MalformedDICOM("no frame")
    return replace(version, source="settled")


def open_commit(store: Store, **options: Any) -> GroupCommit:
    return GroupCommit(
        cast(ContentStore, store),
        cast(Catalogue, store),
        **{"settle": settled, "defer": lambda work: threading.Thread(target=work).start(), **options},
    )


@pytest.fixture
def commit(store: Store) -> Iterator[GroupCommit]:
    running = open_commit(store)
    yield running
    store.held.set()
    running.close()


def submit(commit: GroupCommit, version: NewVersion, since: Mark = MARK) -> Future[Recorded]:
    future: Future[Recorded] = Future()
    future.set_running_or_notify_cancel()
    commit.submit(version, since, future)
    return future


def hold_first(store: Store, commit: GroupCommit) -> Future[Recorded]:
    """Submit one instance and return when its flush has begun and cannot end."""
    store.held.clear()
    first = submit(commit, version_of("first"))
    assert store.syncing.wait(TIMEOUT_S)
    return first


def test_contents_are_durable_before_anything_is_recorded(store: Store, commit: GroupCommit) -> None:
    assert submit(commit, version_of("1")).result(TIMEOUT_S) == Recorded(Outcome.CREATED, 1, 7)
    assert store.steps == ["sync", ["1"]]


def test_no_transaction_is_open_while_another_machine_is_waited_for(store: Store, commit: GroupCommit) -> None:
    store.is_remote = True
    first = hold_first(store, commit)
    assert store.transactions == 0
    store.held.set()
    first.result(TIMEOUT_S)
    assert store.steps == ["sync", "confirm", ["first"]]


def test_what_another_process_let_go_of_is_not_referred_to(store: Store, commit: GroupCommit) -> None:
    store.is_remote = True
    one = version_of("1")
    store.confirmed = {one.study: one.contents}
    submit(commit, one).result(TIMEOUT_S)
    store.gone = True
    with pytest.raises(Busy):
        submit(commit, version_of("2")).result(TIMEOUT_S)
    assert store.recorded == [one]


def test_what_gathers_during_a_flush_shares_the_next(store: Store, commit: GroupCommit) -> None:
    first = hold_first(store, commit)
    rest = [submit(commit, version_of(str(n))) for n in range(MAX_GROUP + 3)]
    store.held.set()
    for future in [first, *rest]:
        future.result(TIMEOUT_S)
    assert [len(step) if isinstance(step, list) else step for step in store.steps] == [
        *("sync", 1),
        *("sync", MAX_GROUP),
        *("sync", 3),
    ]


def test_a_flush_that_fails_records_nothing(store: Store, commit: GroupCommit) -> None:
    store.sync_error = NoSpace(1, 0)
    with pytest.raises(NoSpace):
        submit(commit, version_of("1")).result(TIMEOUT_S)
    assert store.steps == ["sync"]
    store.sync_error = None
    submit(commit, version_of("2")).result(TIMEOUT_S)


def test_a_group_is_synced_since_its_oldest_mark(store: Store, commit: GroupCommit) -> None:
    first = hold_first(store, commit)
    rest = [submit(commit, version_of(str(mark)), Mark(mark)) for mark in (9, 8, 10)]
    store.held.set()
    for future in [first, *rest]:
        future.result(TIMEOUT_S)
    assert store.marks == [MARK, Mark(8)]


def test_one_instance_that_cannot_be_recorded_fails_alone(store: Store, commit: GroupCommit) -> None:
    store.refused = {"bad"}
    first = hold_first(store, commit)
    good, bad, also_good = (submit(commit, version_of(uid)) for uid in ("good", "bad", "also good"))
    store.held.set()
    assert first.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S)
    assert also_good.result(TIMEOUT_S)
    with pytest.raises(BackendFailed) as failure:
        bad.result(TIMEOUT_S)
    assert isinstance(failure.value.__cause__, ValueError)


def test_a_full_disk_is_not_tried_again_for_each_of_the_group(store: Store, commit: GroupCommit) -> None:
    store.refused, store.record_error = {"1"}, NoSpace(1, 0)
    first = hold_first(store, commit)
    rest = [submit(commit, version_of(str(n))) for n in range(3)]
    store.held.set()
    first.result(TIMEOUT_S)
    for future in rest:
        with pytest.raises(NoSpace):
            future.result(TIMEOUT_S)
    assert store.steps.count("sync") == 2
    assert len(store.steps) == 4


def test_close_commits_what_was_submitted(store: Store) -> None:
    commit = open_commit(store)
    futures = [submit(commit, version_of(str(n))) for n in range(5)]
    commit.close()
    assert all(future.done() for future in futures)


def test_tells_of_each_group(store: Store) -> None:
    sizes: list[int] = []
    commit = open_commit(store, on_commit=sizes.append)
    submit(commit, version_of("1")).result(TIMEOUT_S)
    commit.close()
    assert sizes == [1]


def test_two_versions_of_an_instance_are_in_two_groups(store: Store, commit: GroupCommit) -> None:
    first = hold_first(store, commit)
    rest = [submit(commit, version_of(uid)) for uid in ("a", "b", "a", "a")]
    store.held.set()
    for future in [first, *rest]:
        future.result(TIMEOUT_S)
    assert [step for step in store.steps if step != "sync"] == [["first"], ["a", "b"], ["a"], ["a"]]


def test_what_needs_decoding_holds_up_nobody(store: Store) -> None:
    store.undecided = {"other encoding"}
    decoding: list[Any] = []
    commit = open_commit(store, defer=decoding.append)
    first = hold_first(store, commit)
    slow, quick = submit(commit, version_of("other encoding")), submit(commit, version_of("quick"))
    store.held.set()
    assert first.result(TIMEOUT_S)
    assert quick.result(TIMEOUT_S)
    assert not slow.done()
    decoding.pop()()
    assert slow.result(TIMEOUT_S)
    assert store.recorded[-1].source == "settled"
    commit.close()


def test_what_needs_decoding_when_the_workers_have_stopped_fails_alone(store: Store) -> None:
    workers = ThreadPoolExecutor(1)
    workers.shutdown()
    store.undecided = {"other encoding"}
    commit = open_commit(store, defer=workers.submit)
    first = hold_first(store, commit)
    good, late = submit(commit, version_of("good")), submit(commit, version_of("other encoding"))
    store.held.set()
    assert first.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S)
    with pytest.raises(Busy):
        late.result(TIMEOUT_S)
    commit.close()
    assert [step for step in store.steps if step != "sync"] == [["first"], ["good"]]


def test_what_cannot_be_decoded_fails_alone(store: Store, commit: GroupCommit) -> None:
    store.undecided = {"cannot"}
    failing, good = submit(commit, version_of("cannot")), submit(commit, version_of("good"))
    with pytest.raises(MalformedDICOM):
        failing.result(TIMEOUT_S)
    assert good.result(TIMEOUT_S)
