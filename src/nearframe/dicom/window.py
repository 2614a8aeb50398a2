"""Reading a source in blocks while walking over it, never through the large values."""

from __future__ import annotations

from typing import Protocol, cast

from nearframe.dicom.model import Source
from nearframe.errors import LimitExceeded, MalformedDICOM
from nearframe.units import KIB, MIB

#: The header of a classic image fits the first block; each further block doubles. Elements are counted
#: between blocks, so the last figure also bounds by how much their limit can be passed unnoticed.
FIRST_BLOCK_BYTES = 64 * KIB
MAX_BLOCK_BYTES = MIB

#: After a jump over a large value little is left as a rule: a few elements, or padding.
PROBE_BYTES = 4 * KIB

#: Reading over a gap of this size costs less than losing what is contiguous.
MAX_GAP_BYTES = 64 * KIB


class SparseSource(Protocol):
    """A source of which some ranges are elsewhere: a header without its frames."""

    def readable(self, offset: int) -> int:
        """Return how many bytes can be read at `offset`; 0 inside a hole."""
        ...


class Window:
    """The part of a source that the walker looks at.

    Attributes
    ----------
    data, start
        The bytes in view, and where in the source they begin.
    head
        What was read without a jump from the beginning of the source: the small values of
        most objects, which are wanted again after parsing.
    """

    __slots__ = ("_block", "_budget", "_max_bytes", "_source", "_sparse", "data", "head", "size", "start")

    def __init__(self, source: Source, max_bytes: int) -> None:
        self._source = source
        # Asked by name: isinstance with a protocol takes 50 µs for each object taken in.
        self._sparse: SparseSource | None = cast(SparseSource, source) if hasattr(source, "readable") else None
        self._max_bytes = self._budget = max_bytes
        self._block = FIRST_BLOCK_BYTES // 2
        self.size = source.size
        self.start = 0
        self.data = self.head = b""

    def cover(self, offset: int, length: int) -> None:
        """Move so that `data` holds `length` bytes at `offset`, or what the source has there.

        Raises
        ------
        LimitExceeded
            If more has been read than a header may have.
        MalformedDICOM
            If a sparse source holds nothing there.
        """
        stop = min(offset + length, self.size)
        end = self.start + len(self.data)
        if self.start <= offset and stop <= end:
            return
        if self.start <= offset and self._is_near(end, offset, stop):
            self._block = min(2 * self._block, MAX_BLOCK_BYTES)
            kept = self.start if self.start == 0 else min(offset, end)
            self.data = self.data[kept - self.start :] + self._fetch(end, stop - end)
            self.start = kept
        else:
            self._block = PROBE_BYTES
            self.data, self.start = self._fetch(offset, stop - offset), offset
        if self.start == 0:
            self.head = self.data

    def holds(self, offset: int) -> bool:
        """Return False inside a hole of a sparse source."""
        return self._sparse is None or self._sparse.readable(offset) > 0

    def peek(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset` without moving: for the item tags between fragments."""
        at = offset - self.start
        if at >= 0 and at + length <= len(self.data):
            return self.data[at : at + length]
        return self._source.read(offset, length)

    def _is_near(self, end: int, offset: int, stop: int) -> bool:
        return offset - end <= MAX_GAP_BYTES and self._readable(end) >= stop - end

    def _fetch(self, offset: int, needed: int) -> bytes:
        available = self._readable(offset)
        if available == 0 and needed:
            raise MalformedDICOM("these bytes are not held here", offset=offset)
        length = min(available, max(needed, min(self._block, self._budget)))
        self._budget -= length
        if self._budget < 0:
            raise LimitExceeded("max_header_bytes", self._max_bytes)
        return self._source.read(offset, length)

    def _readable(self, offset: int) -> int:
        return self.size - offset if self._sparse is None else self._sparse.readable(offset)
