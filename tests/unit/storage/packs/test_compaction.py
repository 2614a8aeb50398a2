"""Compaction: what goes, what stays, and nobody notices."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from nearframe.errors import Busy, NotFound
from nearframe.ids import Digest
from nearframe.storage.packs import PackStore
from nearframe.storage.packs.faulty import FaultyDisk
from nearframe.storage.ports import StudyRef
from tests.packs import Opener, lose_index, put

A, B = StudyRef("main", "1.2.1"), StudyRef("main", "1.2.2")
CONTENTS = [random.Random(number).randbytes(1500) for number in range(20)]
TIMEOUT_S = 20


@pytest.fixture
def digests(store: PackStore) -> list[Digest]:
    """Twenty contents over several packs."""
    return [put(store, A, data) for data in CONTENTS]


def packs(disk: FaultyDisk) -> list[str]:
    return [name for name in disk.directory("packs").names() if name.endswith(".seg")]


def test_full_packs_are_left_alone(store: PackStore, disk: FaultyDisk, digests: list[Digest]) -> None:
    before = packs(disk)
    assert store.compact(0.5).removed == 0
    assert packs(disk) == before


def test_dead_packs_go_without_a_copy(store: PackStore, disk: FaultyDisk, digests: list[Digest]) -> None:
    store.shred(A)
    done = store.compact(0.5)
    assert (done.removed, done.written, done.skipped) == (len(digests) // 4 - 1, 0, 0)
    assert len(packs(disk)) == 1  # the log
    assert store.stats().contents == 0


def test_survivors_move_together(store: PackStore, disk: FaultyDisk, digests: list[Digest], open_store: Opener) -> None:
    store.release(A, digests[::2] + digests[1::4])
    kept = digests[3::4]
    before = store.stats()
    done = store.compact(0.5)
    after = store.stats()
    assert done.skipped == 0
    assert 0 < done.written < done.removed
    assert done.freed_bytes > before.dead_bytes // 2
    assert after.contents == before.contents == len(kept)
    store.close()
    again = open_store()
    assert again.recovered.records == 0
    assert [again.read(A, digest) for digest in kept] == CONTENTS[3::4]


def test_a_reader_in_the_middle_reads_on(store: PackStore, digests: list[Digest]) -> None:
    reading = store.stream(A, digests[3])
    start = next(reading)
    store.release(A, digests[:3])
    assert store.compact(0.99).removed
    assert start + b"".join(reading) == CONTENTS[3]


def test_a_wrap_released_while_it_is_copied_stays_released(store: PackStore, digests: list[Digest]) -> None:
    store.adopt(B, digests[:4])
    store.sync(store.mark())
    store.release(A, digests[1:3])

    def release_meanwhile(_copied: int) -> None:
        store.release(A, [digests[0]])
        store.release(B, digests[:2])

    assert store.compact(1.0, release_meanwhile).skipped == 0
    assert store.missing(A, digests[:4]) == digests[:3]
    assert store.missing(B, digests[:4]) == digests[:2]
    with pytest.raises(NotFound):
        store.read(A, digests[0])
    assert store.read(B, digests[2]) == CONTENTS[2]


def test_what_was_released_stays_so_without_an_index(
    tmp_path: Path, store: PackStore, digests: list[Digest], open_store: Opener
) -> None:
    store.adopt(B, digests[:4])
    store.release(A, digests[:8])
    for _ in range(3):
        store.compact(1.0, lambda _copied: store.release(B, digests[:1]))
    store.close()
    lose_index(tmp_path)
    again = open_store()
    assert again.missing(A, digests) == digests[:8]
    assert again.missing(B, digests[:4]) == digests[:1]
    assert [again.read(B, digest) for digest in digests[1:4]] == CONTENTS[1:4]


def test_drops_go_with_the_packs_they_speak_of(store: PackStore, disk: FaultyDisk, digests: list[Digest]) -> None:
    store.release(A, digests)
    put(store, A, CONTENTS[0])
    for _ in range(3):
        store.compact(1.0)
    # What is left is the content, its record, and file headers: no drop has a wrap to speak of.
    assert store.stats().live_bytes < len(CONTENTS[0]) + 500
    assert store.stats().dead_bytes < 1000


def test_a_large_content_is_removed_with_its_pack(store: PackStore, disk: FaultyDisk) -> None:
    large = put(store, A, bytes(20_000))
    assert len(packs(disk)) == 1
    store.release(A, [large])
    store.compact(0.5)
    assert store.stats().stored_bytes < 1000


def test_upkeep_runs_once_at_a_time(store: PackStore, digests: list[Digest]) -> None:
    store.release(A, digests[::2])
    inside, leave = threading.Event(), threading.Event()

    def wait(_copied: int) -> None:
        inside.set()
        assert leave.wait(TIMEOUT_S)

    compaction = threading.Thread(target=store.compact, args=(1.0, wait))
    compaction.start()
    assert inside.wait(TIMEOUT_S)
    with pytest.raises(Busy):
        store.scrub()
    # Readers and writers are served meanwhile.
    assert store.read(A, digests[1]) == CONTENTS[1]
    late = put(store, B, b"late")
    leave.set()
    compaction.join(TIMEOUT_S)
    assert store.read(B, late) == b"late"
    assert store.read(A, digests[1]) == CONTENTS[1]
