"""Where the frames of a value lie.

Native frames follow each other without gap (PS3.5 section 8.2). Encapsulated frames are
one or more fragments each (PS3.5 Annex A.4); which ones is said by the Extended Offset
Table, or the Basic Offset Table, or, as both may be empty or wrong, found out by counting
fragments and, where that does not decide, by the first bytes of each code stream.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from struct import unpack

from nearframe.dicom import notes
from nearframe.dicom.bulk import fragment_slices
from nearframe.dicom.element import EXTENDED_OFFSET_TABLE, DataSet, Element, Fragments
from nearframe.dicom.model import PixelDescription, Slice

_ITEM_HEADER_BYTES = 8

#: How code streams begin: JPEG and JPEG-LS, JPEG 2000 and HTJ2K, JP2, JPEG XL (twice).
_STREAM_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP", b"\xff\x0a", b"\0\0\0\x0cJXL")
_LONGEST_START = 8

#: How JPEG streams end (EOI) and JPEG 2000 streams end (EOC).
_STREAM_ENDS = (b"\xff\xd9",)

FrameSlices = list[tuple[Slice, ...]]


def native_frames(
    element: Element, pixel: PixelDescription, found: set[str], *, big_endian: bool = False
) -> FrameSlices | None:
    """Return the slice of each native frame; None if the value cannot be cut at byte boundaries."""
    frame_bits = pixel.native_frame_bits
    count = pixel.number_of_frames
    full_bits = pixel.rows * pixel.columns * pixel.samples_per_pixel * pixel.bits_allocated
    if full_bits > frame_bits and full_bits * count <= 8 * element.length:
        frame_bits = full_bits  # says YBR_FULL_422 and does not subsample
    if frame_bits * count > 8 * element.length:
        found.add(notes.FRAMES_NOT_FOUND)
        return None
    if frame_bits % 8 and count > 1:
        found.add(notes.FRAMES_NOT_ALIGNED)
        return None
    frame_bytes = -(-frame_bits // 8)
    if big_endian and element.vr == "OW" and count == 1 and frame_bytes < element.length:
        # PS3.5 Annex D: in big-endian words an odd last sample stands behind the padding.
        frame_bytes += frame_bytes % 2
    start = element.value_offset
    return [(Slice(start + index * frame_bytes, frame_bytes),) for index in range(count)]


def encapsulated_frames(
    dataset: DataSet, fragments: Fragments, number_of_frames: int, found: set[str]
) -> FrameSlices | None:
    """Return the slices of each encapsulated frame; None if they cannot be told apart."""
    count = len(fragments.starts)
    firsts = _by_offset_tables(dataset, fragments, number_of_frames, found)
    if firsts is None and number_of_frames == 1 and count:
        firsts = [0]
    if firsts is None and number_of_frames == count:
        firsts = list(range(count))
    if firsts is None and number_of_frames < count:
        firsts = _by_code_streams(dataset, fragments, number_of_frames)
    if firsts is None:
        found.add(notes.FRAMES_NOT_FOUND)
        return None
    return [fragment_slices(fragments, first, following) for first, following in pairwise([*firsts, count])]


def _by_offset_tables(
    dataset: DataSet, fragments: Fragments, number_of_frames: int, found: set[str]
) -> list[int] | None:
    """Return the first fragment of each frame as the offset tables say, or None if there is none that fits."""
    extended = dataset.by_tag.get(EXTENDED_OFFSET_TABLE)
    order = dataset.encoding.order
    if extended is not None and extended.length == 8 * number_of_frames:
        offsets: Sequence[int] = unpack(f"{order}{number_of_frames}Q", dataset.value(extended))
    elif fragments.offset_table.length:
        table = fragments.offset_table
        offsets = unpack(f"{order}{table.length // 4}L", dataset.source.read(table.offset, table.length // 4 * 4))
    else:
        return None
    firsts = _fragments_at(fragments, offsets)
    if firsts is None or len(firsts) != number_of_frames:
        found.add(notes.WRONG_OFFSET_TABLE)
        return None
    return firsts


def _fragments_at(fragments: Fragments, offsets: Sequence[int]) -> list[int] | None:
    """Map offsets, counted from the first fragment's item tag, to fragments; None if one points elsewhere."""
    starts = fragments.starts
    if not starts or not offsets or offsets[0] != 0:
        return None
    firsts = []
    for offset in offsets:
        index = bisect_left(starts, starts[0] + offset)
        if index == len(starts) or starts[index] != starts[0] + offset:
            return None
        firsts.append(index)
    return firsts if all(a < b for a, b in pairwise(firsts)) else None


def _by_code_streams(dataset: DataSet, fragments: Fragments, number_of_frames: int) -> list[int] | None:
    """Tell frames apart by where code streams begin, or else where they end."""
    read = dataset.source.read
    heads = [read(s, min(n, _LONGEST_START)) for s, n in zip(fragments.starts, fragments.lengths, strict=True)]
    firsts = [index for index, head in enumerate(heads) if head.startswith(_STREAM_STARTS)]
    if len(firsts) == number_of_frames and firsts[0] == 0:
        return firsts
    tails = [read(s + max(0, n - 3), min(n, 3)) for s, n in zip(fragments.starts, fragments.lengths, strict=True)]
    lasts = [index for index, tail in enumerate(tails) if tail.rstrip(b"\0").endswith(_STREAM_ENDS)]
    if len(lasts) == number_of_frames and lasts[-1] == len(tails) - 1:
        return [0, *(last + 1 for last in lasts[:-1])]
    return None
