"""Bit-packed frames, aligned when they are read."""

from __future__ import annotations

import pytest

from nearframe.dicom.bitpacked import AlignedFrames
from nearframe.dicom.model import PixelDescription, Slice
from nearframe.dicom.source import BytesSource
from nearframe.errors import MalformedDICOM

# Three frames of 3 x 5 pixels: 15 bits each, 45 in all, behind two bytes of something else.
FRAMES = (0x7ABC, 0x0001, 0x4000)
VALUE = (FRAMES[0] | FRAMES[1] << 15 | FRAMES[2] << 30).to_bytes(6, "little")
BASE = BytesSource(b"xx" + VALUE)
PIXEL = PixelDescription(3, 5, 1, 1, 1, 0, 0, "MONOCHROME2", number_of_frames=3)
ALIGNED = b"".join(frame.to_bytes(2, "little") for frame in FRAMES)


def test_every_range_behind_the_base_reads_aligned_frames() -> None:
    source = AlignedFrames(BASE, Slice(2, 6), PIXEL)
    assert source.size == BASE.size + len(ALIGNED)
    for start in range(len(ALIGNED)):
        for stop in range(start, len(ALIGNED) + 1):
            assert source.read(BASE.size + start, stop - start) == ALIGNED[start:stop]


def test_the_base_reads_as_it_is() -> None:
    source = AlignedFrames(BASE, Slice(2, 6), PIXEL)
    assert source.read(0, BASE.size) == b"xx" + VALUE
    assert [one for (one,) in source.slices()] == [Slice(8, 2), Slice(10, 2), Slice(12, 2)]


def test_beyond_the_end() -> None:
    with pytest.raises(MalformedDICOM):
        AlignedFrames(BASE, Slice(2, 6), PIXEL).read(12, 4)
