"""`residual`: the frame of an earlier moment, or the mean of a few, and what changed since.

For what was measured to gain: the same slice of a functional MR series, from the mean of
the last three (a mean has less noise than any of them), and native ultrasound cine, from
the last frame. Parameters: those of `prediction.py`. The prediction is the mean of the
bases, rounded down after half a unit is added.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearframe.delta.frame import Frame, FrameForm, base_samples, check_rebuildable
from nearframe.delta.prediction import RESIDUAL_PARAMETERS, Prediction, decode_residual, encode_residual
from nearframe.delta.rates import Rates
from nearframe.dicom.native import Samples
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe, Operation

#: More than three gained nothing.
MAX_FRAMES = 3


def encode(target: Frame, bases: Sequence[Frame], rates: Rates) -> FrameRecipe | None:
    """Return the recipe from the first base or from all, whichever predicts better; None if none fits."""
    samples, pixel = target.target_samples, target.form.pixel
    if samples is None or pixel is None:
        return None
    fitting = [one for base in bases[:MAX_FRAMES] if (one := base.samples) is not None and one.shape == samples.shape]
    if len(fitting) < min(len(bases), MAX_FRAMES):
        return None
    predictions = {count: _mean(fitting[:count]) for count in {1, len(fitting)}}
    count = min(predictions, key=lambda one: float(np.abs(samples - predictions[one]).mean()))
    parameters, payload = encode_residual(samples, predictions[count], pixel, rates)
    digests = tuple(base.form.enc for base in bases[:count])
    return FrameRecipe(Operation.RESIDUAL, digests, parameters, payload)


def decode(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the mean of the bases corrected by the residual."""
    pixel = check_rebuildable(target)
    if len(recipe.parameters) != RESIDUAL_PARAMETERS or len(bases) > MAX_FRAMES:
        raise MalformedRequest("a residual recipe has three parameters and at most three bases")
    prediction = _mean([base_samples(base, pixel) for base in bases])
    return decode_residual(recipe.parameters, recipe.payload, prediction, target)


def _mean(frames: Sequence[Samples]) -> Prediction:
    total = frames[0].astype(np.int64)
    for samples in frames[1:]:
        total += samples
    return (total + len(frames) // 2) // len(frames)
