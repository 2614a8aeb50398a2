"""Contents held opened: only what is read again, in bounded memory, and gone with its key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nearframe.ids import Digest, sha256
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import ContentKind, StudyRef

STUDY = StudyRef("main", "1.2.3")
FRAME_BYTES = 10_000
HEAD, TAIL = b"head", b"tail"


@pytest.fixture
def store(tmp_path: Path) -> PackStore:
    return PackStore(tmp_path, PackSettings(reserve_bytes=0, memory_bytes=3 * FRAME_BYTES + 100))


def put(store: PackStore) -> tuple[Digest, bytes]:
    data = os.urandom(FRAME_BYTES)
    store.append(STUDY, ContentKind.FRAME, sha256(data), len(data), (data,))
    return sha256(data), HEAD + data + TAIL


def read(store: PackStore, digest: Digest) -> bytes | bytearray | None:
    return store.read_framed(STUDY, digest, HEAD, TAIL)


def test_what_is_read_again_is_not_opened_again(store: PackStore) -> None:
    digest, framed = put(store)
    first, second, third = (read(store, digest) for _ in range(3))
    assert first == second == third == framed
    assert second is not first, "one reading says nothing about the next"
    assert third is second


def test_memory_is_bounded(store: PackStore) -> None:
    frames = [put(store) for _ in range(5)]
    for digest, _ in frames:
        read(store, digest)
    held = [read(store, digest) for digest, _ in frames]
    assert held == [framed for _, framed in frames]
    again = [
        read(store, digest) is before for (digest, _), before in zip(reversed(frames), reversed(held), strict=True)
    ]
    assert again == [True, True, True, False, False]


def test_another_frame_around_it_is_another_answer(store: PackStore) -> None:
    digest, framed = put(store)
    read(store, digest)
    read(store, digest)
    assert store.read_framed(STUDY, digest, b"", b"") == framed[len(HEAD) : -len(TAIL)]


def test_it_goes_with_the_study(store: PackStore) -> None:
    digest, _ = put(store)
    other = StudyRef("main", "9.9")
    read(store, digest)
    read(store, digest)
    assert store.read_framed(other, digest, HEAD, TAIL) is None, "this study does not hold it"
    store.sync(store.mark())
    store.shred(STUDY)
    assert read(store, digest) is None


def test_a_reference_dropped_is_a_content_gone(store: PackStore) -> None:
    digest, _ = put(store)
    read(store, digest)
    read(store, digest)
    store.release(STUDY, [digest])
    assert read(store, digest) is None
