"""What a retrieval gives: bytes of known extent, opened only where they are wanted.

A body is a row of segments. Each can be read from any offset, so a range of a multipart
answer or of a whole file costs only the contents that the range touches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from nearframe.units import MIB

#: Slices of bytes in memory are handed on in pieces of this size, so that a slow client holds little.
CHUNK_BYTES = MIB


class Segment(Protocol):
    """A stretch of a body.

    Attributes
    ----------
    length
        In bytes, or None if that shows only while it is made: then it is read from its
        beginning to its end.
    """

    @property
    def length(self) -> int | None: ...

    def open(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        """Yield bytes ``start:stop``, in chunks of bounded size."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes in memory."""

    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    async def open(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        stop = len(self.data) if stop is None else stop
        if (start, stop) == (0, len(self.data)) and stop <= CHUNK_BYTES:
            yield self.data
            return
        for at in range(start, stop, CHUNK_BYTES):
            yield self.data[at : min(at + CHUNK_BYTES, stop)]


#: ``(start, stop)`` to the bytes between.
Opener: TypeAlias = Callable[[int, int | None], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Streamed:
    """Bytes made or fetched when they are read."""

    length: int | None
    opener: Opener

    def open(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        return self.opener(start, stop)


@dataclass(frozen=True, slots=True)
class Body:
    """Segments, one after the other."""

    segments: Sequence[Segment]

    @classmethod
    def of(cls, *data: bytes) -> Body:
        """Return a body of bytes in memory."""
        return cls([Held(part) for part in data])

    @property
    def size(self) -> int | None:
        """Bytes of the whole, or None if a segment does not know its own."""
        total = 0
        for segment in self.segments:
            if segment.length is None:
                return None
            total += segment.length
        return total

    async def open(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yield bytes ``start:stop``. A body without a size can be read only as a whole."""
        if self.size is None:
            for segment in self.segments:
                async for chunk in segment.open(0, None):
                    yield chunk
            return
        at = 0
        for segment in self.segments:
            length = segment.length or 0
            first, last = max(start - at, 0), length if stop is None else min(stop - at, length)
            if first < last:
                async for chunk in segment.open(first, last):
                    yield chunk
            at += length

    async def read(self) -> bytes:
        """Return the whole; for bodies known to be small."""
        return b"".join([chunk async for chunk in self.open()])
