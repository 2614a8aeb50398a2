"""Timed segments: short pieces of a live stream, numbered, each good for some seconds.

A stream is a ring: what comes pushes out what is oldest, by number or by bytes, and what has
outlived its time is gone. A reader may wait for the next segment and has it the moment it comes.
All is in memory, within a budget over all streams; a stream nobody feeds disappears.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nearframe.clock import Clock
from nearframe.errors import Busy, Conflict, Gone, LimitExceeded, NotFound
from nearframe.ids import Digest, sha256
from nearframe.units import MIB

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """Bounds of all streams together.

    Attributes
    ----------
    segment_bytes
        Largest segment: two seconds of 16 Mbit/s.
    stream_segments
        Segments a stream keeps: with parts of 200 ms some 20 s.
    ttl_s
        Longest life of a segment.
    ahead
        How far beyond the newest segment a reader may wait.
    """

    total_bytes: int = 64 * MIB
    segment_bytes: int = 4 * MIB
    streams: int = 256
    stream_segments: int = 100
    ttl_s: float = 60.0
    ahead: int = 2
    waiting: int = 2000


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment; `expires_at` is monotonic time."""

    sequence: int
    data: bytes
    media_type: str
    digest: Digest
    expires_at: float


@dataclass(slots=True, eq=False)
class _Stream:
    ring: deque[Segment] = field(default_factory=deque)
    #: Set, and replaced, whenever a segment comes.
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def newest(self) -> int:
        return self.ring[-1].sequence


class Segments(Generic[K]):
    """The live streams of a node, by whatever names them. For one event loop."""

    def __init__(self, clock: Clock, limits: SegmentLimits | None = None) -> None:
        self.limits = limits or SegmentLimits()
        self.used_bytes = 0
        self._clock = clock
        self._streams: dict[K, _Stream] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._streams)

    def put(self, stream: K, sequence: int, data: bytes, media_type: str, ttl_s: float) -> Segment:
        """Take a segment in; the same again changes nothing.

        Raises
        ------
        LimitExceeded
            If it is too large.
        Gone
            If later ones have come already.
        Conflict
            If other bytes came under its number.
        Busy
            If there are too many streams.
        """
        if len(data) > self.limits.segment_bytes:
            raise LimitExceeded("bytes of a segment", self.limits.segment_bytes, len(data))
        self._expire()
        known = self._streams.get(stream)
        if known is not None and sequence <= known.newest:
            return self._again(known, sequence, data)
        if known is None:
            if len(self._streams) >= self.limits.streams:
                raise Busy("too many live streams at this node; end one, or ask another node")
            known = self._streams[stream] = _Stream()
        expires_at = self._clock.monotonic() + min(ttl_s, self.limits.ttl_s)
        segment = Segment(sequence, data, media_type, sha256(data), expires_at)
        known.ring.append(segment)
        self.used_bytes += len(data)
        self._make_room(known)
        came, known.came = known.came, asyncio.Event()
        came.set()
        return segment

    def get(self, stream: K, sequence: int) -> Segment:
        """Return a segment that is here.

        Raises
        ------
        Gone
            If it has been here, or later ones are.
        NotFound
            If it has not come yet, or there is no such stream.
        """
        self._expire()
        known = self._streams.get(stream)
        if known is None or sequence > known.newest:
            raise NotFound("segment yet" if known is not None else "live stream")
        for segment in known.ring:
            if segment.sequence == sequence:
                return segment
        raise Gone("this segment has outlived its time: go on with a later one")

    async def wait(self, stream: K, sequence: int, wait_s: float) -> Segment:
        """Return a segment, waiting for it if it is one of the next; raises as `get` does.

        Raises
        ------
        Busy
            If too many wait already.
        """
        if self._waiting >= self.limits.waiting:
            raise Busy("too many wait for segments; try again")
        self._waiting += 1
        try:
            async with asyncio.timeout(wait_s):
                while (known := self._streams.get(stream)) is not None and (
                    known.newest < sequence <= known.newest + self.limits.ahead
                ):
                    await known.came.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1
        return self.get(stream, sequence)

    def numbers(self, stream: K) -> tuple[int, int]:
        """Return the first and the last sequence that are here; raises `NotFound`."""
        self._expire()
        known = self._streams.get(stream)
        if known is None:
            raise NotFound("live stream")
        return known.ring[0].sequence, known.newest

    def _again(self, stream: _Stream, sequence: int, data: bytes) -> Segment:
        for segment in stream.ring:
            if segment.sequence == sequence:
                if segment.data != data:
                    raise Conflict("another segment came under this number")
                return segment
        raise Gone("later segments have come: number this one after them")

    def _make_room(self, newest: _Stream) -> None:
        while len(newest.ring) > self.limits.stream_segments:
            self._drop_oldest(newest)
        while self.used_bytes > self.limits.total_bytes:
            # The stream that takes most gives most: a stream of large pieces does not put out the small ones.
            largest = max(self._streams.values(), key=lambda stream: sum(len(one.data) for one in stream.ring))
            self._drop_oldest(largest)
            self._forget_empty()

    def _expire(self) -> None:
        now = self._clock.monotonic()
        for stream in self._streams.values():
            while stream.ring and stream.ring[0].expires_at <= now:
                self._drop_oldest(stream)
        self._forget_empty()

    def _drop_oldest(self, stream: _Stream) -> None:
        self.used_bytes -= len(stream.ring.popleft().data)

    def _forget_empty(self) -> None:
        for name in [name for name, stream in self._streams.items() if not stream.ring]:
            self._streams.pop(name).came.set()  # whoever waits learns that it has ended
