"""Samples in lossless JPEG XL: the fewest bytes for a slice, and the most work.

Between nodes only: viewers are sent HTJ2K. Against JPEG-LS it took 2-4 % off MR and 8 % off
CT, for three times the work at either end; beyond `_EFFORT` the next per cent costs three
times as much again.
"""

from __future__ import annotations

from typing import Final

import imagecodecs
import numpy as np

from nearframe.delta.jxlsize import picture_size
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, frame_shape, sample_dtype
from nearframe.errors import MalformedRequest

_EFFORT: Final = 3


def encode_jpeg_xl(samples: Samples, pixel: PixelDescription) -> bytes:
    """Return unsigned samples as a stream; raises `RuntimeError` or `ValueError` where it takes none such."""
    photometric = "rgb" if pixel.samples_per_pixel == 3 else "gray"
    return bytes(
        imagecodecs.jpegxl_encode(samples, lossless=True, effort=_EFFORT, photometric=photometric, numthreads=1)
    )


def decode_jpeg_xl(data: bytes, pixel: PixelDescription) -> Samples:
    """Return the samples that `encode_jpeg_xl` was given.

    Raises
    ------
    MalformedRequest
        If `data` does not hold just these.
    """
    if picture_size(data) != (pixel.rows, pixel.columns):
        raise MalformedRequest("the JPEG XL samples of a recipe have another picture size than they should")
    samples = np.empty(frame_shape(pixel), sample_dtype(pixel))
    try:
        found = imagecodecs.jpegxl_decode(data, numthreads=1, out=samples)
    except (RuntimeError, ValueError) as error:
        raise MalformedRequest("the JPEG XL samples of a recipe cannot be decoded") from error
    if found.shape != samples.shape or found.dtype != samples.dtype:
        raise MalformedRequest("the JPEG XL samples of a recipe are of another kind than they should be")
    return samples
