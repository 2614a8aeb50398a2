"""The sender's side: the recipe by which a frame arrives first, proved before it is sent.

Operations are tried in the order of the cost rule, each only with the evidence it was
measured to gain with: `OPERATIONS` is that decision. There is no evidence called "next
slice", "other kernel", "other diffusion direction" or "edited photograph", so nothing is
ever tried for those (all of them cost more than the frame itself: `docs/reference/recipes.md`).

A recipe from a base is accepted if

    bytes / line + decoding + reading the bases  <  0.8 x (the same of the frame sent whole)

where "whole" is the cheapest of the stored bytes, a lossless codec, and JPEG XL for JPEG.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from nearframe.delta import box, coded, jxl, lincomb, lut, residual, same, splice
from nearframe.delta.apply import make
from nearframe.delta.cost import seconds
from nearframe.delta.evidence import Candidate, Evidence
from nearframe.delta.frame import Frame, FrameForm, ReadFrame
from nearframe.delta.rates import WIN, Rates
from nearframe.errors import IntegrityError, RequestError
from nearframe.wire.framerecipe import FrameRecipe

_Encode = Callable[[Frame, Sequence[Frame], Rates], FrameRecipe | None]

#: What may be tried with which evidence, in this order.
OPERATIONS: Final[dict[Evidence, tuple[_Encode, ...]]] = {
    Evidence.SAME_BYTES: (same.encode,),
    Evidence.SAME_PIXELS: (same.encode,),
    Evidence.EARLIER_VERSION: (splice.encode, lut.encode, box.encode),
    Evidence.SOURCE: (lut.encode, box.encode),
    Evidence.SAME_PLACE: (lut.encode, box.encode),
    Evidence.THIN_SLICES: (lincomb.encode,),
    Evidence.PREVIOUS_FRAMES: (residual.encode,),
    Evidence.LOOKS_ALIKE: (splice.encode, lut.encode, box.encode),
}

#: A recipe of this share of the frame is taken at once: no codec comes near it.
_SMALL = 1 / 100
#: What JPEG XL saves of a JPEG at best: 6-21 % of cine and photographs, 33 % of small dermoscopy pictures.
_JPEG_XL_SAVES = 0.35
#: Each candidate costs the sender a read; the exact ones come first.
_MAX_CANDIDATES = 6
#: Recipes in a row until a frame is sent whole: the first of a row is waited for by all.
MAX_DEPTH: Final = 8
#: An urgent frame waits for one other at most.
MAX_URGENT_DEPTH: Final = 1


@dataclass(frozen=True, slots=True)
class Chosen:
    """A recipe that was followed here and gave the frame.

    Attributes
    ----------
    evidence
        What proposed its bases; None if it has none.
    depth
        Recipes that have to be followed until the frame is there, its own included; zero
        if it has no base. A base that the receiver holds counts nothing.
    """

    recipe: FrameRecipe
    evidence: Evidence | None = None
    depth: int = 0


def choose(
    target: FrameForm,
    candidates: Sequence[Candidate],
    read: ReadFrame,
    rates: Rates,
    *,
    rendition: bytes | None = None,
    urgent: bool = False,
) -> Chosen:
    """Return how to send a frame to a receiver that holds the candidates' bases.

    Takes a few codecs' time: call it in a worker thread.

    Parameters
    ----------
    candidates
        As `evidence.BaseIndex` finds them among what the receiver said that it holds.
    rendition
        The frame's HTJ2K rendition, if one is kept: its samples need not be coded again.
    urgent
        True to keep the first view progressive and wait for no row of other frames.

    Raises
    ------
    NotFound, IntegrityError
        If the target itself cannot be read. A base that cannot be is passed over.
    """
    frame = Frame(target, read)
    whole = _Whole(frame, rates, rendition, urgent)
    limit = MAX_URGENT_DEPTH if urgent else MAX_DEPTH
    best: tuple[float, Chosen] | None = None
    for candidate in sorted(candidates, key=lambda one: one.evidence)[:_MAX_CANDIDATES]:
        if candidate.depth >= limit:
            continue
        bases = [Frame(form, read) for form in candidate.bases]
        for recipe, used in _attempts(candidate, frame, bases, rates):
            chosen = Chosen(recipe, candidate.evidence, candidate.depth + 1)
            if recipe.size <= _SMALL * target.length:
                return chosen
            cost = seconds(recipe, target, [base.form for base in used], rates)
            if cost < WIN * whole.seconds and (best is None or cost < best[0]):
                best = cost, chosen
    return best[1] if best else Chosen(whole.recipe)


def _attempts(
    candidate: Candidate, frame: Frame, bases: list[Frame], rates: Rates
) -> Iterator[tuple[FrameRecipe, list[Frame]]]:
    """Yield the recipes that the candidate's evidence allows and that are proved, with the bases they use."""
    by_enc = {base.form.enc: base for base in bases}
    for encode in OPERATIONS[candidate.evidence]:
        try:
            recipe = encode(frame, bases, rates)
            if recipe is None:
                continue
            used = [by_enc[enc] for enc in recipe.bases]
            make(recipe, frame.form, used)
        except (RequestError, IntegrityError):
            # A base is gone or is not what it seemed; or the operation is none for this frame.
            continue
        yield recipe, used


class _Whole:
    """The frame sent without a base: coded when somebody asks what that costs."""

    def __init__(self, frame: Frame, rates: Rates, rendition: bytes | None, urgent: bool) -> None:
        self._frame = frame
        self._rates = rates
        self._rendition = rendition
        self._urgent = urgent

    @property
    def recipe(self) -> FrameRecipe:
        return self._cheapest[1]

    @property
    def seconds(self) -> float:
        return self._cheapest[0]

    @cached_property
    def _cheapest(self) -> tuple[float, FrameRecipe]:
        plain = coded.plain(self._frame)
        best = self._cost(plain), plain
        packed = self._packed()
        if packed is not None and self._cost(packed) < best[0] and _is_proved(packed, self._frame):
            best = self._cost(packed), packed
        return best

    def _packed(self) -> FrameRecipe | None:
        form = self._frame.form
        if self._rendition is not None and form.is_native and form.pixel is not None:
            return coded.of_rendition(self._rendition, form.pixel)
        if jxl.is_jpeg(form):
            return jxl.encode(self._frame) if self._jxl_may_win() else None
        return coded.encode(self._frame, self._rates, progressive=self._urgent)

    def _jxl_may_win(self) -> bool:
        length, rates = self._frame.form.length, self._rates
        packed = rates.seconds((1 - _JPEG_XL_SAVES) * length, length / rates.jpeg_xl)
        return packed < rates.seconds(length, 0)

    def _cost(self, recipe: FrameRecipe) -> float:
        return seconds(recipe, self._frame.form, (), self._rates)


def _is_proved(recipe: FrameRecipe, frame: Frame) -> bool:
    try:
        make(recipe, frame.form, ())
    except (RequestError, IntegrityError):
        return False
    return True
