"""`jxl`: a lossy JPEG stream packed again by JPEG XL, which gives the very same JPEG back.

Between nodes only: no DICOMweb viewer is sent this. Bytes behind the end of the JPEG
stream (padding, the rest of an old buffer) follow it as they are; the parameter says how
many they are.

References
----------
ISO/IEC 18181-2 (container and JPEG reconstruction).
"""

from __future__ import annotations

from collections.abc import Sequence

import imagecodecs

from nearframe.delta.frame import Frame, FrameForm
from nearframe.delta.jxlsize import picture_size
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import check_limits
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe, Operation

_EOI = b"\xff\xd9"


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
    found = picture_size(packed)
    if found != (target.pixel.rows, target.pixel.columns):
        raise MalformedRequest("the JPEG XL stream of a recipe has another picture size than the frame")
