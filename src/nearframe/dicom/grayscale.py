"""The grayscale pipeline: stored values to display values (PS3.3 C.11, PS3.4 Annex N).

Modality LUT, then VOI, then presentation; each a pure function on arrays. For integer
samples the whole pipeline is worked out once for each stored value that occurs and then
looked up, which costs a tenth of a millisecond for 512 x 512 pixels instead of ten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples

Values = npt.NDArray[np.float64]
Display = npt.NDArray[np.uint8]

#: Ranges up to this many stored values are looked up; wider ones are computed pixel by pixel.
MAX_TABLE_ENTRIES = 1 << 17
#: No quantity in an image is larger; squares and differences of such still are numbers.
LARGEST = 1e30
#: Without a window, this share of the darkest and of the brightest pixels is cut off.
AUTO_WINDOW_PERCENT = 0.5


class VOIFunction(Enum):
    """VOI LUT Function (0028,1056)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True)
class Window:
    """A window in output units of the modality LUT: Hounsfield units for CT."""

    center: float
    width: float
    function: VOIFunction = VOIFunction.LINEAR

    def apply(self, values: Values) -> Values:
        """Return display values from 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
        match self.function:
            case VOIFunction.SIGMOID:
                exponent = -4 * (values - self.center) / max(self.width, 1e-9)
                shown = 1 / (1 + np.exp(np.clip(exponent, -700, 700)))
            case VOIFunction.LINEAR_EXACT:
                shown = (values - self.center) / max(self.width, 1e-9) + 0.5
            case VOIFunction.LINEAR:
                # Width 1 is a threshold, and less is written all the same.
                ramp = max(self.width, 1.0) - 1
                above = values - (self.center - 0.5)
                shown = above / ramp + 0.5 if ramp else (above > 0).astype(np.float64)
        return _clipped(shown)


@dataclass(frozen=True, eq=False, slots=True)
class LookupTable:
    """A LUT of PS3.3 C.11: entry 0 belongs to input value `first`.

    Attributes
    ----------
    entries
        What the table gives, as stored.
    bits
        Bits of an entry: display values run from 0 to ``2**bits - 1``.
    """

    entries: npt.NDArray[np.uint16]
    first: int
    bits: int

    def apply(self, values: Values) -> Values:
        """Return the entries for input values; those outside the table get its first or last entry."""
        index: npt.NDArray[np.intp] = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return self.entries[index].astype(np.float64)

    def to_display(self, values: Values) -> Values:
        """Return display values from 0 to 1."""
        return _clipped(self.apply(values) / ((1 << self.bits) - 1))


@dataclass(frozen=True, slots=True)
class ModalityTransform:
    """Modality LUT: a table, or slope and intercept (PS3.3 C.11.1)."""

    slope: float = 1.0
    intercept: float = 0.0
    table: LookupTable | None = None

    def apply(self, values: Values) -> Values:
        if self.table is not None:
            return self.table.apply(values)
        return values * self.slope + self.intercept


#: Stored values are the output values.
IDENTITY = ModalityTransform()


def stored_values(samples: Samples, pixel: PixelDescription) -> Samples:
    """Return the values within Bits Stored: what lies above or below them is taken off (PS3.5 8.1.1)."""
    if samples.dtype.kind == "f" or not 1 <= pixel.bits_stored < pixel.bits_allocated:
        return samples
    below = pixel.bits_allocated - pixel.bits_stored
    # A High Bit outside its container, or below the lowest possible, is a slip for the usual one.
    is_possible = pixel.bits_stored - 1 <= pixel.high_bit < pixel.bits_allocated
    above = pixel.bits_allocated - 1 - pixel.high_bit if is_possible else below
    # Shifting a signed type right brings the sign along.
    return np.right_shift(np.left_shift(samples, above), below)


def through_table(samples: Samples, function: Callable[[Values], Values]) -> Display:
    """Return ``function`` of every sample as 8-bit display values.

    Parameters
    ----------
    function
        From stored values to 0..1. Called once, on each value between the smallest and the
        largest sample, or on all samples where that would be more.
    """
    if samples.dtype.kind == "f":
        return _to_display(function(finite(samples)))
    lowest, highest = int(samples.min()), int(samples.max())
    if highest - lowest >= MAX_TABLE_ENTRIES:
        return _to_display(function(samples.astype(np.float64)))
    table = _to_display(function(np.arange(lowest, highest + 1, dtype=np.float64)))
    if samples.dtype.itemsize <= 2 and lowest >= 0:
        table = np.concatenate([np.zeros(lowest, np.uint8), table])
        return table[samples]
    return table[samples.astype(np.int64) - lowest]


def finite(samples: Samples) -> Values:
    """Return samples as numbers that can be reckoned with: no NaN, nothing beyond 1e30."""
    limited: Values = np.clip(np.nan_to_num(samples.astype(np.float64)), -LARGEST, LARGEST)
    return limited


def automatic_window(samples: Samples, padding: tuple[int, int] | None, modality: ModalityTransform) -> Window:
    """Return a window around nearly all pixels that are not padding, for an object that names none."""
    sample = finite(samples[:: max(1, samples.shape[0] // 256), :: max(1, samples.shape[1] // 256)])
    if padding is not None:
        shown = sample[(sample < padding[0]) | (sample > padding[1])]
        sample = shown if shown.size else sample
    values = modality.apply(np.percentile(sample, [AUTO_WINDOW_PERCENT, 100 - AUTO_WINDOW_PERCENT]))
    low, high = float(values.min()), float(values.max())
    return Window((low + high) / 2, max(high - low, 1e-9), VOIFunction.LINEAR_EXACT)


def _clipped(shown: Values) -> Values:
    return np.minimum(np.maximum(shown, 0), 1)


def _to_display(values: Values) -> Display:
    shown: npt.NDArray[Any] = np.rint(values * 255)
    return shown.astype(np.uint8)
