"""Frames of one bit a pixel, each moved to a byte boundary.

PS3.5 section 8.2 packs native frames without padding, so that with 50 x 50 pixels the
second frame begins in the middle of a byte. A reader of single frames needs them apart.
"""

from __future__ import annotations

from nearframe.dicom.model import PixelDescription, Slice, Source
from nearframe.errors import MalformedDICOM


class AlignedFrames:
    """A source with the aligned frames of a bit-packed value behind the bytes it lies in.

    Offsets below ``base.size`` are those of `base`; the frames follow, all of the same
    length. They are computed when read.
    """

    __slots__ = ("_base", "_frame_bits", "_frame_bytes", "_number_of_frames", "_value", "size")

    def __init__(self, base: Source, value: Slice, pixel: PixelDescription) -> None:
        self._base = base
        self._value = value
        self._frame_bits = pixel.native_frame_bits
        self._frame_bytes = -(-self._frame_bits // 8)
        self._number_of_frames = pixel.number_of_frames
        self.size = base.size + self._frame_bytes * self._number_of_frames

    def slices(self) -> list[tuple[Slice, ...]]:
        """Return where each frame is, in frame order."""
        start, length = self._base.size, self._frame_bytes
        return [(Slice(start + index * length, length),) for index in range(self._number_of_frames)]

    def read(self, offset: int, length: int) -> bytes:
        if offset < self._base.size or length == 0:
            return self._base.read(offset, length)
        if offset + length > self.size:
            raise MalformedDICOM("the object ends inside a value", offset=offset)
        first, skipped = divmod(offset - self._base.size, self._frame_bytes)
        last = (offset - self._base.size + length - 1) // self._frame_bytes
        frames = b"".join(self._frame(index) for index in range(first, last + 1))
        return frames[skipped : skipped + length]

    def _frame(self, frame_index: int) -> bytes:
        # PS3.5 section 8.1.1: the first pixel is the least significant bit of the first byte.
        start, shift = divmod(frame_index * self._frame_bits, 8)
        stop = -(-(frame_index + 1) * self._frame_bits // 8)
        bits = int.from_bytes(self._base.read(self._value.offset + start, stop - start), "little") >> shift
        return (bits & (1 << self._frame_bits) - 1).to_bytes(self._frame_bytes, "little")
