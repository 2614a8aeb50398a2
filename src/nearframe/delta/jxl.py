"""`jxl`: a lossy JPEG stream packed again by JPEG XL, which gives the very same JPEG back.

Between nodes only: no DICOMweb viewer is sent this. Bytes behind the end of the JPEG
stream (padding, the rest of an old buffer) follow it as they are; the parameter says how
many they are.

References
----------
ISO/IEC 18181-2 (container and JPEG reconstruction); ISO/IEC 18181-1 annex D (SizeHeader).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import unpack_from

import imagecodecs

from nearframe.delta.frame import Frame, FrameForm
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import check_limits
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe, Operation

_EOI = b"\xff\xd9"
_SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
#: What the encoder writes. Boxes that are compressed once more (`brob`) are not among them.
_BOXES = frozenset({b"JXL ", b"ftyp", b"jxll", b"jxlc", b"jxlp", b"jbrd", b"Exif", b"xml ", b"jumb"})
_MAX_BOXES = 64
#: Numerator and denominator of width / height, by SizeHeader's `ratio`.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def is_jpeg(form: FrameForm) -> bool:
    """Return True if frames of this transfer syntax can be packed."""
    syntax = ts.transfer_syntax(form.transfer_syntax_uid)
    return (syntax.codec, syntax.loss) == (ts.Codec.JPEG, ts.Loss.LOSSY)


def encode(target: Frame) -> FrameRecipe | None:
    """Return the recipe, or None if the frame is no JPEG that JPEG XL can give back."""
    if target.form.pixel is None or not is_jpeg(target.form):
        return None
    end = target.encoded.rfind(_EOI) + len(_EOI)
    try:
        packed = bytes(imagecodecs.jpegxl_encode_jpeg(target.encoded[:end], numthreads=1))
    except (RuntimeError, ValueError):
        return None
    tail = target.encoded[end:]
    return FrameRecipe(Operation.JXL, (), (len(tail),), packed + tail)


def decode(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the JPEG stream and what stood behind it."""
    if len(recipe.parameters) != 1 or not 0 <= recipe.parameters[0] < min(len(recipe.payload), target.length):
        raise MalformedRequest("a JPEG XL recipe says how many bytes follow the stream, and has a stream")
    end = len(recipe.payload) - recipe.parameters[0]
    packed, tail = recipe.payload[:end], recipe.payload[end:]
    _check_size(packed, target)
    try:
        # Told how long the result is, the codec takes no more memory for it.
        stream = imagecodecs.jpegxl_decode_jpeg(packed, numthreads=1, out=target.length - len(tail))
    except (RuntimeError, ValueError) as error:
        raise MalformedRequest("the JPEG XL stream of a recipe gives no JPEG of this length back") from error
    return bytes(stream) + tail


def _check_size(packed: bytes, target: FrameForm) -> None:
    """Refuse a stream of another picture size before the decoder may allocate it."""
    if target.pixel is None:
        raise MalformedRequest("a JPEG XL recipe for a frame that is no picture")
    check_limits(target.pixel)
    found = _dimensions(_codestream(packed))
    if found != (target.pixel.rows, target.pixel.columns):
        raise MalformedRequest("the JPEG XL stream of a recipe has another picture size than the frame")


def _codestream(packed: bytes) -> bytes:
    """Return the beginning of the codestream."""
    for name, content in _boxes(packed):
        if name not in _BOXES:
            raise MalformedRequest("the JPEG XL stream of a recipe has a box that none of ours has")
        if name in (b"jxlc", b"jxlp"):
            start = content + (4 if name == b"jxlp" else 0)
            return packed[start : start + 16]
    raise MalformedRequest("the JPEG XL stream of a recipe has no codestream")


def _boxes(packed: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the name of each box and where its content starts."""
    if not packed.startswith(_SIGNATURE):
        raise MalformedRequest("the JPEG XL stream of a recipe is in no container")
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
    if not codestream.startswith(b"\xff\x0a"):
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
