"""What the receiver does with recipes that are wrong, damaged or hostile."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from nearframe.delta import box, coded, jxl, lincomb, lut, residual, same, splice
from nearframe.delta.apply import apply
from nearframe.delta.frame import Frame, FrameForm
from nearframe.dicom import transfersyntax as ts
from nearframe.errors import IntegrityError, LimitExceeded, MalformedRequest, NearframeError, NotFound
from nearframe.wire.framerecipe import FrameRecipe, Operation
from tests.unit.delta.held import SLOW, Store, describe, picture
from tests.unit.delta.test_jxl import GREY, stored


class Case:
    """One recipe of one kind, right as it is."""

    def __init__(self, store: Store, target: FrameForm, recipe: FrameRecipe | None) -> None:
        assert recipe is not None
        self.store, self.target, self.recipe = store, target, recipe

    def apply(self, recipe: FrameRecipe) -> bytes:
        return apply(recipe, self.target, self.store.forms, self.store.read)


def _cases() -> dict[str, Case]:
    store = Store()
    base, other = picture(1), picture(1)
    other[20:30, 40:90] = 4000
    held, target = store.native(base), store.native(other)
    shifted = store.native(base + np.uint16(3))
    packed = stored(store, GREY, b"\0")

    def case(encode: Callable[..., FrameRecipe | None], form: FrameForm, *bases: FrameForm) -> Case:
        frame = store.frame(form)
        return Case(store, form, encode(frame, store.framed(bases), SLOW) if bases else encode(frame))

    def whole(frame: Frame) -> FrameRecipe | None:
        return coded.encode(frame, SLOW)

    return {
        "same": case(same.encode, held, held),
        "lut": case(lut.encode, shifted, held),
        "box": case(box.encode, target, held),
        "tiles": Case(store, target, _tiles(store, target, held)),
        "lincomb": case(lincomb.encode, target, held, shifted),
        "residual": case(residual.encode, target, held),
        "splice": case(splice.encode, target, held),
        "jxl": case(jxl.encode, packed),
        "coded": case(whole, target),
        "plain": case(coded.plain, target),
    }


def _tiles(store: Store, target: FrameForm, held: FrameForm) -> FrameRecipe:
    words, base, pixel = store.frame(target).words, store.frame(held).words, target.pixel
    assert words is not None
    assert base is not None
    assert pixel is not None
    changed = box._changed_tiles(words != base)
    operation, parameters, payload = box._encode_tiles(words, changed, pixel, SLOW)
    return FrameRecipe(operation, (held.enc,), parameters, payload)


CASES = _cases()
NAMES = sorted(CASES)
WITH_BASES = [name for name in NAMES if CASES[name].recipe.bases]


def _refused(case: Case, recipe: FrameRecipe) -> None:
    """The frame itself or an error that names what is wrong: nothing else comes out."""
    try:
        made = case.apply(recipe)
    except (IntegrityError, MalformedRequest, LimitExceeded, NotFound):
        return
    assert made == case.store.read(case.target.enc)


@pytest.mark.parametrize("name", NAMES)
def test_right_recipe(name: str) -> None:
    case = CASES[name]
    assert case.apply(case.recipe) == case.store.read(case.target.enc)


@pytest.mark.parametrize("name", WITH_BASES)
def test_base_that_was_not_offered_is_not_read(name: str) -> None:
    case = CASES[name]
    with pytest.raises(NotFound):
        apply(case.recipe, case.target, {}, case.store.read)


@pytest.mark.parametrize("name", WITH_BASES)
def test_base_that_is_gone(name: str) -> None:
    case = CASES[name]

    def read(enc: bytes) -> bytes:
        raise NotFound("frame")

    with pytest.raises(NotFound):
        apply(case.recipe, case.target, case.store.forms, read)


@pytest.mark.parametrize("name", WITH_BASES)
def test_wrong_or_damaged_base_never_gives_a_frame(name: str) -> None:
    case = CASES[name]
    for wrong in (picture(7), picture(1) + np.uint16(1), picture(1)[:-1]):
        with pytest.raises(NearframeError):
            apply(case.recipe, case.target, case.store.forms, lambda enc, wrong=wrong: wrong.tobytes())  # type: ignore[misc]


@pytest.mark.parametrize("name", WITH_BASES)
def test_base_of_another_kind_is_refused(name: str) -> None:
    case = CASES[name]
    other = Store()
    forms = [
        other.native(picture(rows=10)),
        other.native((picture() >> 4).astype("u1")),
        other.put(b"\xff\xd8 no picture", describe(picture()), ts.JPEGBaseline8Bit),
        other.put(b"no picture", None),
    ]
    for form in forms:
        recipe = replace(case.recipe, bases=(form.enc,) * len(case.recipe.bases))
        with pytest.raises((MalformedRequest, IntegrityError)):
            apply(recipe, case.target, other.forms, other.read)


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
def test_bit_flips(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    encoded = bytearray(case.recipe.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        # The head decides most: half of the flips go there.
        last = len(encoded) - 1 if data.draw(st.booleans()) else min(len(encoded) - 1, 60)
        encoded[data.draw(st.integers(0, last))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        recipe = FrameRecipe.decode(bytes(encoded))
    except (MalformedRequest, LimitExceeded):
        return
    _refused(case, recipe)


_PARAMETERS = st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-3, 600), max_size=8).map(tuple)


@pytest.mark.parametrize("name", NAMES)
@given(_PARAMETERS, st.binary(max_size=60))
def test_any_parameters_and_payload(name: str, parameters: tuple[int, ...], payload: bytes) -> None:
    case = CASES[name]
    _refused(case, replace(case.recipe, parameters=parameters))
    _refused(case, replace(case.recipe, payload=payload))
    _refused(case, replace(case.recipe, parameters=parameters, payload=payload))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operation", Operation)
def test_recipe_for_another_operation(name: str, operation: Operation) -> None:
    case = CASES[name]
    _refused(case, replace(case.recipe, operation=operation))


@pytest.mark.parametrize("name", NAMES)
def test_recipe_for_another_frame(name: str) -> None:
    case = CASES[name]
    other = case.store.native(picture(9))
    with pytest.raises((IntegrityError, MalformedRequest)):
        apply(case.recipe, other, case.store.forms, case.store.read)


@pytest.mark.parametrize("name", NAMES)
def test_number_of_bases_is_that_of_the_operation(name: str) -> None:
    case = CASES[name]
    enc = case.store.native(picture(1)).enc
    for bases in ((), (enc,) * 5):
        if len(bases) != len(case.recipe.bases):
            with pytest.raises(MalformedRequest):
                case.apply(replace(case.recipe, bases=bases))


def _peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        with pytest.raises((MalformedRequest, LimitExceeded)):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _bomb(size: int) -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(size))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("lut", (0, 65536)), ("box", (0, 0, 0, 96, 120)), ("residual", (0, 16, 0)), ("coded", (0, 16, 0))],
)
def test_compressed_bomb_takes_no_memory(name: str, parameters: tuple[int, ...]) -> None:
    case = CASES[name]
    recipe = replace(case.recipe, parameters=parameters, payload=_bomb(100_000_000))
    assert _peak(lambda: case.apply(recipe)) < 2_000_000


@pytest.mark.parametrize("size", [1 << 16, 1 << 30])
def test_picture_that_claims_to_be_huge_is_refused_before_memory_is_spent(size: int) -> None:
    case = CASES["coded"]
    assert case.target.pixel is not None
    huge = replace(case.target, pixel=replace(case.target.pixel, rows=size, columns=size))
    assert _peak(lambda: apply(case.recipe, huge, {}, case.store.read)) < 2_000_000


def test_codec_payload_of_another_size_is_refused() -> None:
    case = CASES["coded"]
    for samples in (picture(rows=400, columns=400), picture(rows=96, columns=60)):
        store = Store()
        whole = coded.encode(store.frame(store.native(samples)), SLOW)
        assert whole is not None
        _refused(case, whole)


def test_recipe_much_longer_than_its_frame_is_refused() -> None:
    case = CASES["box"]
    with pytest.raises(MalformedRequest, match="for a frame of"):
        case.apply(replace(case.recipe, payload=bytes(100_000)))


def test_bases_larger_than_a_frame_may_be_are_not_read() -> None:
    case = CASES["residual"]
    forms = {enc: replace(form, length=1 << 40) for enc, form in case.store.forms.items()}

    def read(enc: bytes) -> bytes:
        raise AssertionError("read")

    with pytest.raises(LimitExceeded):
        apply(case.recipe, case.target, forms, read)


def test_store_that_gives_another_length_is_an_integrity_error() -> None:
    case = CASES["splice"]
    with pytest.raises(IntegrityError):
        apply(case.recipe, case.target, case.store.forms, lambda enc: case.store.read(enc) + b"x")
