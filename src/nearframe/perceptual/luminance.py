"""A frame as 64 x 64 values of brightness, normalised the way its modality asks for.

Hash bits must move with anatomy and stay with noise, window settings and encoding. What
does that was measured (docs/reference/perceptual.md): for CT a fixed window in Hounsfield
units, which is the same for every scanner; for other grey pictures the 1st and 99th
percentile of what is not background; for colour the luma.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nearframe.dicom.grayscale import finite, stored_values
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.errors import NotAcceptable

Plane = npt.NDArray[np.float32]

#: Side of the normalised picture.
SIDE = 64
#: Soft tissue, in Hounsfield units: on CT the steadiest of the windows tried.
CT_WINDOW = (-160.0, 240.0)
#: Percentiles of what is not background, for grey pictures without a physical unit.
PERCENTILES = (1.0, 99.0)
#: Percentiles are taken on every fourth row and column: a sixteenth of the work, the same figures.
SUBSAMPLE = 4
#: What is darker than this share of the range is background.
BACKGROUND_SHARE = 0.02
# ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def luminance(samples: Samples, pixel: PixelDescription, parameters: RenderParameters) -> Plane:
    """Return the frame as 64 x 64 values between 0 and 1, however many rows and columns it has.

    Parameters
    ----------
    samples
        As `codecs.decode_frame` gives them; a lower resolution will do.
    pixel
        The decoded description.

    Raises
    ------
    NotAcceptable
        If there is no brightness in this photometric interpretation, or not at this depth.
    """
    values = stored_values(samples, pixel)
    if values.ndim == 3 or pixel.photometric_interpretation == "PALETTE COLOR":
        return _shrink(_luma(values, pixel, parameters)) / np.float32(255)
    return _grey(values, pixel, parameters)


def _grey(values: Samples, pixel: PixelDescription, parameters: RenderParameters) -> Plane:
    if parameters.modality_transform.table is not None or values.dtype.kind == "f":
        # A table bends the scale: the limits below can only be moved into stored values where it is straight.
        values = parameters.modality_transform.apply(finite(values))
        low, high = _percentile_limits(values, None)
    elif parameters.modality == "CT":
        low, high = _in_stored_values(CT_WINDOW, parameters)
    else:
        low, high = _percentile_limits(values, parameters.padding)
    if low == high:
        return np.zeros((SIDE, SIDE), np.float32)
    if values.dtype.kind == "f":
        shown = _shrink((_clipped(values, low, high) - low) / (high - low))
    else:
        shown = (_shrink(_clipped(values, min(low, high), max(low, high))) - np.float32(low)) / np.float32(high - low)
    return np.float32(1) - shown if pixel.photometric_interpretation == "MONOCHROME1" else shown


def _clipped(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[Any]:
    if values.dtype.kind == "f":
        return np.asarray(np.minimum(np.maximum(values, low), high))
    # With limits of its own type numpy clips five times as fast.
    ends = np.iinfo(values.dtype)
    first, last = (values.dtype.type(min(max(round(edge), ends.min), ends.max)) for edge in (low, high))
    return np.asarray(np.minimum(np.maximum(values, first), last))


def _in_stored_values(window: tuple[float, float], parameters: RenderParameters) -> tuple[float, float]:
    transform = parameters.modality_transform
    low, high = ((edge - transform.intercept) / transform.slope for edge in window)
    return low, high


def _percentile_limits(values: npt.NDArray[Any], padding: tuple[int, int] | None) -> tuple[float, float]:
    sample = values[::SUBSAMPLE, ::SUBSAMPLE]
    if padding is not None:
        shown = sample[(sample < padding[0]) | (sample > padding[1])]
        sample = shown if shown.size else sample
    darkest, brightest = float(sample.min()), float(sample.max())
    foreground = sample[sample > darkest + BACKGROUND_SHARE * (brightest - darkest)]
    low, high = (float(p) for p in np.percentile(foreground, PERCENTILES)) if foreground.size else (0.0, 0.0)
    return (low, high) if low < high else (darkest, brightest)  # two values only: masks, line drawings


def _luma(values: Samples, pixel: PixelDescription, parameters: RenderParameters) -> Plane:
    photometric = pixel.photometric_interpretation
    is_colour = values.shape[2:] == (3,) and values.dtype.kind == "u"
    if is_colour and photometric.startswith("YBR"):
        return _to_eight_bits(values[..., 0], pixel)
    if is_colour and photometric == "RGB":
        rgb = _to_eight_bits(values, pixel)
    elif photometric == "PALETTE COLOR" and parameters.palette is not None and values.ndim == 2:
        rgb = parameters.palette.apply(values).astype(np.float32)
    else:
        raise NotAcceptable("this photometric interpretation has no brightness we know of")
    plane: Plane = rgb @ _LUMA
    return plane


def _to_eight_bits(values: Samples, pixel: PixelDescription) -> Plane:
    return values.astype(np.float32) * np.float32(255 / ((1 << pixel.bits_stored) - 1))


def _shrink(plane: npt.NDArray[Any]) -> Plane:
    """Return 64 x 64 weighted means; a weight falls off linearly over one cell to either side."""
    rows, columns = plane.shape
    small: Plane = _weights(rows) @ plane.astype(np.float32, copy=False) @ _weights(columns).T
    return small


@lru_cache(maxsize=64)
def _weights(size: int) -> Plane:
    """Return the ``(64, size)`` matrix of tent weights; each row adds up to 1."""
    cell = size / SIDE
    centres = (np.arange(SIDE) + 0.5) * cell
    positions = np.arange(size) + 0.5
    tent = np.maximum(0, 1 - np.abs(positions[None, :] - centres[:, None]) / max(cell, 1))
    weights: Plane = (tent / tent.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights
