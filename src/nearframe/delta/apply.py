"""The receiver's side: make a frame by its recipe, and compare its digest before anybody sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nearframe.delta import box, coded, jxl, lincomb, lut, residual, same, splice
from nearframe.delta.frame import Frame, FrameForm, ReadFrame
from nearframe.dicom.codecs import MAX_FRAME_BYTES
from nearframe.errors import IntegrityError, LimitExceeded, MalformedDICOM, MalformedRequest, NotFound
from nearframe.ids import Digest, sha256
from nearframe.wire.framerecipe import FrameRecipe, Operation

_Decode = Callable[[FrameRecipe, FrameForm, Sequence[Frame]], bytes]

_DECODERS: dict[Operation, _Decode] = {
    Operation.PLAIN: coded.decode_plain,
    Operation.SAME: same.decode,
    Operation.LUT: lut.decode,
    Operation.BOX: box.decode,
    Operation.TILES: box.decode,
    Operation.LINCOMB: lincomb.decode,
    Operation.RESIDUAL: residual.decode,
    Operation.SPLICE: splice.decode,
    Operation.JXL: jxl.decode,
    Operation.CODED: coded.decode,
}
_WITHOUT_BASES = frozenset({Operation.PLAIN, Operation.JXL, Operation.CODED})
_WITH_SEVERAL = frozenset({Operation.LINCOMB, Operation.RESIDUAL})


def apply(recipe: FrameRecipe, target: FrameForm, held: Mapping[Digest, FrameForm], read: ReadFrame) -> bytes:
    """Return the frame that a recipe makes: exactly the bytes that `target.enc` names, or nothing.

    Takes a codec's time: call it in a worker thread.

    Parameters
    ----------
    target
        What the receiver's manifest says of the frame.
    held
        The frames that the receiver offered as bases, by `enc`. No other frame is read.

    Raises
    ------
    IntegrityError
        If the result has another digest. Count it, and ask for the frame itself.
    MalformedRequest, LimitExceeded
        If the recipe does not fit the frame; found out before memory is spent.
    NotFound
        If it names a base that was not offered, or that is gone.
    """
    return make(recipe, target, [Frame(_offered(held, enc), read) for enc in recipe.bases])


def make(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> bytes:
    """Do what `apply` does, with bases that may have been decoded already: the sender's proof."""
    _check(recipe, target, bases)
    try:
        made = _DECODERS[recipe.operation](recipe, target, bases)
    except MalformedDICOM as error:
        raise MalformedRequest(f"the recipe cannot be followed: {error}") from error
    if sha256(made) != target.enc:
        raise IntegrityError(f"a {recipe.operation.name.lower()} recipe makes another frame than was asked for")
    return made


def _check(recipe: FrameRecipe, target: FrameForm, bases: Sequence[Frame]) -> None:
    """Bound what follows, for every operation alike."""
    name, count = recipe.operation.name.lower(), len(recipe.bases)
    if recipe.operation in _WITHOUT_BASES:
        fits = count == 0
    else:
        fits = count >= 1 if recipe.operation in _WITH_SEVERAL else count == 1
    if not fits:
        raise MalformedRequest(f"a {name} recipe with {count} bases")
    # A recipe is never longer than its frame by more than a codec's headers: who sends such a one wants our time.
    if len(recipe.payload) > target.length + 4096:
        raise MalformedRequest(f"a {name} recipe of {len(recipe.payload)} bytes for a frame of {target.length}")
    needed = target.length + sum(base.form.length for base in bases)
    if needed > MAX_FRAME_BYTES:
        raise LimitExceeded("bytes of a frame and its bases", MAX_FRAME_BYTES, needed)


def _offered(held: Mapping[Digest, FrameForm], enc: Digest) -> FrameForm:
    form = held.get(enc)
    if form is None:
        raise NotFound("base of the recipe")
    return form
