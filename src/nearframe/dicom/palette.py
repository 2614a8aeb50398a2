"""Palette colour: stored indices to RGB (PS3.3 C.7.6.3.1.5, C.7.9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nearframe.dicom.native import Samples
from nearframe.errors import MalformedDICOM

#: Number of Table Entries 0 means this many (PS3.3 C.7.6.3.1.5).
MAX_ENTRIES = 65_536
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
#: An indirect segment repeats earlier ones: without a bound a few bytes would fill memory.
_MAX_SEGMENTS = 65_536


@dataclass(frozen=True, eq=False, slots=True)
class Palette:
    """A colour table: entry 0 belongs to stored value `first`."""

    colours: npt.NDArray[np.uint8]
    first: int

    def apply(self, indices: Samples) -> npt.NDArray[np.uint8]:
        """Return RGB; indices outside the table get its first or last entry."""
        index = np.clip(indices.astype(np.int64) - self.first, 0, len(self.colours) - 1)
        return self.colours[index]


def palette_of(descriptor: tuple[int, int, int], red: bytes, green: bytes, blue: bytes) -> Palette:
    """Return the palette of three tables as they are stored.

    Parameters
    ----------
    descriptor
        Number of entries, first stored value, bits of an entry: 8 or 16.
    """
    entries, first, bits = descriptor
    planes = [channel(table, entries or MAX_ENTRIES, bits) for table in (red, green, blue)]
    length = min(len(plane) for plane in planes)
    return Palette(np.stack([plane[:length] for plane in planes], axis=1), first)


def channel(table: bytes, entries: int, bits: int) -> npt.NDArray[np.uint8]:
    """Return one table as 8-bit display values.

    16-bit entries keep their upper byte. Some writers put 8-bit values into 16-bit
    entries: then no upper byte is set, and the lower one is meant.
    """
    if bits == 8 and len(table) < 2 * entries:
        return np.frombuffer(table, np.uint8)[:entries]
    words = np.frombuffer(table, "<u2", len(table) // 2)[:entries]
    if not words.size:
        raise MalformedDICOM("palette has no entries")
    return (words if words.max() < 256 else words >> 8).astype(np.uint8)


def expand_segments(data: bytes, entries: int) -> bytes:
    """Expand a segmented table of 16-bit entries (PS3.3 C.7.9.2) to `entries` of them.

    Raises
    ------
    MalformedDICOM
        If a segment is incomplete, or the table would become longer than it says.
    """
    words = np.frombuffer(data, "<u2", len(data) // 2).tolist()
    expander = _Expander(words, entries)
    at = 0
    while at < len(words) - 1:
        at = expander.segment(at)
    return np.array(expander.out[:entries], "<u2").tobytes()


class _Expander:
    def __init__(self, words: list[int], entries: int) -> None:
        self._words = words
        self._entries = entries
        self._segments = 0
        self.out: list[int] = []

    def segment(self, at: int, *, inside_indirect: bool = False) -> int:
        """Expand the segment at word `at`; return where the next one begins."""
        self._segments += 1
        opcode, length = self._take(at, 2)
        if self._segments > _MAX_SEGMENTS or len(self.out) + length > MAX_ENTRIES:
            raise MalformedDICOM("segmented palette is longer than a palette can be")
        if opcode == _DISCRETE:
            self.out += self._take(at + 2, length)
            return at + 2 + length
        if opcode == _LINEAR and self.out:
            (last,) = self._take(at + 2, 1)
            steps = np.linspace(self.out[-1], last, length + 1)[1:]
            self.out += np.rint(steps).astype(int).tolist()
            return at + 3
        if opcode == _INDIRECT and not inside_indirect:
            low, high = self._take(at + 2, 2)
            source = (low | high << 16) // 2  # a byte offset
            for _ in range(length):
                source = self.segment(source, inside_indirect=True)
            return at + 4
        raise MalformedDICOM("segmented palette has a segment of unknown kind")

    def _take(self, at: int, count: int) -> list[int]:
        words = self._words[at : at + count]
        if len(words) != count:
            raise MalformedDICOM("segmented palette is cut short")
        return words
