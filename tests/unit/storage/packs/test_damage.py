"""Damage on disk: never served, found by scrub, named for whoever can fetch it again, repaired by append."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from nearframe.errors import IntegrityError
from nearframe.ids import sha256
from nearframe.storage.packs import PackStore
from nearframe.storage.packs.faulty import FaultyDisk
from nearframe.storage.packs.record import FILE_HEADER_BYTES, HEADER_BYTES
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.storage.upkeep import ScrubReport
from tests.packs import Opener, lose_index, put

A, B = StudyRef("main", "1.2.1"), StudyRef("main", "1.2.2")
DATA = random.Random(1).randbytes(2500)
OTHER = random.Random(2).randbytes(300)
FIRST_BODY = FILE_HEADER_BYTES + HEADER_BYTES
PACK = "00000001.seg"


@pytest.fixture
def digest(store: PackStore) -> bytes:
    """The first content of the first pack, held by two studies; another follows it."""
    digest = put(store, A, DATA)
    store.adopt(B, [digest])
    put(store, A, OTHER)
    return digest


@pytest.mark.parametrize("offset", [0, 1023, 1040, 2500])
def test_damaged_bytes_are_never_served(store: PackStore, disk: FaultyDisk, digest: bytes, offset: int) -> None:
    disk.directory("packs").flip_bit(PACK, FIRST_BODY + offset)
    with pytest.raises(IntegrityError):
        store.read(A, digest)
    assert store.read_nowait(A, digest) is None
    assert store.missing(A, [digest]) == [digest]
    assert store.size_of(B, digest) is None
    with pytest.raises(IntegrityError, match="stored again"):
        store.read(B, digest)
    assert store.stats().integrity_failures == 1
    assert store.read(A, sha256(OTHER)) == OTHER


def test_a_range_elsewhere_is_still_served(store: PackStore, disk: FaultyDisk, digest: bytes) -> None:
    disk.directory("packs").flip_bit(PACK, FIRST_BODY + 10)
    assert store.read(A, digest, 1024, 2500) == DATA[1024:]
    with pytest.raises(IntegrityError):
        store.read(A, digest, 0, 1)


def test_storing_again_repairs_for_every_study(
    store: PackStore, disk: FaultyDisk, digest: bytes, open_store: Opener
) -> None:
    disk.directory("packs").flip_bit(PACK, FIRST_BODY)
    with pytest.raises(IntegrityError):
        store.read(A, digest)
    assert store.append(B, ContentKind.FRAME, digest, len(DATA), [DATA])
    assert store.read(A, digest) == store.read(B, digest) == DATA
    store.close()
    again = open_store()
    assert again.read(A, digest) == again.read(B, digest) == DATA
    assert again.compact(1.0).skipped == 0
    assert again.read(A, digest) == DATA


def test_scrub_finds_what_nobody_read(store: PackStore, disk: FaultyDisk, digest: bytes) -> None:
    clean = store.scrub()
    assert (clean.contents, clean.damaged, clean.unreadable_bytes) == (2, 0, 0)
    disk.directory("packs").flip_bit(PACK, FIRST_BODY + 2000)
    report = store.scrub()
    assert (report.contents, report.damaged, report.quarantined) == (1, 1, 0)
    again = store.scrub()
    assert (again.contents, again.damaged, again.quarantined) == (1, 0, 1)
    assert {(lost.study, lost.digest) for lost in store.damaged()} == {(A, digest), (B, digest)}
    store.append(A, ContentKind.FRAME, digest, len(DATA), [DATA])
    assert list(store.damaged()) == []
    assert store.scrub().damaged == 0


def test_scrub_finds_a_content_whose_header_is_gone(store: PackStore, disk: FaultyDisk, digest: bytes) -> None:
    disk.directory("packs").flip_bit(PACK, FILE_HEADER_BYTES + 40)
    report = store.scrub()
    assert report.damaged == 1
    assert report.unreadable_bytes > len(DATA)
    assert store.missing(A, [digest, sha256(OTHER)]) == [digest]


def test_scrub_finds_a_content_whose_pack_is_gone(
    store: PackStore, disk: FaultyDisk, digest: bytes, open_store: Opener
) -> None:
    store.close()
    disk.directory("packs").remove(PACK)
    again = open_store()
    assert again.scrub().damaged == 2
    assert {lost.digest for lost in again.damaged()} == {digest, sha256(OTHER)}
    again.append(A, ContentKind.FRAME, digest, len(DATA), [DATA])
    assert again.read(B, digest) == DATA


def test_scrub_finds_what_was_stored_under_a_wrong_digest(store: PackStore) -> None:
    wrong = sha256(b"another")
    store.append(A, ContentKind.FRAME, wrong, len(DATA), [DATA])
    assert store.scrub().damaged == 1
    assert store.missing(A, [wrong]) == [wrong]


def test_scrub_counts_what_nothing_holds(store: PackStore, digest: bytes) -> None:
    store.release(A, [sha256(OTHER)])
    report = store.scrub()
    assert (report.contents, report.unreferenced) == (1, 1)
    assert report.unreferenced_bytes > len(OTHER)


def test_scrub_tells_how_far_it_is_and_lets_itself_be_slowed(store: PackStore, digest: bytes) -> None:
    heard: list[tuple[int, int]] = []
    paced: list[int] = []

    def hear(report: ScrubReport) -> None:
        heard.append((report.segments, report.total_segments))

    store.scrub(hear, paced.append)
    assert heard == [(1, 1)]
    assert sum(paced) > len(DATA) + len(OTHER)


def test_damage_costs_only_the_records_it_hit_when_the_index_is_rebuilt(
    tmp_path: Path, store: PackStore, disk: FaultyDisk, digest: bytes, open_store: Opener
) -> None:
    store.close()
    disk.directory("packs").flip_bit(PACK, FILE_HEADER_BYTES + 40)
    lose_index(tmp_path)
    again = open_store()
    assert again.read(A, sha256(OTHER)) == OTHER
    assert again.missing(A, [digest]) == [digest]


def test_a_damaged_pack_is_not_compacted_away(store: PackStore, disk: FaultyDisk, digest: bytes) -> None:
    put(store, A, random.Random(3).randbytes(6000))  # starts the next pack
    disk.directory("packs").flip_bit(PACK, FILE_HEADER_BYTES + 40)
    assert store.compact(1.0).skipped == 1
    assert PACK in disk.directory("packs").names()
    assert store.read(A, sha256(OTHER)) == OTHER


def test_a_content_known_to_be_damaged_goes_with_its_pack(store: PackStore, disk: FaultyDisk, digest: bytes) -> None:
    put(store, A, random.Random(3).randbytes(6000))
    disk.directory("packs").flip_bit(PACK, FIRST_BODY)
    assert store.scrub().damaged == 1
    assert store.compact(1.0).skipped == 0
    assert PACK not in disk.directory("packs").names()
    assert {(lost.study, lost.digest) for lost in store.damaged()} == {(A, digest), (B, digest)}
    store.append(A, ContentKind.FRAME, digest, len(DATA), [DATA])
    assert store.read(B, digest) == DATA
