"""What is left of a frame once it is predicted: small numbers, coded like a picture.

Differences wrap in the width of a sample, so the sum gives the sample back whatever was
predicted. They are moved to begin at zero and kept in bytes where they fit.

Parameters, the first three of every recipe with a residual: coding, bits of a kept
difference (8 or 16), and the smallest difference.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nearframe.delta.coding import decode_samples, described, encode_samples
from nearframe.delta.frame import FrameForm, Words, check_rebuildable, from_words, unsigned
from nearframe.delta.rates import Rates
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.errors import MalformedRequest

#: A predicted value of each sample.
Prediction = npt.NDArray[np.int64]

RESIDUAL_PARAMETERS = 3


def encode_residual(
    samples: Samples, prediction: Prediction, pixel: PixelDescription, rates: Rates
) -> tuple[tuple[int, int, int], bytes]:
    """Return the three parameters and the payload that turn `prediction` into `samples`."""
    residual = samples - prediction
    smallest, largest = int(residual.min()), int(residual.max())
    bits = 8 if largest - smallest < 256 else pixel.bits_allocated
    if largest - smallest >= 1 << bits:
        smallest = -(1 << bits - 1)  # more than a sample's width: it wraps
    kept = (residual - smallest).astype(f"<u{bits // 8}")
    coding, payload = encode_samples(kept, _description(pixel, bits), rates)
    return (coding, bits, smallest), payload


def decode_residual(parameters: tuple[int, ...], payload: bytes, prediction: Prediction, target: FrameForm) -> bytes:
    """Return the frame that `encode_residual` was given.

    Raises
    ------
    MalformedRequest, MalformedDICOM, LimitExceeded
        If the payload is none for this frame.
    """
    pixel = check_rebuildable(target)
    coding, bits, smallest = parameters[:RESIDUAL_PARAMETERS]
    if bits not in (8, pixel.bits_allocated):
        raise MalformedRequest(f"a residual of {bits} bits for samples of {pixel.bits_allocated}")
    kept = decode_samples(coding, payload, _description(pixel, bits))
    # Unsigned from here on: what is added wraps, and the width of a sample is all that stays.
    wrapped = prediction.view(np.uint64) + np.uint64(smallest % (1 << 64)) + kept
    words: Words = unsigned(wrapped.astype(f"<u{pixel.bits_allocated // 8}"))
    return from_words(words, target)


def _description(pixel: PixelDescription, bits: int) -> PixelDescription:
    # Of colour the residuals are as little alike as the samples: the transform of RGB helps them as well.
    return described(pixel.rows, pixel.columns, pixel.samples_per_pixel, bits, pixel.photometric_interpretation)
