"""`lut`: every sample is a function of the base's sample at its place.

A copy that was windowed, rescaled, inverted or shifted is that, and the function is a
table of a few hundred bytes. One sample that contradicts the table ends the attempt.

Parameters: the first base value in the table, and the number of values. Payload: zstd over
the differences between neighbouring table values, little endian, in the target's width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import zstandard

from nearframe.delta.coding import inflate
from nearframe.delta.frame import Frame, FrameForm, Words, base_samples, check_rebuildable, from_words, unsigned
from nearframe.delta.rates import Rates
from nearframe.dicom.native import frame_shape, sample_dtype
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe, Operation

#: Every sixteenth row is looked at first: frames that are no copies contradict themselves there.
_SPARSE_ROWS = 16
_LEVEL = 12
#: How a table goes on at values that the base does not have: flat, as windows cut off, or by one, as shifts do.
_SLOPES = (0, 1)


def encode(target: Frame, bases: Sequence[Frame], rates: Rates) -> FrameRecipe | None:
    """Return the recipe, or None if there is no such table."""
    words, base = target.words, bases[0].words
    if words is None or base is None or words.shape != base.shape or target.target_samples is None:
        return None
    if _table(base[::_SPARSE_ROWS], words[::_SPARSE_ROWS]) is None:
        return None
    table = _table(base, words)
    if table is None:
        return None
    first, last = int(base.min()), int(base.max())
    used = np.unique(base)
    packed = [_packed(_without_gaps(table, used, slope)) for slope in _SLOPES]
    payload = min(packed, key=len)
    return FrameRecipe(Operation.LUT, (bases[0].form.enc,), (first, last - first + 1), payload)


def decode(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the base's samples looked up in the table."""
    pixel = check_rebuildable(target)
    base = unsigned(base_samples(bases[0], pixel))
    if len(recipe.parameters) != 2:
        raise MalformedRequest("a table recipe has two parameters")
    first, count = recipe.parameters
    if not 0 <= first < first + count <= 1 << 8 * base.itemsize:
        raise MalformedRequest("the table of a recipe lies outside the values of its base")
    width = sample_dtype(pixel).itemsize
    differences = np.frombuffer(inflate(recipe.payload, count * width), f"<u{width}")
    table = np.zeros(1 << 8 * base.itemsize, differences.dtype)
    table[first : first + count] = np.cumsum(differences, dtype=differences.dtype)
    return from_words(table[base].reshape(frame_shape(pixel)), target)


def _table(base: Words, words: Words) -> Words | None:
    """Return the target value of every base value, or None at a contradiction."""
    table = np.zeros(1 << 8 * base.itemsize, words.dtype)
    table[base] = words
    return table if np.array_equal(table[base], words) else None


def _without_gaps(table: Words, used: Words, slope: int) -> Words:
    """Return the table over the values that the base has, those between them filled with a straight line."""
    values = np.arange(int(used[0]), int(used[-1]) + 1)
    last_used = used[np.searchsorted(used, values, "right") - 1]
    filled: Words = table[last_used] + ((values - last_used) * slope).astype(table.dtype)
    return filled


def _packed(table: Words) -> bytes:
    differences = np.diff(table, prepend=table.dtype.type(0))
    return zstandard.ZstdCompressor(level=_LEVEL).compress(differences.tobytes())
