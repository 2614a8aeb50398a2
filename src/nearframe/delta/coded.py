"""`coded`: the samples of a native frame in a lossless codec. `plain`: the bytes as they are.

Neither needs a base. Parameters of `coded`: coding (`coding.py`), bits of a kept sample
(8 where all samples lie within 256 values, else those allocated), and what was taken off
each sample. A kept HTJ2K rendition is the payload with its own bits and nothing taken off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearframe.delta.coding import Coding, decode_samples, described, encode_samples
from nearframe.delta.frame import Frame, FrameForm, Words, check_rebuildable, from_words, unsigned
from nearframe.delta.rates import Rates
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe, Operation


def encode(target: Frame, rates: Rates, *, progressive: bool = False) -> FrameRecipe | None:
    """Return the recipe, or None for a frame that is compressed already or has no such samples."""
    pixel = target.form.pixel
    if not target.form.is_native or target.target_samples is None or pixel is None:
        return None
    kept, smallest = narrowed(target.target_samples)
    bits = 8 * kept.itemsize
    coding, payload = encode_samples(kept, _description(pixel, bits), rates, progressive=progressive)
    return FrameRecipe(Operation.CODED, (), (coding, bits, smallest), payload)


def of_rendition(htj2k: bytes, pixel: PixelDescription) -> FrameRecipe:
    """Return the recipe whose payload is an HTJ2K rendition that the sender keeps beside the frame."""
    return FrameRecipe(Operation.CODED, (), (Coding.HTJ2K, pixel.bits_allocated, 0), htj2k)


def decode(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the frame in its own layout."""
    pixel = check_rebuildable(target)
    if len(recipe.parameters) != 3:
        raise MalformedRequest("a coded recipe has three parameters")
    coding, bits, smallest = recipe.parameters
    if bits not in (8, pixel.bits_allocated):
        raise MalformedRequest(f"coded samples of {bits} bits for {pixel.bits_allocated} allocated")
    kept = unsigned(decode_samples(coding, recipe.payload, _description(pixel, bits)))
    words = kept.astype(f"<u{pixel.bits_allocated // 8}", copy=False)
    if smallest:
        words = words + words.dtype.type(smallest % (1 << pixel.bits_allocated))
    return from_words(words, target)


def narrowed(samples: Samples) -> tuple[Words, int]:
    """Return samples without sign, in bytes if they fit, and what was taken off each for that."""
    smallest, largest = int(samples.min()), int(samples.max())
    fits_byte = largest - smallest < 256 and samples.itemsize > 1
    if samples.dtype.kind == "u" and not fits_byte:
        return samples, 0
    width = 1 if fits_byte else samples.itemsize
    return (samples.astype(np.int32) - smallest).astype(f"<u{width}"), smallest


def plain(target: Frame) -> FrameRecipe:
    """Return the frame itself."""
    return FrameRecipe(Operation.PLAIN, payload=target.encoded)


def decode_plain(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the payload."""
    if len(recipe.payload) != target.length:
        raise MalformedRequest(f"a plain recipe of {len(recipe.payload)} bytes for a frame of {target.length}")
    return recipe.payload


def _description(pixel: PixelDescription, bits: int) -> PixelDescription:
    photometric = pixel.photometric_interpretation
    return described(pixel.rows, pixel.columns, pixel.samples_per_pixel, bits, photometric)
