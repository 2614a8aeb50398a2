"""`lincomb`: a thick slice as a weighted sum of the thin slices it was made from, and what is left.

The sender finds the weights by least squares and sends them as whole numbers; from there
on all arithmetic is in whole numbers, so both sides come to the same prediction.

Parameters: those of the residual (`prediction.py`), shift, constant, then a weight per
base. A sample is predicted as ``(constant + sum of weight x sample) >> shift``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearframe.delta.frame import Frame, FrameForm, base_samples, check_rebuildable
from nearframe.delta.prediction import RESIDUAL_PARAMETERS, Prediction, decode_residual, encode_residual
from nearframe.delta.rates import Rates
from nearframe.dicom.native import Samples, frame_shape
from nearframe.errors import MalformedRequest
from nearframe.wire.framerecipe import FrameRecipe, Operation

_SHIFT = 12
#: So that sixteen bases of 16 bits stay far inside 64.
_MAX_SHIFT = 16
_MAX_WEIGHT = 1 << 20
_MAX_CONSTANT = 1 << 40
#: Samples that the weights are learned from.
_LEARNED_FROM = 20_000


def encode(target: Frame, bases: Sequence[Frame], rates: Rates) -> FrameRecipe | None:
    """Return the recipe, or None if the bases have another shape or no weights fit."""
    samples, pixel = target.target_samples, target.form.pixel
    thin = [base.samples for base in bases]
    if samples is None or pixel is None or any(one is None or one.shape != samples.shape for one in thin):
        return None
    known = [one for one in thin if one is not None]
    try:
        weights, constant = _learn(samples, known)
    except np.linalg.LinAlgError:
        return None  # it did not converge
    if max(map(abs, weights)) > _MAX_WEIGHT or abs(constant) > _MAX_CONSTANT:
        return None
    residual, payload = encode_residual(samples, _predict(known, weights, constant, _SHIFT), pixel, rates)
    digests = tuple(base.form.enc for base in bases)
    return FrameRecipe(Operation.LINCOMB, digests, (*residual, _SHIFT, constant, *weights), payload)


def decode(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Return the prediction corrected by the residual."""
    pixel = check_rebuildable(target)
    if len(recipe.parameters) != RESIDUAL_PARAMETERS + 2 + len(bases):
        raise MalformedRequest("a combination recipe has five parameters and a weight for each base")
    shift, constant, *weights = recipe.parameters[RESIDUAL_PARAMETERS:]
    if not 0 <= shift <= _MAX_SHIFT or abs(constant) > _MAX_CONSTANT or max(map(abs, weights)) > _MAX_WEIGHT:
        raise MalformedRequest("a weight of a combination recipe is out of bounds")
    thin = [base_samples(base, pixel) for base in bases]
    prediction = _predict(thin, weights, constant, shift).reshape(frame_shape(pixel))
    return decode_residual(recipe.parameters, recipe.payload, prediction, target)


def _learn(samples: Samples, thin: Sequence[Samples]) -> tuple[list[int], int]:
    """Return the weights that come nearest to `samples`, and half a unit more than the constant."""
    step = max(1, samples.size // _LEARNED_FROM) | 1  # odd, so that no column is looked at alone
    columns = [one.reshape(-1)[::step].astype(np.float64) for one in thin]
    matrix = np.stack([*columns, np.ones_like(columns[0])], axis=1)
    solution = np.linalg.lstsq(matrix, samples.reshape(-1)[::step].astype(np.float64), rcond=None)[0]
    scaled = np.rint(solution * (1 << _SHIFT))
    return [int(weight) for weight in scaled[:-1]], int(scaled[-1]) + (1 << _SHIFT - 1)


def _predict(thin: Sequence[Samples], weights: Sequence[int], constant: int, shift: int) -> Prediction:
    total = np.full(thin[0].shape, constant, np.int64)
    for samples, weight in zip(thin, weights, strict=True):
        total += samples.astype(np.int64) * weight
    return total >> shift
