"""`coded`: the samples of a native frame in a lossless codec. `plain`: the bytes as they are.

Neither needs a base. Parameter of `coded`: the coding (`coding.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from nearframe.delta.coding import Coding, decode_samples, encode_samples
from nearframe.delta.frame import Frame, FrameForm, bytes_of, check_rebuildable
from nearframe.delta.rates import Rates
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe, Operation


def encode(target: Frame, rates: Rates, *, progressive: bool = False) -> FrameRecipe | None:
    """Return the recipe, or None for a frame that is compressed already or has no such samples."""
    pixel = target.form.pixel
    if not target.form.is_native or target.target_samples is None or pixel is None:
        return None
    coding, payload = encode_samples(target.target_samples, pixel, rates, progressive=progressive)
    return FrameRecipe(Operation.CODED, (), (coding,), payload)


def of_rendition(htj2k: bytes) -> FrameRecipe:
    """Return the recipe whose payload is an HTJ2K rendition that the sender keeps beside the frame."""
    return FrameRecipe(Operation.CODED, (), (Coding.HTJ2K,), htj2k)


def decode(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the frame in its own layout."""
    pixel = check_rebuildable(target)
    if len(recipe.parameters) != 1:
        raise MalformedRequest("a coded recipe has one parameter")
    return bytes_of(decode_samples(recipe.parameters[0], recipe.payload, pixel), target)


def plain(target: Frame) -> FrameRecipe:
    """Return the frame itself."""
    return FrameRecipe(Operation.PLAIN, payload=target.encoded)


def decode_plain(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the payload."""
    if len(recipe.payload) != target.length:
        raise MalformedRequest(f"a plain recipe of {len(recipe.payload)} bytes for a frame of {target.length}")
    return recipe.payload
