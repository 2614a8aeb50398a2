"""A 256-bit hash of what a frame looks like: nearby hashes, similar pictures.

The lowest 16 x 16 frequencies (without the mean) of the 64 x 64 brightness picture, each
one bit: above the median or not. The family is that of PDQ (Facebook, 2019); window,
filter, quality measure and code are ours, and hashes of the two are not comparable.

It is a coarse picture of a patient, so it is PHI: it stays on trusted nodes, encrypted,
and never enters a URL, a log line or a manifest. And it decides nothing: a lesion of 7 mm
leaves it unchanged (see `sameness` for what decides).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.dicom.targets import decoded_description
from nearframe.perceptual.luminance import SIDE, Plane, luminance

HASH_BYTES = 32
_FREQUENCIES = 16
#: Mean step of brightness between neighbours (of 64 x 64, brightness 0 to 1) that counts as full quality.
FULL_QUALITY_STEP = 0.05


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """The hash of one frame.

    Attributes
    ----------
    quality
        0 to 100: how much there is to see. Below `candidates.MIN_QUALITY` a frame is too
        featureless to be found by its hash.
    """

    bits: bytes
    quality: int


def hash_frame(samples: Samples, pixel: PixelDescription, parameters: RenderParameters) -> PerceptualHash:
    """Hash decoded samples.

    Parameters
    ----------
    samples, pixel
        As `codecs.decode_frame` and `codecs.decoded_description` give them.

    Raises
    ------
    NotAcceptable
        If the frame has no brightness we know of.
    """
    plane = luminance(samples, pixel, parameters)
    frequencies = _COSINES @ plane @ _COSINES.T
    bits = frequencies > np.median(frequencies)
    return PerceptualHash(np.packbits(bits).tobytes(), _quality(plane))


def hash_encoded_frame(
    encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription, parameters: RenderParameters
) -> PerceptualHash:
    """Decode a frame at full resolution and hash it.

    Raises
    ------
    NotAcceptable, MalformedDICOM, LimitExceeded
        As `codecs.decode_frame`.
    """
    samples = decode_frame(encoded, transfer_syntax_uid, pixel)
    return hash_frame(samples, decoded_description(transfer_syntax_uid, pixel), parameters)


def _quality(plane: Plane) -> int:
    step = (np.abs(np.diff(plane, axis=0)).mean() + np.abs(np.diff(plane, axis=1)).mean()) / 2
    return min(100, round(100 * float(step) / FULL_QUALITY_STEP))


def _cosines() -> Plane:
    """Return rows 1 to 16 of the DCT-II of 64 points."""
    frequency = np.arange(1, _FREQUENCIES + 1)[:, None]
    position = np.arange(SIDE)[None, :]
    cosines: Plane = np.cos(np.pi / SIDE * (position + 0.5) * frequency).astype(np.float32)
    return cosines


_COSINES = _cosines()
