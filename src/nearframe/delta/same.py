"""`same`: the receiver holds these bytes already, or these samples in another encoding."""

from __future__ import annotations

from collections.abc import Sequence

from nearframe.delta.frame import Frame, FrameForm, base_samples, bytes_of, can_rebuild, check_rebuildable
from nearframe.delta.rates import Rates
from nearframe.wire.framerecipe import FrameRecipe, Operation


def encode(target: Frame, bases: Sequence[Frame], rates: Rates) -> FrameRecipe | None:
    """Return the recipe; whether the samples are the same is left to its proof."""
    base = bases[0].form
    if base.enc != target.form.enc and not can_rebuild(target.form):
        return None
    return FrameRecipe(Operation.SAME, (base.enc,))


def decode(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the base's bytes, or its samples laid out or encoded as the target's are."""
    if bases[0].form.enc == target.enc:
        return bases[0].encoded
    return bytes_of(base_samples(bases[0], check_rebuildable(target)), target)
