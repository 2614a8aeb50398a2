"""The contents a study consists of, counted: what a client and a node mean by "number 17".

Every distinct content stands once, where it is first met: instances in the manifest's
order, of each first its frames, then its other pieces. Two holders of the same root count
alike, so that what one of them lacks is a bit each, not a digest each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nearframe.ids import Digest
from nearframe.wire.manifest import Manifest


class StudyContent(NamedTuple):
    """A content of a study.

    Attributes
    ----------
    entry
        Index of the first instance that has it.
    frame_index
        Which frame of that instance it is, from zero; None if it is no frame.
    """

    digest: Digest
    length: int
    entry: int
    frame_index: int | None


def contents_of(manifest: Manifest) -> list[StudyContent]:
    """Return the contents of a study; the place in the list is a content's number."""
    found: dict[Digest, StudyContent] = {}
    for content in _mentions(manifest):
        found.setdefault(content.digest, content)
    return list(found.values())


def _mentions(manifest: Manifest) -> Iterator[StudyContent]:
    for index, entry in enumerate(manifest.entries):
        for frame_index, (enc, length) in enumerate(entry.frames):
            yield StudyContent(enc, length, index, frame_index)
        for piece in entry.bulk:
            yield StudyContent(piece.digest, piece.length, index, None)


def pack_bits(numbers: Iterable[int], count: int) -> bytes:
    """Return a bitmap of `count` bits, lowest first, with those of `numbers` set."""
    bits = bytearray((count + 7) // 8)
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits)


def unpack_bits(bits: bytes, count: int) -> set[int]:
    """Return the numbers set in a bitmap; those from `count` on are left out."""
    return {number for number in range(min(count, 8 * len(bits))) if bits[number >> 3] >> (number & 7) & 1}
