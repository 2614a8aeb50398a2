"""A frame as both nodes know it, and as samples: what every operation works on.

The bytes that have to come out are those of the frame as stored. Operations work on
samples, so they need a way back: a frame can take part as a target if its samples, written
again (`bytes_of`), give its exact bytes. For native frames that is a matter of layout:
byte order, colour by plane or by pixel. For compressed frames it is true where they come
from the encoder we have, with the settings we use; nobody relies on that, the digest tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import check_limits, decode_frame, is_reversible
from nearframe.dicom.encoders import ENCODERS
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, byteswapped, encode_native, frame_shape, sample_dtype
from nearframe.errors import IntegrityError, MalformedRequest, RequestError
from nearframe.ids import Digest, sha256

#: Returns the bytes of a frame by its `enc`, or raises NotFound. Called from worker threads.
ReadFrame: TypeAlias = Callable[[Digest], bytes]

#: Samples without their sign: what tables are indexed by and differences wrap in.
Words = npt.NDArray[np.unsignedinteger[Any]]

#: One bit, 32 bits and four samples a pixel have no lossless codec here.
_BITS_ALLOCATED = (8, 16)
_SAMPLES_PER_PIXEL = (1, 3)

# Encoders that give back what they or their like wrote, and are quick enough to find out: OpenJPEG is not.
_REPEATABLE = frozenset(
    {
        ts.RLELossless,
        ts.HTJ2KLosslessRPCL,
        ts.HTJ2KLossless,
        ts.HTJ2K,
        ts.JPEGLSLossless,
        ts.JPEGLosslessSV1,
        ts.JPEGLossless,
    }
)


@dataclass(frozen=True, slots=True)
class FrameForm:
    """What both nodes know of a frame before a byte of it moves; a manifest says it.

    Attributes
    ----------
    enc, length
        SHA-256 and number of the encoded bytes.
    pixel
        None where there is no picture: such a frame travels whole, or is there already.
    """

    enc: Digest
    length: int
    transfer_syntax_uid: str
    pixel: PixelDescription | None

    @property
    def is_native(self) -> bool:
        return ts.transfer_syntax(self.transfer_syntax_uid).codec is ts.Codec.NATIVE


class Frame:
    """A frame that is held here: read once, decoded once, and only when somebody asks.

    Parameters
    ----------
    read
        Gives the bytes that `form.enc` names.
    """

    def __init__(self, form: FrameForm, read: ReadFrame) -> None:
        self.form = form
        self._read = read

    @cached_property
    def encoded(self) -> bytes:
        """The stored bytes.

        Raises
        ------
        IntegrityError
            If the store gives another number of bytes than the manifest says.
        """
        encoded = self._read(self.form.enc)
        if len(encoded) != self.form.length:
            raise IntegrityError(f"a frame has {len(encoded)} bytes, its manifest says {self.form.length}")
        return encoded

    @cached_property
    def samples(self) -> Samples | None:
        """The exact samples, or None where there are none that every decoder agrees on."""
        return samples_of(self.encoded, self.form)

    @cached_property
    def words(self) -> Words | None:
        """`samples` without their sign."""
        return None if self.samples is None else unsigned(self.samples)

    @cached_property
    def target_samples(self) -> Samples | None:
        """The exact samples if the stored bytes come out of them again, else None."""
        if self.samples is None or not can_rebuild(self.form):
            return None
        try:
            rebuilt = bytes_of(self.samples, self.form)
        except RequestError:
            return None
        return self.samples if sha256(rebuilt) == self.form.enc else None


def samples_of(encoded: bytes, form: FrameForm) -> Samples | None:
    """Return the exact samples of a frame of 8 or 16 bits, or None if it has none."""
    pixel = form.pixel
    if pixel is None or not _has_words(pixel):
        return None
    try:
        if not is_reversible(encoded, form.transfer_syntax_uid, pixel):
            return None
        return decode_frame(encoded, form.transfer_syntax_uid, pixel)
    except RequestError:
        return None


def can_rebuild(form: FrameForm) -> bool:
    """Return True if frames like this may come out of their samples again: worth a try, no more."""
    pixel = form.pixel
    if pixel is None or not _has_words(pixel):
        return False
    if form.is_native:
        return form.length * 8 == pixel.rows * pixel.columns * pixel.samples_per_pixel * pixel.bits_allocated
    return form.transfer_syntax_uid in _REPEATABLE


def _has_words(pixel: PixelDescription) -> bool:
    """Return True if every operation and every payload codec handles samples like these."""
    is_whole = pixel.vr not in ("OF", "OD")
    return is_whole and pixel.bits_allocated in _BITS_ALLOCATED and pixel.samples_per_pixel in _SAMPLES_PER_PIXEL


def check_rebuildable(form: FrameForm) -> PixelDescription:
    """Return the pixel description of a frame that a recipe wants to make from samples.

    Raises
    ------
    MalformedRequest, MalformedDICOM, LimitExceeded
        If no such frame can be: found out before memory is spent.
    """
    if form.pixel is None or not can_rebuild(form):
        raise MalformedRequest("the recipe makes samples, and this frame cannot be made from samples")
    check_limits(form.pixel)
    return form.pixel


def bytes_of(samples: Samples, form: FrameForm) -> bytes:
    """Return samples as a frame like `form`: in its layout, or by the encoder we have for it."""
    pixel = check_rebuildable(form)
    syntax = ts.transfer_syntax(form.transfer_syntax_uid)
    if syntax.codec is not ts.Codec.NATIVE:
        return _encoded(samples, form.transfer_syntax_uid, pixel)
    native = encode_native(samples, pixel)
    return byteswapped(native, pixel) if syntax.big_endian_pixels else native


def _encoded(samples: Samples, transfer_syntax_uid: str, pixel: PixelDescription) -> bytes:
    try:
        return ENCODERS[transfer_syntax_uid](samples, pixel)
    except (RuntimeError, ValueError) as error:
        raise MalformedRequest("the samples of a recipe cannot be encoded as the frame is") from error


def from_words(words: Words, form: FrameForm) -> bytes:
    """Return the frame whose samples, without their sign, are `words`."""
    pixel = check_rebuildable(form)
    dtype = sample_dtype(pixel)
    kept = np.ascontiguousarray(words.astype(f"<u{dtype.itemsize}", copy=False))
    return bytes_of(kept.view(dtype).reshape(frame_shape(pixel)), form)


def base_samples(frame: Frame, target: PixelDescription) -> Samples:
    """Return the samples of a base whose picture has the shape of the target's.

    Raises
    ------
    MalformedRequest
        If it has another shape, or no exact samples.
    """
    pixel = frame.form.pixel
    if pixel is None or frame_shape(pixel) != frame_shape(target):
        raise MalformedRequest("a base of the recipe has another shape than the frame")
    if frame.samples is None:
        raise MalformedRequest("a base of the recipe has no exact samples")
    return frame.samples


def unsigned(samples: Samples) -> Words:
    """Return samples without their sign, not copied if they are contiguous."""
    return np.ascontiguousarray(samples).view(f"<u{samples.itemsize}")
