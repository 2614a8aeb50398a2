"""The store over a bucket: what it costs, what failures leave, and that several origins share it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import BackendFailed, Busy, ConfigurationError, IntegrityError, NotFound, Refused
from nearframe.ids import sha256
from nearframe.storage.objects import ObjectStore, open_index
from nearframe.storage.objects.freshness import STALE_S
from nearframe.storage.objects.index import batches
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.units import KIB, MIB
from tests.buckets import MemoryBucket, failing, nothing
from tests.packs import NO_CATALOGUE, put
from tests.unit.storage.objects.conftest import Origin, append

A = StudyRef("main", "1.2.3")
B = StudyRef("main", "1.2.4")
THIRD = StudyRef("main", "1.2.5")


def test_what_is_ready_together_takes_one_request(store: ObjectStore, bucket: MemoryBucket) -> None:
    before = bucket.asked.copy()
    mark = store.mark()
    digests = [append(store, A, os.urandom(1000)) for _ in range(100)]
    store.sync(mark)
    assert bucket.asked - before == {"put": 1}
    assert store.missing(A, digests) == []


def test_objects_that_are_full_are_uploaded_before_anybody_waits(store: ObjectStore, bucket: MemoryBucket) -> None:
    mark = store.mark()
    for _ in range(10):
        append(store, A, os.urandom(400 * KIB))
    store.sync(mark)
    lengths = [len(data) for name, data in bucket.objects.items() if name.startswith("packs/")]
    assert len(lengths) == 5
    assert max(lengths) <= MIB


def test_a_large_content_has_an_object_of_its_own(store: ObjectStore, bucket: MemoryBucket) -> None:
    data = os.urandom(20 * MIB)
    assert store.read(A, put(store, A, data)) == data
    assert bucket.asked["put_parts"] == 1


def test_neighbours_come_by_one_request(origin: Origin, bucket: MemoryBucket) -> None:
    writer, reader = origin("one"), origin("two", cache_bytes=4 * MIB)
    mark = writer.mark()
    frames = [os.urandom(50 * KIB) for _ in range(10)]
    digests = [append(writer, A, frame) for frame in frames]
    writer.sync(mark)
    before = bucket.asked["get"]
    assert [reader.read(A, digest) for digest in digests] == frames
    assert bucket.asked["get"] - before == 1


def test_what_was_just_stored_is_read_without_a_request(origin: Origin, bucket: MemoryBucket) -> None:
    store = origin("one", cache_bytes=4 * MIB)
    digest = put(store, A, b"x" * 1000)
    before = bucket.asked.copy()
    assert store.read(A, digest) == b"x" * 1000
    assert store.read_nowait(A, digest) == b"x" * 1000
    assert not bucket.asked - before


@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_acknowledged_that_was_not_uploaded(store: ObjectStore, bucket: MemoryBucket, when: str) -> None:
    setattr(bucket, when, failing("put"))
    mark = store.mark()
    digest = append(store, A, b"lost")
    with pytest.raises(Busy):
        store.sync(mark)
    assert store.missing(A, [digest]) == [digest]
    with pytest.raises(NotFound):
        store.read(A, digest)
    setattr(bucket, when, nothing)
    assert store.read(A, put(store, A, b"lost")) == b"lost"


def test_who_was_not_waiting_is_told_too(store: ObjectStore, bucket: MemoryBucket) -> None:
    early = store.mark()
    append(store, A, b"early")
    bucket.before = failing("put")
    mark = store.mark()
    append(store, A, b"late")
    with pytest.raises(Busy):
        store.sync(mark)
    bucket.before = nothing
    with pytest.raises(Busy):
        store.sync(early)


def test_a_large_upload_that_fails_leaves_nothing(store: ObjectStore, bucket: MemoryBucket) -> None:
    bucket.before = failing("put_parts")
    data = os.urandom(9 * MIB)
    with pytest.raises(Busy):
        append(store, A, data)
    bucket.before = nothing
    assert store.read(A, put(store, A, data)) == data


def test_every_origin_reads_what_one_acknowledged(origin: Origin) -> None:
    one, two = origin("one"), origin("two")
    digest = put(one, A, b"taken in by one")
    assert two.read(A, digest) == b"taken in by one"
    assert not two.append(B, ContentKind.FRAME, digest, 15, [b"taken in by one"])
    two.sync(two.mark())
    assert one.read(B, digest) == b"taken in by one"


def test_two_origins_that_store_the_same_at_once_keep_it_once(origin: Origin) -> None:
    one, two = origin("one"), origin("two")
    marks = one.mark(), two.mark()
    digest = append(one, A, b"the same")
    assert append(two, B, b"the same") == digest
    one.sync(marks[0])
    two.sync(marks[1])
    assert one.stats().contents == 1
    assert one.read(B, digest) == two.read(A, digest) == b"the same"


def test_what_one_origin_shreds_the_others_forget(origin: Origin, clock: ManualClock) -> None:
    one, two = origin("one"), origin("two")
    digest = put(one, A, b"gone soon")
    assert two.read(A, digest) == b"gone soon"
    one.shred(A)
    with pytest.raises(NotFound):
        one.read(A, digest)
    clock.advance(STALE_S)
    with pytest.raises(NotFound):
        two.read(A, digest)


def test_nothing_is_recorded_under_a_key_that_was_shredded_meanwhile(origin: Origin) -> None:
    one, two = origin("one"), origin("two")
    put(one, A, b"first")
    mark = two.mark()
    append(two, A, b"second")
    one.shred(A)
    with pytest.raises(Busy):
        two.sync(mark)


def test_a_reference_counts_on_nothing_that_went(origin: Origin) -> None:
    one, two = origin("one"), origin("two")
    digest = put(one, A, b"x")
    mark = two.mark()
    two.append(B, ContentKind.FRAME, digest, 1, [b"x"])
    one.release(A, [digest])
    with pytest.raises(Busy):
        two.sync(mark)
    assert two.missing(B, [digest]) == [digest]


def test_bytes_that_are_not_what_was_sealed_are_never_served(store: ObjectStore, bucket: MemoryBucket) -> None:
    digest = put(store, A, b"y" * 1000)
    (name,) = (name for name in bucket.objects if name.startswith("packs/"))
    good = bucket.objects[name]
    bucket.objects[name] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(IntegrityError):
        store.read(A, digest)
    assert store.missing(A, [digest]) == [digest]
    assert [lost.digest for lost in store.damaged()] == [digest]
    assert put(store, A, b"y" * 1000) == digest
    assert store.read(A, digest) == b"y" * 1000
    assert list(store.damaged()) == []


def test_what_is_damaged_is_mended_for_everybody_at_once(store: ObjectStore, bucket: MemoryBucket) -> None:
    digest = put(store, A, b"y" * 1000)
    store.adopt(B, [digest])
    (name,) = (name for name in bucket.objects if name.startswith("packs/"))
    bucket.objects[name] = bytes(len(bucket.objects[name]))
    assert store.scrub().damaged == 1
    mark = store.mark()
    for study in (B, A, THIRD):
        append(store, study, b"y" * 1000)
    store.sync(mark)
    assert [store.read(study, digest) for study in (A, B, THIRD)] == [b"y" * 1000] * 3
    assert list(store.damaged()) == []


def test_bytes_spoiled_on_the_way_are_asked_for_again(store: ObjectStore, bucket: MemoryBucket) -> None:
    digest = put(store, A, b"y" * 1000)
    (name,) = (name for name in bucket.objects if name.startswith("packs/"))
    good = bucket.objects[name]
    bucket.objects[name] = bytes(len(good))
    seen = bucket.asked["get"]

    def mend(operation: str) -> None:
        if operation == "get" and bucket.asked["get"] > seen + 1:
            bucket.objects[name] = good

    bucket.before = mend
    assert store.read(A, digest) == b"y" * 1000
    assert store.integrity_failures == 0


def test_scrub_finds_what_nobody_asked_for(store: ObjectStore, bucket: MemoryBucket) -> None:
    digests = [put(store, A, os.urandom(1000)) for _ in range(3)]
    del bucket.objects[next(name for name in bucket.objects if name.startswith("packs/"))]
    report = store.scrub()
    assert (report.contents, report.damaged) == (2, 1)
    assert store.missing(A, digests) == digests[:1]


def test_sparse_and_small_objects_are_put_together(
    store: ObjectStore, bucket: MemoryBucket, clock: ManualClock
) -> None:
    contents = [os.urandom(100 * KIB) for _ in range(40)]
    digests = [put(store, A, data) for data in contents]
    store.adopt(B, digests[:5])
    store.release(A, digests[:20])
    before = store.stats()
    assert store.compact().removed == 0  # too young
    clock.advance(3600)
    done = store.compact()
    assert (done.removed, done.written) == (40, 1)
    assert store.stats().live_bytes == before.live_bytes
    assert [store.read(A, digest) for digest in digests[20:]] == contents[20:]
    assert [store.read(B, digest) for digest in digests[:5]] == contents[:5]
    clock.advance(3600)
    store.compact()
    assert len([name for name in bucket.objects if name.startswith("packs/")]) == 1
    assert [store.read(A, digest) for digest in digests[20:]] == contents[20:]


def test_a_reader_that_looked_before_a_compaction_reads_on(origin: Origin, clock: ManualClock) -> None:
    one, two = origin("one"), origin("two")
    digests = [put(one, A, os.urandom(1000)) for _ in range(20)]
    reading = two.stream(A, digests[0])
    clock.advance(3600)
    assert one.compact().written == 1
    assert sha256(b"".join(reading)) == digests[0]
    clock.advance(3600)
    one.compact()
    assert sha256(two.read(A, digests[1])) == digests[1]


def test_what_was_uploaded_in_vain_is_swept_up(store: ObjectStore, bucket: MemoryBucket, clock: ManualClock) -> None:
    digest = put(store, A, b"kept")
    bucket.objects["packs/00000000000000aa"] = b"orphan"
    bucket.modified["packs/00000000000000aa"] = clock.now()
    bucket.objects["packs/"], bucket.modified["packs/"] = b"", clock.now()  # how some tools mark a folder
    bucket.unfinished["packs/00000000000000bb"] = clock.now()
    store.compact()
    assert "packs/00000000000000aa" in bucket.objects  # perhaps another origin is about to record it
    clock.advance(timedelta(hours=23).total_seconds())
    store.compact()
    clock.advance(timedelta(hours=2).total_seconds())
    store.compact()
    assert bucket.asked["list"] == 2  # once a day
    assert "packs/00000000000000aa" not in bucket.objects
    assert not bucket.unfinished
    assert store.read(A, digest) == b"kept"


def test_a_study_under_a_legal_hold_stays_where_it_is(
    store: ObjectStore, bucket: MemoryBucket, clock: ManualClock
) -> None:
    digests = [put(store, A, os.urandom(1000)) for _ in range(20)]
    assert store.hold(A) == 20
    late = put(store, A, b"later")
    assert len(bucket.held) == 21
    store.release(A, digests)
    clock.advance(3600)
    assert store.compact().removed == 0
    assert store.end_hold(A) == 21
    assert not bucket.held
    assert store.compact().removed == 20
    assert store.read(A, late) == b"later"


def test_a_hold_that_the_bucket_did_not_take_is_set_when_it_is_asked_for_again(
    store: ObjectStore, bucket: MemoryBucket
) -> None:
    put(store, A, b"x")
    put(store, A, b"y")
    bucket.before = failing("hold")
    with pytest.raises(Busy):
        store.hold(A)
    assert store.hold(A) == 2
    assert len(bucket.held) == 2


def test_what_compaction_moved_meanwhile_goes_under_the_hold(
    store: ObjectStore, bucket: MemoryBucket, clock: ManualClock
) -> None:
    for _ in range(20):
        put(store, A, os.urandom(1000))
    clock.advance(3600)

    def hold_meanwhile(operation: str) -> None:
        if operation == "put_parts":
            store.hold(A)

    bucket.before = hold_meanwhile
    assert store.compact().written == 1
    bucket.before = nothing
    assert len(bucket.held) == 21
    assert store.end_hold(A) == 21


def test_two_origins_that_compact_the_same_move_each_content_once(
    origin: Origin, bucket: MemoryBucket, clock: ManualClock
) -> None:
    one, two = origin("one"), origin("two")
    digests = [put(one, A, os.urandom(1000)) for _ in range(20)]
    clock.advance(3600)

    def compact_meanwhile(operation: str) -> None:
        if operation == "put_parts":
            bucket.before = nothing
            assert two.compact().written == 1

    bucket.before = compact_meanwhile
    one.compact()
    assert one.stats().live_bytes == sum(len(one.read(A, digest)) + 208 for digest in digests)
    for _ in range(2):
        clock.advance(3600)
        two.compact()
    assert len([name for name in bucket.objects if name.startswith("packs/")]) == 1
    assert [sha256(two.read(A, digest)) for digest in digests] == digests


def test_what_is_erased_stands_in_no_object(store: ObjectStore, bucket: MemoryBucket) -> None:
    mark = store.mark()
    gone, kept = append(store, A, b"g" * 1000), append(store, A, b"k" * 1000)
    store.sync(mark)
    (before,) = (name for name in bucket.objects if name.startswith("packs/"))
    assert store.let_go(NO_CATALOGUE, A, [gone], is_empty=False) == [gone]
    reading = store.stream(A, kept)
    assert store.erase().written == 1
    assert before not in bucket.objects
    assert b"".join(reading) == b"k" * 1000
    assert store.stats().dead_bytes < 100
    assert store.erase().removed == 0


def test_a_copy_that_another_origin_erases_takes_nothing_with_it(
    origin: Origin, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = origin("one"), origin("two")
    digests = [put(one, A, os.urandom(1000)) for _ in range(20)]
    clock.advance(3600)

    def erase_meanwhile(moves: Iterable[object]) -> Iterator[Sequence[object]]:
        monkeypatch.undo()
        assert two.erase().removed
        return batches(moves)

    monkeypatch.setattr("nearframe.storage.objects.compaction.batches", erase_meanwhile)
    assert one.compact().skipped == 20
    assert [sha256(one.read(A, digest)) for digest in digests] == digests
    assert one.compact().written == 1
    assert [sha256(two.read(A, digest)) for digest in digests] == digests


def test_a_bucket_without_object_lock_refuses_legal_holds(tmp_path: Path) -> None:
    bucket = MemoryBucket()
    with closing(ObjectStore(tmp_path, bucket, open_index(tmp_path / "index.sqlite"))) as store:
        put(store, A, b"x")
        with pytest.raises(Refused, match="no object lock"):
            store.hold(A)


def test_what_does_not_belong_together_is_refused(tmp_path: Path, store: ObjectStore, bucket: MemoryBucket) -> None:
    put(store, A, b"x")
    with pytest.raises(ConfigurationError, match="another process works in"):
        ObjectStore(tmp_path / "one", bucket, open_index(tmp_path / "index.sqlite"))
    with pytest.raises(ConfigurationError, match="holds an archive"):
        ObjectStore(tmp_path / "two", bucket, open_index(tmp_path / "other.sqlite"))
    with pytest.raises(ConfigurationError, match="root key cannot be read"):
        ObjectStore(tmp_path / "three", bucket, open_index(tmp_path / "index.sqlite"))
    keys = tmp_path / "four" / "keys"
    keys.mkdir(parents=True)
    (keys / "root.key").write_text("22" * 32)
    with pytest.raises(ConfigurationError, match="another root key"):
        ObjectStore(tmp_path / "four", bucket, open_index(tmp_path / "index.sqlite"))
    (keys / "root.key").write_text("11" * 32)
    other = MemoryBucket()
    other.put("archive", b"somebody else's")
    with pytest.raises(ConfigurationError, match="another archive"):
        ObjectStore(tmp_path / "four", other, open_index(tmp_path / "index.sqlite"))


def test_a_failing_index_is_told(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BackendFailed("the database failed")

    monkeypatch.setattr("nearframe.storage.objects.recording.record", refuse)
    mark = store.mark()
    digest = append(store, A, b"x")
    with pytest.raises(BackendFailed):
        store.sync(mark)
    monkeypatch.undo()
    assert store.missing(A, [digest]) == [digest]
