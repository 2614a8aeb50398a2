"""Erasing: no byte of what nothing holds stays in any pack, and nobody who reads notices."""

from __future__ import annotations

import random
import threading
from itertools import count
from pathlib import Path

import pytest

from nearframe.errors import NotFound
from nearframe.ids import Digest, sha256
from nearframe.storage.packs import PackStore
from nearframe.storage.packs.faulty import Fault, FaultyDisk, PowerCutError, When
from nearframe.storage.packs.keyring import SlotKeyRing
from nearframe.storage.ports import StudyRef
from tests.packs import SMALL, bodies_in, put

A, B = StudyRef("main", "1.2.1"), StudyRef("main", "1.2.2")
CONTENTS = [random.Random(number).randbytes(1500) for number in range(20)]
TIMEOUT_S = 20


@pytest.fixture
def digests(store: PackStore) -> list[Digest]:
    """Twenty contents over several packs."""
    return [put(store, A, data) for data in CONTENTS]


def bodies(disk: FaultyDisk) -> set[bytes]:
    """Return the sealed body of every record in any file."""
    packs = disk.directory("packs")
    return {body for name in packs.names() for body in bodies_in(packs.open(name))}


def everything(disk: FaultyDisk) -> bytes:
    """Return all that is on the disk, whatever it is."""
    packs = disk.directory("packs")
    files = [packs.open(name) for name in packs.names()]
    read = [bytearray(file.size()) for file in files]
    for file, data in zip(files, read, strict=True):
        file.read_into(0, memoryview(data))
    return b"".join(read)


def test_one_dead_content_in_a_full_pack_goes(store: PackStore, disk: FaultyDisk, digests: list[Digest]) -> None:
    before = bodies(disk)
    store.release(A, digests[:1])
    store.sync(store.mark())
    assert store.compact(0.5).removed == 0
    assert bodies(disk) == before  # hourly compaction leaves it where it is
    assert store.erase().removed == 1
    (gone,) = before - bodies(disk)
    assert gone not in everything(disk)
    assert [store.read(A, digest) for digest in digests[1:]] == CONTENTS[1:]
    assert store.erase().removed == 0  # nothing is rewritten in vain


def test_what_stands_in_the_log_goes_too(store: PackStore, disk: FaultyDisk) -> None:
    kept, gone = put(store, A, CONTENTS[0]), put(store, A, CONTENTS[1])
    before = bodies(disk)
    store.release(A, [gone])
    store.sync(store.mark())
    assert store.erase().removed == 1
    (dead,) = before - bodies(disk)
    assert dead not in everything(disk)
    assert store.read(A, kept) == CONTENTS[0]


def test_what_another_study_holds_stays(store: PackStore, disk: FaultyDisk, digests: list[Digest]) -> None:
    store.adopt(B, digests[:2])
    store.sync(store.mark())
    before = bodies(disk)
    assert store.let_go(None, A, digests, is_empty=True) == digests[2:]
    store.erase()
    assert len(before - bodies(disk)) == len(digests) - 2
    assert [store.read(B, digest) for digest in digests[:2]] == CONTENTS[:2]
    with pytest.raises(NotFound):
        store.read(A, digests[0])


def test_what_died_while_it_was_copied_goes_with_the_next(
    store: PackStore, disk: FaultyDisk, digests: list[Digest]
) -> None:
    before = bodies(disk)
    store.release(A, digests[:1])

    def release_meanwhile(_copied: int) -> None:
        store.release(A, digests[1:2])

    store.erase(release_meanwhile)
    store.sync(store.mark())
    store.erase()
    dead = before - bodies(disk)
    assert len(dead) == 2
    assert not any(body in everything(disk) for body in dead)
    assert [store.read(A, digest) for digest in digests[2:]] == CONTENTS[2:]


def test_readers_in_flight_get_the_right_bytes(store: PackStore, digests: list[Digest]) -> None:
    done = threading.Event()
    wrong: list[Digest] = []
    rounds = [0, 0, 0]

    def read(reader: int) -> None:
        while not done.is_set() or not rounds[reader]:
            for digest, data in zip(digests[10:], CONTENTS[10:], strict=True):
                if store.read(A, digest) != data:
                    wrong.append(digest)
            rounds[reader] += 1

    readers = [threading.Thread(target=read, args=(reader,)) for reader in range(len(rounds))]
    for reader in readers:
        reader.start()
    try:
        for digest in digests[:10]:
            store.release(A, [digest])
            store.sync(store.mark())
            assert store.erase().skipped == 0
    finally:
        done.set()
        for reader in readers:
            reader.join(TIMEOUT_S)
    assert (wrong, all(rounds)) == ([], True)


def test_wherever_it_is_cut_off_the_next_one_ends_it(tmp_path: Path) -> None:
    for step in count():
        disk, home = FaultyDisk(seed=step), tmp_path / str(step)
        store = open_on(disk, home)
        digests = [put(store, A, data) for data in CONTENTS[:8]]
        before = bodies(disk)
        store.release(A, digests[::3])
        store.sync(store.mark())
        disk.strike(Fault(len(disk.operations) + step, When.HALFWAY))
        try:
            store.erase()
        except PowerCutError:
            was_cut = True
        else:
            was_cut = False
        store.abandon()
        disk.restart()
        with open_on(disk, home) as again:
            again.erase()
            kept = [digest for digest in digests if digest not in digests[::3]]
            assert [again.read(A, digest) for digest in kept] == [
                data for data in CONTENTS[:8] if sha256(data) in set(kept)
            ]
            dead = before - bodies(disk)
            assert len(dead) == len(digests[::3])
            assert not any(body in everything(disk) for body in dead)
        if not was_cut:
            return


def open_on(disk: FaultyDisk, home: Path) -> PackStore:
    keys = SlotKeyRing(disk.directory("keys"), bytes(32))
    return PackStore(home, SMALL, files=disk.directory("packs"), keys=keys)
