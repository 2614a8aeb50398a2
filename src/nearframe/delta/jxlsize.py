"""The picture size that a JPEG XL stream says, read before a decoder may allocate it.

References
----------
ISO/IEC 18181-1 annex D (SizeHeader); ISO/IEC 18181-2 (container).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import unpack_from

from nearframe.errors import MalformedRequest

_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
#: What the encoder writes. Boxes that are compressed once more (`brob`) are not among them.
_BOXES = frozenset({b"JXL ", b"ftyp", b"jxll", b"jxlc", b"jxlp", b"jbrd", b"Exif", b"xml ", b"jumb"})
_MAX_BOXES = 64
_CODESTREAM = b"\xff\x0a"
#: Of the codestream, as far as the size of the picture.
_HEAD_BYTES = 16
#: Numerator and denominator of width / height, by SizeHeader's `ratio`.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def picture_size(packed: bytes) -> tuple[int, int]:
    """Return rows and columns of a stream, in a container or bare; raises `MalformedRequest`."""
    is_bare = packed.startswith(_CODESTREAM)
    return _dimensions(packed[:_HEAD_BYTES] if is_bare else _codestream(packed))


def _codestream(packed: bytes) -> bytes:
    """Return the beginning of the codestream."""
    for name, content in _boxes(packed):
        if name not in _BOXES:
            raise MalformedRequest("the JPEG XL stream of a recipe has a box that none of ours has")
        if name in (b"jxlc", b"jxlp"):
            start = content + (4 if name == b"jxlp" else 0)
            return packed[start : start + _HEAD_BYTES]
    raise MalformedRequest("the JPEG XL stream of a recipe has no codestream")


def _boxes(packed: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the name of each box and where its content starts."""
    if not packed.startswith(_SIGNATURE):
        raise MalformedRequest("the JPEG XL stream of a recipe is none")
    at = 0
    for _ in range(_MAX_BOXES):
        if len(packed) - at < 8:
            return
        length, name = unpack_from(">I4s", packed, at)
        yield name, at + 8
        if length < 8:
            return  # up to the end, or of 64 bits: never before a codestream of ours
        at += length


def _dimensions(codestream: bytes) -> tuple[int, int]:
    """Return rows and columns as the SizeHeader says."""
    if not codestream.startswith(_CODESTREAM):
        raise MalformedRequest("the JPEG XL stream of a recipe does not begin like one")
    bits = _Bits(codestream[2:])
    is_small = bits.take(1)
    rows = _side(bits, is_small)
    ratio = _RATIOS.get(bits.take(3))
    columns = rows * ratio[0] // ratio[1] if ratio else _side(bits, is_small)
    return rows, columns


def _side(bits: _Bits, is_small: int) -> int:
    return 8 * (bits.take(5) + 1) if is_small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


class _Bits:
    """Bits of a codestream, the lowest of each byte first; zeros behind its end."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._rest & (1 << count) - 1
        self._rest >>= count
        return value
