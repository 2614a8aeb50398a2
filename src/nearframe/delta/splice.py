"""`splice`: the beginning and the end of a base's bytes, with others between them.

A JPEG whose EXIF or comment was changed keeps its scan byte for byte; the zero that pads a
fragment to even length comes and goes with it. It needs no samples, so it serves lossy
frames too.

Parameters: bytes taken from the base's beginning; bytes taken from its end, not counting
its last ones; how many last ones that are; zeros put behind it all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearframe.delta.frame import Frame, FrameForm
from nearframe.delta.rates import Rates
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe, Operation

#: Two different pictures share their tables and headers at most.
_MIN_SHARE = 0.5
_PADDING = b"\0"


def encode(target: Frame, bases: Sequence[Frame], rates: Rates) -> FrameRecipe | None:
    """Return the recipe, or None if less than half of the frame is the base's."""
    new, old = target.encoded.rstrip(_PADDING), bases[0].encoded.rstrip(_PADDING)
    shorter = min(len(new), len(old))
    head = _common(new[:shorter], old[:shorter])
    rest = shorter - head
    tail = _common(new[len(new) - rest :][::-1], old[len(old) - rest :][::-1])
    if head + tail < _MIN_SHARE * len(new):
        return None
    left_out, zeros = bases[0].form.length - len(old), target.form.length - len(new)
    parameters = (head, tail, left_out, zeros)
    return FrameRecipe(Operation.SPLICE, (bases[0].form.enc,), parameters, new[head : len(new) - tail])


def decode(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the pieces joined."""
    if len(recipe.parameters) != 4 or min(recipe.parameters) < 0:
        raise MalformedRequest("a splice recipe has four parameters that count bytes")
    head, tail, left_out, zeros = recipe.parameters
    end = bases[0].form.length - left_out
    if head + tail > end or head + len(recipe.payload) + tail + zeros != target.length:
        raise MalformedRequest("the pieces of a splice recipe do not make this frame")
    old = bases[0].encoded
    return b"".join((old[:head], recipe.payload, old[end - tail : end], _PADDING * zeros))


def _common(one: bytes, other: bytes) -> int:
    """Return how many bytes two strings of one length have in common from their beginning."""
    if one == other:
        return len(one)
    return int(np.argmax(np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)))
