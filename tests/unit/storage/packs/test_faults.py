"""Every operation of the disk fails once, before, halfway and after its effect; then everything is checked.

`history` is one life of a store: contents of every size, a shared one, one released, a study
shredded, a compaction, an erasing. It notes what was acknowledged. Whatever struck, after a restart
what was acknowledged is there and right, what was not is there whole or not at all, and the
store takes everything again.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from nearframe.errors import BackendFailed, NoSpace, StorageError
from nearframe.ids import Digest, sha256
from nearframe.storage.packs import PackStore
from nearframe.storage.packs.faulty import Fault, FaultyDisk, PowerCutError, When
from nearframe.storage.packs.keyring import SlotKeyRing
from nearframe.storage.ports import ContentKind, StudyRef
from tests.packs import SMALL, lose_index, put

OnDisk = Callable[[Path, FaultyDisk], PackStore]

A, B, SHREDDED = StudyRef("main", "1.2.1"), StudyRef("main", "1.2.2"), StudyRef("main", "1.2.3")
SMALL_ONES = [random.Random(number).randbytes(700) for number in range(12)]
LARGE = random.Random(99).randbytes(10_000)
SHARED = random.Random(98).randbytes(2000)
CONTENTS = {sha256(data): data for data in [*SMALL_ONES, LARGE, SHARED]}


@pytest.fixture
def open_store() -> Iterator[OnDisk]:
    opened: list[PackStore] = []

    def open_(home: Path, disk: FaultyDisk) -> PackStore:
        for store in opened:
            store.abandon()
        keys = SlotKeyRing(disk.directory("keys"), bytes(32))
        opened[:] = [PackStore(home, SMALL, files=disk.directory("packs"), keys=keys)]
        return opened[0]

    yield open_
    for store in opened:
        store.abandon()


class History:
    """One life of a store, and what it acknowledged."""

    def __init__(self, store: PackStore) -> None:
        self.store = store
        self.acknowledged: set[tuple[StudyRef, Digest]] = set()

    def live(self) -> None:
        self.take(A, *SMALL_ONES[:6])
        self.take(SHREDDED, SHARED)
        self.take(B, SHARED, LARGE)
        self.take(A, *SMALL_ONES[6:])
        self.release(A, *SMALL_ONES[1:8])
        self.acknowledged.discard((SHREDDED, sha256(SHARED)))
        self.store.shred(SHREDDED)
        self.store.flush()
        self.store.compact(0.9)
        self.release(A, SMALL_ONES[9])
        self.store.erase()
        self.take(A, SHARED)

    def take(self, study: StudyRef, *datas: bytes) -> None:
        mark = self.store.mark()
        for data in datas:
            self.store.append(study, ContentKind.FRAME, sha256(data), len(data), [data])
        self.store.sync(mark)
        self.acknowledged |= {(study, sha256(data)) for data in datas}

    def release(self, study: StudyRef, *datas: bytes) -> None:
        self.acknowledged -= {(study, sha256(data)) for data in datas}
        mark = self.store.mark()
        self.store.release(study, map(sha256, datas))
        self.store.sync(mark)


def check(store: PackStore, acknowledged: set[tuple[StudyRef, Digest]]) -> None:
    """Check a store after a restart: against what was acknowledged, then by using it."""
    for study in (A, B, SHREDDED):
        missing = set(store.missing(study, CONTENTS))
        assert not {digest for holder, digest in acknowledged if holder == study} & missing
        for digest in CONTENTS.keys() - missing:
            assert store.read(study, digest) == CONTENTS[digest]
    report = store.scrub()
    assert (report.damaged, report.quarantined) == (0, 0)
    for data in CONTENTS.values():
        put(store, A, data)
        assert store.read(A, sha256(data)) == data


@pytest.mark.parametrize("when", When)
def test_a_power_cut_at_any_operation(tmp_path: Path, open_store: OnDisk, when: When) -> None:
    for step in count():
        disk, home = FaultyDisk(seed=step), tmp_path / str(step)
        history = History(open_store(home, disk))
        disk.strike(Fault(len(disk.operations) + step, when))
        try:
            history.live()
        except PowerCutError:
            history.store.abandon()
        else:
            assert step > 80  # every operation had its turn
            return
        disk.restart()
        if step % 2:
            lose_index(home)
        check(open_store(home, disk), history.acknowledged)


#: A full disk says so before it writes, or half-way; afterwards is the drill's.
ERRORS = [
    pytest.param(error, when, marks=pytest.mark.drill if (error, when) == (errno.ENOSPC, When.AFTER) else ())
    for error in (errno.EIO, errno.ENOSPC)
    for when in When
]


@pytest.mark.parametrize(("error", "when"), ERRORS)
def test_a_disk_error_at_any_operation(tmp_path: Path, open_store: OnDisk, error: int, when: When) -> None:
    for step in count():
        disk, home = FaultyDisk(seed=step), tmp_path / str(step)
        history = History(open_store(home, disk))
        disk.strike(Fault(len(disk.operations) + step, when, error))
        # The same steps again, as a sender would: an error passes, and nothing of it stays behind.
        for _ in range(3):
            try:
                history.live()
                break
            except StorageError as failure:
                assert isinstance(failure, NoSpace | BackendFailed)
        struck = not disk.faults
        disk.faults.clear()
        history.store.close()
        disk.cut_power()
        disk.restart()
        check(open_store(home, disk), history.acknowledged)
        if not struck:
            assert step > 80
            return


def test_a_failed_sync_reaches_those_who_did_not_wait_for_it(tmp_path: Path, open_store: OnDisk) -> None:
    disk = FaultyDisk()
    store = open_store(tmp_path, disk)
    kept = put(store, A, SMALL_ONES[0])
    bystander = store.mark()
    store.append(B, ContentKind.FRAME, sha256(LARGE[:900]), 900, [LARGE[:900]])
    disk.strike(Fault(len(disk.operations), When.BEFORE, errno.EIO))
    with pytest.raises(BackendFailed):
        store.sync(store.mark())
    with pytest.raises(BackendFailed):
        store.sync(bystander)
    store.sync(store.mark())
    assert store.missing(B, [sha256(LARGE[:900])])
    assert store.read(A, kept) == SMALL_ONES[0]
    assert store.stats().sync_failures == 1
    again = put(store, B, LARGE[:900])
    disk.cut_power()
    store.abandon()
    disk.restart()
    assert open_store(tmp_path, disk).read(B, again) == LARGE[:900]


def test_a_drop_that_was_not_kept_does_not_come_back(tmp_path: Path, open_store: OnDisk) -> None:
    # The fdatasync fails although the disk has the bytes. The release was reported as failed and
    # forgotten, the content stored "again" and acknowledged: cutting power must not end it.
    disk = FaultyDisk()
    store = open_store(tmp_path, disk)
    digest = put(store, A, SHARED)
    store.release(A, [digest])
    now = len(disk.operations)
    for step, when in ((0, When.AFTER), (1, When.BEFORE)):
        disk.strike(Fault(now + step, when, errno.EIO))
    with pytest.raises(BackendFailed):
        store.sync(store.mark())
    put(store, A, SHARED)
    put(store, A, SMALL_ONES[0])
    disk.cut_power()
    store.abandon()
    disk.restart()
    assert open_store(tmp_path, disk).read(A, digest) == SHARED


def test_a_full_disk_refuses_and_keeps_everything(tmp_path: Path, open_store: OnDisk) -> None:
    disk = FaultyDisk()
    store = open_store(tmp_path, disk)
    kept = put(store, A, SHARED)
    disk.capacity_bytes = disk.used_bytes + 500
    for data in (SMALL_ONES[0], LARGE):
        with pytest.raises(NoSpace):
            put(store, A, data)
    assert store.read(A, kept) == SHARED
    assert not [name for name in disk.directory("packs").names() if name.endswith(".new")]
    store.release(A, [kept])  # what frees space still goes through
    disk.capacity_bytes = None
    for data in (SMALL_ONES[0], LARGE):
        assert store.read(A, put(store, A, data)) == data


def test_the_reserve_is_left_alone(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.capacity_bytes = 10_000
    settings = replace(SMALL, reserve_bytes=8000)
    keys = SlotKeyRing(disk.directory("keys"), bytes(32))
    with PackStore(tmp_path, settings, files=disk.directory("packs"), keys=keys) as store:
        put(store, A, SMALL_ONES[0])
        with pytest.raises(NoSpace) as refused:
            put(store, A, SHARED)
        assert refused.value.needed_bytes > len(SHARED) > refused.value.free_bytes
        assert store.read(A, sha256(SMALL_ONES[0])) == SMALL_ONES[0]


def test_a_correction_may_use_the_reserve_but_for_its_last_bytes(tmp_path: Path) -> None:
    disk = FaultyDisk()
    disk.capacity_bytes = 10_000
    settings = replace(SMALL, reserve_bytes=9900, last_bytes=8000)
    keys = SlotKeyRing(disk.directory("keys"), bytes(32))
    with PackStore(tmp_path, settings, files=disk.directory("packs"), keys=keys) as store:

        def correct(data: bytes) -> None:
            store.append(A, ContentKind.HEADER, sha256(data), len(data), [data], into_reserve=True)
            store.sync(store.mark())

        with pytest.raises(NoSpace):
            put(store, A, SMALL_ONES[0])
        correct(SMALL_ONES[0])
        assert store.read(A, sha256(SMALL_ONES[0])) == SMALL_ONES[0]
        assert store.adopt(B, [sha256(SMALL_ONES[0])], into_reserve=True) == []
        with pytest.raises(NoSpace):
            correct(SHARED)
        store.release(A, [sha256(SMALL_ONES[0])])
