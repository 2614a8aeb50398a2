"""Timed segments: rings that are bounded by number, bytes and time, and readers that wait."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe import tasks
from nearframe.cache.segments import SegmentLimits, Segments
from nearframe.clock import ManualClock
from nearframe.errors import Busy, Conflict, Gone, LimitExceeded, NotFound

LIMITS = SegmentLimits(total_bytes=100, segment_bytes=40, streams=3, stream_segments=4, ttl_s=60, waiting=2)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def segments(clock: ManualClock) -> Segments[str]:
    return Segments(clock, LIMITS)


def put(segments: Segments[str], sequence: int, data: bytes = b"x", stream: str = "a", ttl_s: float = 10) -> None:
    segments.put(stream, sequence, data, "video/mp4", ttl_s)


def test_a_ring(segments: Segments[str]) -> None:
    for number in range(1, 7):
        put(segments, number, b"%d" % number)
    assert segments.numbers("a") == (3, 6)
    assert segments.get("a", 6).data == b"6"
    with pytest.raises(Gone):
        segments.get("a", 2)
    with pytest.raises(NotFound):
        segments.get("a", 7)
    with pytest.raises(NotFound):
        segments.get("b", 1)


def test_the_same_again_and_another(segments: Segments[str]) -> None:
    put(segments, 5)
    put(segments, 5)
    with pytest.raises(Conflict):
        put(segments, 5, b"y")
    with pytest.raises(Gone):
        put(segments, 4)
    assert segments.used_bytes == 1


def test_time_ends_segments_and_streams(segments: Segments[str], clock: ManualClock) -> None:
    put(segments, 1, ttl_s=5)
    clock.advance(3)
    put(segments, 2, ttl_s=1000)
    clock.advance(2)
    assert segments.numbers("a") == (2, 2)
    clock.advance(58)
    with pytest.raises(NotFound):
        segments.numbers("a")
    assert (len(segments), segments.used_bytes) == (0, 0)


def test_bounds(segments: Segments[str]) -> None:
    with pytest.raises(LimitExceeded):
        put(segments, 1, b"x" * 41)
    put(segments, 1, b"x" * 40, "small")
    for number in range(3):
        put(segments, number, b"x" * 40, "large")
    assert segments.used_bytes <= 100
    assert segments.numbers("small") == (1, 1), "the stream that takes most gives first"
    put(segments, 1, stream="third")
    with pytest.raises(Busy):
        put(segments, 1, stream="fourth")


async def test_a_reader_waits_for_the_next(segments: Segments[str]) -> None:
    put(segments, 1)
    reader = tasks.spawn(segments.wait("a", 2, 30), name="reader")
    await asyncio.sleep(0)
    put(segments, 2, b"two")
    assert (await reader).data == b"two"
    assert (await segments.wait("a", 1, 30)).data == b"x"
    with pytest.raises(NotFound):
        await segments.wait("a", 9, 30)  # too far ahead to wait for
    with pytest.raises(NotFound):
        await segments.wait("a", 3, 0.001)


async def test_waiting_ends_with_the_stream_and_is_bounded(segments: Segments[str], clock: ManualClock) -> None:
    put(segments, 1)
    readers = [tasks.spawn(segments.wait("a", 2, 30), name="reader") for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await segments.wait("a", 2, 30)
    clock.advance(11)
    with pytest.raises(NotFound):
        segments.numbers("a")
    for outcome in await asyncio.gather(*readers, return_exceptions=True):
        assert isinstance(outcome, NotFound)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30), st.integers(1, 40), st.integers(0, 8))))
def test_never_more_than_allowed(puts: list[tuple[str, int, int, int]]) -> None:
    clock = ManualClock()
    segments: Segments[str] = Segments(clock, LIMITS)
    for stream, sequence, size, later in puts:
        clock.advance(later)
        try:
            put(segments, sequence, b"x" * size, stream)
        except (Gone, Conflict, Busy):
            continue
        assert segments.get(stream, sequence).sequence == sequence
        assert segments.used_bytes <= LIMITS.total_bytes
        assert len(segments) <= LIMITS.streams
