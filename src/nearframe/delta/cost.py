"""How long it takes until a frame is there by a recipe: the left side of the cost rule."""

from __future__ import annotations

from collections.abc import Sequence

from nearframe.delta.box import TILE
from nearframe.delta.coding import Coding, decode_seconds
from nearframe.delta.frame import FrameForm
from nearframe.delta.rates import Rates
from nearframe.dicom import transfersyntax as ts
from nearframe.wire.framerecipe import FrameRecipe, Operation

_CODED_PART = frozenset({Operation.BOX, Operation.TILES, Operation.LINCOMB, Operation.RESIDUAL, Operation.CODED})


def seconds(recipe: FrameRecipe, target: FrameForm, bases: Sequence[FrameForm], rates: Rates) -> float:
    """Return what the line, reading and decoding the bases, and following the recipe cost together."""
    reading = sum(base.length / rates.held + _base_decoding(base, rates) for base in bases)
    return rates.seconds(recipe.size, reading + _following(recipe, target, bases, rates))


def _base_decoding(base: FrameForm, rates: Rates) -> float:
    if base.is_native or base.pixel is None:
        return 0.0
    codec = ts.transfer_syntax(base.transfer_syntax_uid).codec
    speed = rates.jpeg_ls if codec in (ts.Codec.JPEG_LS, ts.Codec.JPEG) else rates.htj2k
    return base.pixel.native_frame_bits / 8 / speed


def _following(recipe: FrameRecipe, target: FrameForm, bases: Sequence[FrameForm], rates: Rates) -> float:
    if recipe.operation is Operation.PLAIN:
        return 0.0
    if recipe.operation is Operation.JXL:
        return target.length / rates.jpeg_xl
    arithmetic = (len(bases) + 1) * target.length / rates.arithmetic
    if recipe.operation in _CODED_PART:
        return arithmetic + decode_seconds(Coding(recipe.parameters[0]), _coded_bytes(recipe, target), rates)
    return arithmetic


def _coded_bytes(recipe: FrameRecipe, target: FrameForm) -> float:
    """Return the native bytes of the part that a recipe codes."""
    pixel = target.pixel
    if pixel is None:
        return 0.0
    frame_bytes = pixel.rows * pixel.columns * pixel.samples_per_pixel * pixel.bits_allocated / 8
    match recipe.operation:
        case Operation.BOX:
            return frame_bytes * recipe.parameters[3] * recipe.parameters[4] / (pixel.rows * pixel.columns)
        case Operation.TILES:
            return frame_bytes * recipe.parameters[1] * TILE * TILE / (pixel.rows * pixel.columns)
        case Operation.LINCOMB | Operation.RESIDUAL | Operation.CODED:
            return frame_bytes * recipe.parameters[1] / pixel.bits_allocated
        case _:
            return frame_bytes
