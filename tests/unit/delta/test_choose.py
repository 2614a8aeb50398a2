"""Which recipe is chosen, what is never tried, and that nothing unproved leaves the sender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from nearframe.delta import box, lut, residual, splice
from nearframe.delta import choose as choosing
from nearframe.delta.apply import apply
from nearframe.delta.choose import MAX_DEPTH, MAX_URGENT_DEPTH, OPERATIONS, Chosen, choose
from nearframe.delta.coding import Coding
from nearframe.delta.evidence import Candidate, Evidence
from nearframe.delta.frame import Frame, FrameForm
from nearframe.delta.rates import Rates
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.encoders import encode_htj2k
from nearframe.errors import IntegrityError, NotFound
from nearframe.wire.framerecipe import FrameRecipe, Operation
from tests.unit.delta.held import SLOW, Store, describe, picture, rgb
from tests.unit.delta.test_jxl import GREY, stored
from tests.unit.perceptual.pictures import ct_slice, with_lesion

FAST = Rates.of_megabits(10_000)


def sent(store: Store, target: FrameForm, *candidates: Candidate, rates: Rates = SLOW, **more: bool) -> Chosen:
    """Choose, carry over, and see that the frame arrives."""
    chosen = choose(target, candidates, store.read, rates, **more)  # type: ignore[arg-type]
    held = {form.enc: form for candidate in candidates for form in candidate.bases}
    carried = FrameRecipe.decode(chosen.recipe.encode())
    assert apply(carried, target, held, store.read) == store.read(target.enc)
    return chosen


def boxed(samples: np.ndarray) -> np.ndarray:
    changed = samples.copy()
    changed[10:20, 10:60] = 4000
    return changed


def test_bytes_that_are_held_move_nothing() -> None:
    store = Store()
    target = store.native(picture())
    chosen = sent(store, target, Candidate(Evidence.SAME_BYTES, (target,)))
    assert chosen.recipe.operation is Operation.SAME
    assert chosen.recipe.payload == b""


def test_strongest_evidence_is_tried_first() -> None:
    store = Store()
    base, target = store.native(picture()), store.native(boxed(picture()))
    weak = Candidate(Evidence.LOOKS_ALIKE, (store.native(boxed(boxed(picture()) + np.uint16(1))),))
    chosen = sent(store, target, weak, Candidate(Evidence.EARLIER_VERSION, (base,)))
    assert chosen.evidence is Evidence.EARLIER_VERSION
    assert chosen.recipe.operation in (Operation.BOX, Operation.SPLICE)


def test_cheaper_of_two_operations_wins() -> None:
    store = Store()
    changed = picture(1)
    changed[10:14] = picture(2)[10:14]
    base, target = store.native(picture(1)), store.native(changed)
    by_splice = splice.encode(store.frame(target), [store.frame(base)], SLOW)
    chosen = sent(store, target, Candidate(Evidence.EARLIER_VERSION, (base,)))
    assert by_splice is not None
    assert chosen.recipe.operation is Operation.BOX
    assert chosen.recipe.size < by_splice.size


def test_native_frame_without_a_base_is_coded_for_the_line() -> None:
    store = Store()
    target = store.native(picture(rows=300, columns=300, noise=3))
    slow, fast = sent(store, target), sent(store, target, rates=Rates.of_megabits(60))
    assert [Coding(one.recipe.parameters[0]) for one in (slow, fast)] == [Coding.JPEG_XL, Coding.HTJ2K]
    assert slow.recipe.size < fast.recipe.size
    assert sent(store, target, rates=FAST).recipe.operation is Operation.PLAIN


def test_urgent_frame_stays_progressive() -> None:
    store = Store()
    target = store.native(picture(rows=300, columns=300, noise=3))
    assert sent(store, target, urgent=True).recipe.parameters[0] == Coding.HTJ2K


def test_kept_rendition_is_sent_as_it_is() -> None:
    store = Store()
    for samples in (picture(), picture().astype("<i2") - 2000, rgb()):
        target = store.native(samples)
        rendition = encode_htj2k(samples, describe(samples))
        chosen = choose(target, (), store.read, SLOW, rendition=rendition)
        assert chosen.recipe.payload == rendition
        assert apply(chosen.recipe, target, {}, store.read) == store.read(target.enc)


def test_rendition_of_another_frame_is_found_out() -> None:
    store = Store()
    target = store.native(picture(1))
    wrong = encode_htj2k(picture(2), describe(picture()))
    chosen = choose(target, (), store.read, SLOW, rendition=wrong)
    assert chosen.recipe.operation is Operation.PLAIN


def test_jpeg_is_packed_where_the_line_is_slower_than_the_codec() -> None:
    store = Store()
    target = stored(store, GREY)
    one_by_one, in_a_row = Rates.of_megabits(10), Rates.of_megabits(10, cores=1)
    assert sent(store, target, rates=in_a_row).recipe.operation is Operation.JXL
    assert sent(store, target, rates=Rates.of_megabits(1)).recipe.operation is Operation.JXL
    for rates in (one_by_one, FAST):
        assert sent(store, target, rates=rates).recipe.operation is Operation.PLAIN


def test_recipe_has_to_win_by_a_fifth() -> None:
    store = Store()
    random = np.random.default_rng(1)
    base = picture(noise=30)
    nearly = (base + random.integers(0, 60, base.shape)).astype("<u2")
    candidate = Candidate(Evidence.PREVIOUS_FRAMES, (store.native(base),))
    target = store.native(nearly)
    chosen = sent(store, target, candidate)
    by_residual = residual.encode(store.frame(target), store.framed(candidate.bases), SLOW)
    assert by_residual is not None
    assert 0.8 * chosen.recipe.size < by_residual.size < chosen.recipe.size
    assert chosen.recipe.operation is Operation.CODED


@pytest.mark.parametrize(("urgent", "limit"), [(False, MAX_DEPTH), (True, MAX_URGENT_DEPTH)])
def test_rows_of_recipes_end(urgent: bool, limit: int) -> None:
    store = Store()
    base, target = store.native(picture()), store.native(boxed(picture()))
    last = Candidate(Evidence.EARLIER_VERSION, (base,), depth=limit - 1)
    chosen = sent(store, target, last, urgent=urgent)
    assert chosen.depth == limit
    whole = sent(store, target, replace(last, depth=limit), urgent=urgent)
    assert (whole.depth, whole.evidence) == (0, None)


def test_base_that_cannot_be_read_or_is_damaged_is_passed_over() -> None:
    store = Store()
    base, target = store.native(picture()), store.native(boxed(picture()))
    candidate = Candidate(Evidence.EARLIER_VERSION, (base,))
    for damage in (None, b"cut", bytes(base.length)):
        there = {target.enc: store.read(target.enc)} | ({base.enc: damage} if damage else {})

        def read(enc: bytes, there: dict[bytes, bytes] = there) -> bytes:
            if enc not in there:
                raise NotFound("frame")
            return there[enc]

        chosen = choose(target, [candidate], read, SLOW)
        assert chosen.recipe.bases == ()


def test_target_that_cannot_be_read_is_an_error() -> None:
    store = Store()
    target = store.native(picture())
    store.frames[target.enc] += b"x"
    with pytest.raises(IntegrityError):
        choose(target, (), store.read, SLOW)


def test_operation_that_errs_never_leaves_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(target: Frame, bases: Sequence[Frame], rates: Rates) -> FrameRecipe | None:
        recipe = box.encode(target, bases, rates)
        assert recipe is not None
        return replace(recipe, payload=recipe.payload[:-1] + bytes((recipe.payload[-1] ^ 1,)))

    monkeypatch.setitem(choosing.OPERATIONS, Evidence.EARLIER_VERSION, (wrong,))
    store = Store()
    base, target = store.native(picture()), store.native(boxed(picture()))
    chosen = choose(target, [Candidate(Evidence.EARLIER_VERSION, (base,))], store.read, SLOW)
    assert chosen.recipe.operation is Operation.CODED


def test_one_base_twice_is_one_base() -> None:
    store = Store()
    base, target = store.native(picture()), store.native((picture(noise=12) + (picture(3) & 1)).astype("<u2"))
    for evidence in (Evidence.PREVIOUS_FRAMES, Evidence.THIN_SLICES):
        chosen = sent(store, target, Candidate(evidence, (base, base)))
        assert set(chosen.recipe.bases) == {base.enc}


def test_every_evidence_has_its_operations_and_no_other() -> None:
    assert set(OPERATIONS) == set(Evidence)
    assert residual.encode not in OPERATIONS[Evidence.SAME_PLACE]
    assert residual.encode not in OPERATIONS[Evidence.LOOKS_ALIKE]
    assert OPERATIONS[Evidence.LOOKS_ALIKE][1] is lut.encode


def test_perceptual_twin_never_passes_for_the_frame() -> None:
    """A lesion that no perceptual hash sees: the twin may be the base, what arrives is the frame."""
    for seed, (row, column) in enumerate([(110, 90), (128, 128), (140, 170)]):
        healthy = ct_slice(seed).astype("<u2")
        sick = with_lesion(healthy, row, column)
        store = Store()
        twin, target = store.native(healthy), store.native(sick.astype("<u2"))
        for evidence in (Evidence.LOOKS_ALIKE, Evidence.SAME_PLACE, Evidence.SAME_PIXELS):
            chosen = sent(store, target, Candidate(evidence, (twin,)))
            # Told that the pixels are the same, the sender finds out that they are not.
            assert chosen.recipe.operation in (Operation.BOX, Operation.TILES, Operation.CODED)
        forged = FrameRecipe(Operation.SAME, (twin.enc,))
        with pytest.raises(IntegrityError):
            apply(forged, target, {twin.enc: twin}, store.read)


def test_colour_and_palette_frames_of_rle_travel_as_they_are() -> None:
    store = Store()
    target = store.put(b"\x01" + bytes(63), describe(rgb()), ts.RLELossless)
    assert sent(store, target).recipe.operation is Operation.PLAIN
