"""What one origin lets go of while another takes in, reads or compacts: nothing is lost, nothing stays behind."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import Busy, NotFound
from nearframe.storage.objects import ObjectStore
from nearframe.storage.objects.freshness import STALE_S
from nearframe.storage.objects.recording import UPLOADED_WITHIN
from tests.buckets import MemoryBucket, nothing
from tests.packs import NO_CATALOGUE, put
from tests.unit.storage.objects.conftest import Origin, append
from tests.unit.storage.test_contents import A, B


def once(bucket: MemoryBucket, operation: str, do: Callable[[], object]) -> None:
    """Have something happen right before the bucket's next call of an operation."""

    def before(called: str) -> None:
        if called == operation:
            bucket.before = nothing
            do()

    bucket.before = before


def packs(bucket: MemoryBucket) -> list[str]:
    return [name for name in bucket.objects if name.startswith("packs/")]


def test_what_was_held_when_it_was_offered_is_asked_about_before_it_is_referred_to(origin: Origin) -> None:
    one, two = origin("one"), origin("two")
    digest = put(one, A, b"sent again")
    since = two.mark()
    append(two, A, b"sent again")  # held already: nothing is written
    assert one.let_go(NO_CATALOGUE, A, [digest], is_empty=False) == [digest]
    two.sync(since)
    with pytest.raises(Busy):
        two.confirm(since, {A: {digest}})
    since = two.mark()
    append(two, A, b"sent again")
    two.sync(since)
    two.confirm(since, {A: {digest}})
    assert one.read(A, digest) == b"sent again"


def test_what_is_held_is_confirmed_whatever_else_went(origin: Origin) -> None:
    one, two = origin("one"), origin("two")
    kept, gone = put(one, A, b"kept"), put(one, B, b"gone")
    since = two.mark()
    append(two, A, b"kept")
    one.let_go(NO_CATALOGUE, B, [gone], is_empty=True)
    two.sync(since)
    two.confirm(since, {A: {kept}})
    assert two.mark() > since  # the next one need not look again


def test_a_study_that_another_origin_shredded_is_stored_anew(origin: Origin, clock: ManualClock) -> None:
    one, two = origin("one"), origin("two")
    digest = put(one, A, b"first")
    assert two.read(A, digest) == b"first"
    one.let_go(NO_CATALOGUE, A, [digest], is_empty=True)
    with pytest.raises(Busy):
        put(two, A, b"second")  # under a key that is gone: once
    assert two.read(A, put(two, A, b"second")) == b"second"
    clock.advance(STALE_S)
    with pytest.raises(NotFound):
        one.read(A, digest)


def test_a_reference_survives_that_what_it_refers_to_was_moved_meanwhile(origin: Origin, bucket: MemoryBucket) -> None:
    one, two = origin("one"), origin("two")
    since = one.mark()
    shared, gone = append(one, A, b"s" * 1000), append(one, A, b"g" * 1000)
    one.sync(since)
    (before,) = packs(bucket)
    since = two.mark()
    append(two, B, b"s" * 1000)  # referred to where it stands
    one.let_go(NO_CATALOGUE, A, [gone], is_empty=False)
    assert one.erase().written == 1
    assert before not in bucket.objects
    two.sync(since)
    two.confirm(since, {B: {shared}})
    assert two.read(B, shared) == one.read(A, shared) == b"s" * 1000


def test_a_reference_to_what_was_let_go_of_is_refused_and_stored_again(origin: Origin, bucket: MemoryBucket) -> None:
    one, two = origin("one"), origin("two")
    digest = put(one, A, b"s" * 1000)
    since = two.mark()
    append(two, B, b"s" * 1000)
    one.let_go(NO_CATALOGUE, A, [digest], is_empty=False)
    assert one.erase().removed == 1
    with pytest.raises(Busy):
        two.sync(since)
    assert two.read(B, put(two, B, b"s" * 1000)) == b"s" * 1000


def test_a_copy_with_something_dead_in_it_is_given_up(origin: Origin, bucket: MemoryBucket, clock: ManualClock) -> None:
    """Another origin that erases would not know that the copy has bytes of what it let go of."""
    one, two = origin("one"), origin("two")
    datas = [os.urandom(1000) for _ in range(20)]
    kept, *gone = [put(one, A, data) for data in datas]
    clock.advance(3600)

    def let_go_and_erase() -> None:
        two.let_go(NO_CATALOGUE, A, gone, is_empty=False)
        assert two.erase().removed == 19

    once(bucket, "put_parts", let_go_and_erase)
    assert one.compact().skipped == 20
    assert len(packs(bucket)) == 1
    assert one.stats().dead_bytes < 100
    assert one.read(A, kept) == datas[0]


def test_what_took_half_a_day_to_upload_is_not_counted_on(
    origin: Origin, bucket: MemoryBucket, clock: ManualClock
) -> None:
    """A machine that was suspended amid an upload: it may have been swept up meanwhile."""
    store = origin("one")
    once(bucket, "put", lambda: clock.advance(UPLOADED_WITHIN.total_seconds() + 1))
    with pytest.raises(Busy, match="send it again"):
        put(store, A, b"x")
    assert store.read(A, put(store, A, b"x")) == b"x"


def test_a_reader_goes_on_however_often_its_content_is_moved(
    origin: Origin, bucket: MemoryBucket, clock: ManualClock
) -> None:
    one, two = origin("one"), origin("two")
    since = one.mark()
    kept, *gone = [append(one, A, bytes([n]) * 1000) for n in range(4)]
    one.sync(since)

    def move(times: int) -> None:
        one.let_go(NO_CATALOGUE, A, [gone[times]], is_empty=False)
        assert one.erase().written == 1
        if times:
            once(bucket, "get", lambda: move(times - 1))

    reading = two.stream(A, kept)
    once(bucket, "get", lambda: move(2))
    assert b"".join(reading) == bytes(1000)
    assert two.integrity_failures == 0


def test_every_origin_knows_when_the_bucket_was_scrubbed(origin: Origin, clock: ManualClock) -> None:
    one, two = origin("one"), origin("two")
    assert two.scrubbed_at() is None
    one.scrub()
    clock.advance(60)
    two.scrub()
    assert one.scrubbed_at() == clock.now()


def test_studies_that_are_held_otherwise_than_they_should_be(store: ObjectStore) -> None:
    for study in (A, B):
        put(store, study, b"x")
    store.hold(A)
    assert store.held_otherwise([A]) == []
    assert store.held_otherwise([B]) == [A, B]
    assert store.held_otherwise([]) == [A]
