"""What every content store promises, whatever it stands on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from nearframe.errors import IntegrityError, NotFound
from nearframe.ids import sha256
from nearframe.storage.objects import ObjectSettings, ObjectStore, open_index
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.storage.s3 import Bucket
from nearframe.units import MIB
from tests.buckets import MemoryBucket
from tests.packs import put
from tests.postgres import create_schema

PACKS = PackSettings(segment_bytes=MIB, chunk_bytes=4096, reserve_bytes=0)
OBJECTS = ObjectSettings(object_bytes=MIB, chunk_log2=12, cache_bytes=4 * MIB)
A = StudyRef("main", "1.2.3")
B = StudyRef("main", "1.2.4")
ELSEWHERE = StudyRef("other", "1.2.3")

Store = PackStore | ObjectStore
#: Opens the store again: what was closed before, as a new process finds it.
Opener = Callable[[], Store]

_schemas = count()


@pytest.fixture(
    params=[
        "packs",
        "objects",
        pytest.param("radosgw", marks=[pytest.mark.postgresql, pytest.mark.radosgw, pytest.mark.drill]),
    ]
)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    if request.param == "packs":
        return lambda: PackStore(tmp_path, PACKS)
    where: Path | str = tmp_path / "objects.sqlite"
    make_bucket: Callable[[], Bucket]
    if request.param == "objects":
        bucket = MemoryBucket()
        make_bucket = lambda: bucket  # noqa: E731
    else:
        server = request.getfixturevalue("radosgw")
        location = server.new_bucket()
        make_bucket = lambda: server.open(location)  # noqa: E731
        where = create_schema(request.getfixturevalue("postgres_server"), f"contents{next(_schemas)}")
    return lambda: ObjectStore(tmp_path, make_bucket(), open_index(where), OBJECTS)


@contextmanager
def opened(open_store: Opener) -> Iterator[Store]:
    store = open_store()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(open_store: Opener) -> Iterator[Store]:
    with opened(open_store) as store:
        yield store


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 8192, 50_000, 3 * MIB])
@pytest.mark.parametrize("kind", [ContentKind.FRAME, ContentKind.HEADER])
def test_contents_come_back(store: Store, size: int, kind: ContentKind) -> None:
    for data in (os.urandom(size), bytes(size)):
        digest = put(store, A, data, kind)
        assert store.read(A, digest) == data
        assert store.size_of(A, digest) == size
        assert b"".join(store.stream(A, digest)) == data


def test_ranges_are_slices(store: Store) -> None:
    data = os.urandom(20_000)
    for kind in (ContentKind.FRAME, ContentKind.HEADER):
        digest = put(store, A, data, kind)
        for start, stop in [
            (0, 1),
            (4095, 4097),
            (4096, 8192),
            (100, 100),
            (19_999, None),
            (30_000, None),
            (5, 99_999),
        ]:
            assert store.read(A, digest, start, stop) == data[start:stop]


def test_read_nowait_serves_what_is_at_hand(store: Store) -> None:
    small = put(store, A, b"small")
    large = put(store, A, os.urandom(5000))
    assert store.read(A, small) == b"small"
    assert store.read_nowait(A, small) == b"small"
    assert store.read_nowait(A, large) is None
    assert store.read_nowait(A, sha256(b"unknown")) is None


def test_a_content_is_stored_once_in_a_tenant(store: Store) -> None:
    data = os.urandom(5000)
    digest = sha256(data)
    assert store.append(A, ContentKind.FRAME, digest, len(data), [data])
    assert not store.append(A, ContentKind.FRAME, digest, len(data), [data])
    assert store.read(A, digest) == data  # before it is durable, too
    assert not store.append(B, ContentKind.FRAME, digest, len(data), [data])
    assert store.append(ELSEWHERE, ContentKind.FRAME, digest, len(data), [data])
    assert store.read(B, digest) == data
    store.sync(store.mark())
    assert store.stats().contents == 2
    assert store.read(B, digest) == data


def test_a_study_reads_only_what_it_references(store: Store) -> None:
    digest = put(store, A, b"secret of A")
    with pytest.raises(NotFound):
        store.read(B, digest)
    assert store.missing(B, [digest]) == [digest]
    assert store.adopt(B, [digest, sha256(b"nowhere")]) == [sha256(b"nowhere")]
    assert store.read(B, digest) == b"secret of A"
    assert store.adopt(ELSEWHERE, [digest]) == [digest]


def test_contents_outlive_a_restart(open_store: Opener) -> None:
    contents = [os.urandom(n * 1000) for n in range(50)]
    with opened(open_store) as store:
        digests = [put(store, A, data) for data in contents]
        store.adopt(B, digests[:10])
        store.release(A, digests[:5])
        before = store.stats()
    with opened(open_store) as store:
        assert store.missing(A, digests) == digests[:5]
        assert [store.read(B, digest) for digest in digests[:10]] == contents[:10]
        assert [store.read(A, digest) for digest in digests[5:]] == contents[5:]
        assert store.stats().live_bytes == before.live_bytes


def test_released_contents_are_gone_with_the_last_reference(store: Store) -> None:
    digest = put(store, A, b"x" * 1000)
    store.adopt(B, [digest])
    store.release(A, [digest])
    assert store.read(B, digest) == b"x" * 1000
    store.release(B, [digest, digest])
    assert store.missing(B, [digest]) == [digest]
    assert store.stats().contents == 0
    assert put(store, A, b"x" * 1000) == digest
    assert store.read(A, digest) == b"x" * 1000


def test_a_shredded_study_is_unreadable_and_may_come_back(open_store: Opener) -> None:
    with opened(open_store) as store:
        own, shared = put(store, A, b"own"), put(store, A, b"shared")
        store.adopt(B, [shared])
        store.shred(A)
        store.shred(A)
        with pytest.raises(NotFound):
            store.read(A, own)
        assert store.read(B, shared) == b"shared"
        put(store, A, b"own")
    with opened(open_store) as store:
        assert store.read(A, own) == b"own"
        assert store.missing(A, [shared]) == [shared]


def test_a_content_of_another_length_is_refused(store: Store) -> None:
    for size in (9, 11, 5000, 3 * MIB):
        for kind in (ContentKind.FRAME, ContentKind.HEADER):
            with pytest.raises(IntegrityError):
                store.append(A, kind, sha256(b"0123456789"), size, [b"01234", b"56789"])
    assert store.missing(A, [sha256(b"0123456789")])
    assert put(store, A, b"0123456789")


def test_what_nothing_holds_is_erased_however_little_it_is(store: Store) -> None:
    datas = [*(os.urandom(20_000) for _ in range(10)), os.urandom(3000), os.urandom(3000)]
    mark = store.mark()
    for data in datas:
        store.append(A, ContentKind.FRAME, sha256(data), len(data), [data])
    store.sync(mark)
    *kept, shared, gone = map(sha256, datas)
    store.adopt(B, [shared])
    store.sync(store.mark())
    assert store.kinds()[ContentKind.FRAME][0] == 12
    store.release(A, [shared, gone])
    store.sync(store.mark())
    before = store.stats()
    assert (before.contents, store.erase().removed) == (11, 1)
    assert store.stats().stored_bytes < before.stored_bytes
    assert store.kinds()[ContentKind.FRAME][0] == 11
    assert [store.read(A, digest) for digest in kept] == datas[:10]
    assert store.read(B, shared) == datas[10]
    assert store.erase().removed == 0
