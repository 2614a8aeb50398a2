"""Each operation gives the exact bytes back, in every layout it takes part in, or says no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nearframe.delta import box, coded, lincomb, lut, residual, same, splice
from nearframe.delta.apply import apply, make
from nearframe.delta.frame import Frame, FrameForm
from nearframe.delta.rates import Rates
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.encoders import ENCODERS
from nearframe.dicom.native import Samples, byteswapped, encode_native
from nearframe.wire.framerecipe import FrameRecipe, Operation
from tests.frame_samples import grey
from tests.unit.delta.held import SLOW, Store, describe, picture, rgb

Encode = Callable[[Frame, Sequence[Frame], Rates], FrameRecipe | None]


def sent(encode: Encode, store: Store, target: FrameForm, *bases: FrameForm) -> FrameRecipe | None:
    """Encode, carry over as bytes, apply with nothing but the bases; return the recipe."""
    recipe = encode(store.frame(target), store.framed(bases), SLOW)
    if recipe is None:
        return None
    held = {form.enc: form for form in bases}
    there = {form.enc: store.read(form.enc) for form in bases}
    carried = FrameRecipe.decode(recipe.encode())
    assert apply(carried, target, held, there.__getitem__) == store.read(target.enc)
    return recipe


LAYOUTS = ["little endian", "big endian", "signed", "rgb", "rgb by plane", "8 bit", "8 bit in big-endian words"]


def laid_out(store: Store, samples: Samples, layout: str) -> FrameForm:
    """Store 16-bit grey samples in a layout."""
    eight = (samples >> 4).astype("u1")
    match layout:
        case "little endian":
            return store.native(samples)
        case "big endian":
            pixel = describe(samples)
            return store.put(byteswapped(encode_native(samples, pixel), pixel), pixel, ts.ExplicitVRBigEndian)
        case "signed":
            return store.native(samples.astype("<i2") - 1024)
        case "8 bit":
            return store.native(eight)
        case "8 bit in big-endian words":
            pixel = describe(eight)
            return store.put(byteswapped(encode_native(eight, pixel), pixel), pixel, ts.ExplicitVRBigEndian)
        case _:
            colours = np.stack([eight, eight[::-1], eight[:, ::-1]], axis=-1)
            return store.native(colours, describe(colours, planar_configuration=int(layout.endswith("plane"))))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout: str) -> None:
    store = Store()
    base, other = picture(1), picture(1)
    other[20:30, 40:90] = 4000
    target, held = laid_out(store, other, layout), laid_out(store, base, layout)
    for encode, operations in (
        (box.encode, {Operation.BOX, Operation.TILES}),
        (residual.encode, {Operation.RESIDUAL}),
        (lincomb.encode, {Operation.LINCOMB}),
    ):
        recipe = sent(encode, store, target, held)
        assert recipe is not None, encode
        assert recipe.operation in operations
    shifted = laid_out(store, base + np.uint16(48), layout)
    recipe = sent(lut.encode, store, shifted, held)
    assert recipe is not None
    assert recipe.size < 120
    whole = coded.encode(store.frame(target), SLOW)
    assert whole is not None
    assert make(whole, target, ()) == store.read(target.enc)


def test_same_bytes() -> None:
    store = Store()
    target = store.put(b"any bytes at all", None, ts.JPEGBaseline8Bit)
    recipe = sent(same.encode, store, target, target)
    assert recipe is not None
    assert recipe.size == 37


@pytest.mark.parametrize("syntax", [ts.HTJ2KLosslessRPCL, ts.JPEGLSLossless, ts.RLELossless, ts.JPEGLosslessSV1])
def test_same_samples_in_another_encoding(syntax: str) -> None:
    store = Store()
    for samples in (picture(), rgb()):
        native = store.native(samples)
        assert native.pixel is not None
        coded_form = store.put(ENCODERS[syntax](samples, native.pixel), native.pixel, syntax)
        for target, base in ((native, coded_form), (coded_form, native)):
            recipe = sent(same.encode, store, target, base)
            assert recipe is not None
            assert recipe.payload == b""


def test_compressed_frame_of_our_encoder_takes_part_in_every_operation() -> None:
    store = Store()
    base, other = picture(1), picture(1)
    other[20:30, 40:90] = 4000
    pixel = describe(other)
    target = store.put(ENCODERS[ts.RLELossless](other, pixel), pixel, ts.RLELossless)
    assert sent(box.encode, store, target, store.native(base)) is not None


def test_table_of_a_windowed_copy() -> None:
    store = Store()
    base = picture(noise=40)
    windowed = np.clip((base.astype(float) - 700) / 900 * 255, 0, 255).astype("u1")
    recipe = sent(lut.encode, store, store.native(windowed), store.native(base))
    assert recipe is not None
    assert recipe.size < 400
    assert sent(lut.encode, store, store.native(base), store.native(windowed)) is None


def test_one_sample_that_contradicts_ends_the_table() -> None:
    store = Store()
    base = picture()
    copy = base + np.uint16(5)
    copy[50, 60] += 1
    assert sent(lut.encode, store, store.native(copy), store.native(base)) is None


@pytest.mark.parametrize("rows", [31, 32, 33, 96])
@pytest.mark.parametrize("columns", [31, 64, 97])
def test_boxes_at_every_edge(rows: int, columns: int) -> None:
    store = Store()
    base = picture(rows=rows, columns=columns)
    for place in (np.s_[:1, :1], np.s_[-1:, -1:], np.s_[rows // 2, :], np.s_[:, columns - 1]):
        changed = base.copy()
        changed[place] ^= 1
        recipe = sent(box.encode, store, store.native(changed), store.native(base))
        equal_tiles = _equal_tiles(changed, base)
        assert (recipe is not None) == (equal_tiles >= 0.5)


def test_tiles_where_changes_are_far_apart() -> None:
    store = Store()
    base = picture(rows=256, columns=256)
    changed = base.copy()
    changed[:10, :10], changed[-10:, -10:] = picture(5)[:10, :10], picture(6)[:10, :10]
    recipe = sent(box.encode, store, store.native(changed), store.native(base))
    assert recipe is not None
    assert recipe.operation is Operation.TILES


def test_nothing_is_coded_where_most_tiles_differ() -> None:
    store = Store()
    assert sent(box.encode, store, store.native(picture(1)), store.native(picture(2))) is None


def test_thick_slice_from_thin_ones() -> None:
    store = Store()
    thin = [picture(seed, noise=30) for seed in range(5)]
    weights = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    mixed = np.rint(np.tensordot(weights, np.stack(thin), 1)).astype("<u2")
    recipe = sent(lincomb.encode, store, store.native(mixed), *(store.native(one) for one in thin))
    assert recipe is not None
    assert recipe.size < mixed.nbytes / 8
    assert [round(weight / 4096, 1) for weight in recipe.parameters[5:]] == weights.tolist()


def test_mean_of_the_last_three_where_it_predicts_better() -> None:
    store = Store()
    random = np.random.default_rng(3)
    clean = picture(noise=0).astype(float)
    moments = [store.native((clean + random.normal(0, 20, clean.shape)).astype("<u2")) for _ in range(4)]
    recipe = sent(residual.encode, store, moments[3], *moments[2::-1])
    assert recipe is not None
    assert len(recipe.bases) == 3


@pytest.mark.parametrize("padding", [(b"", b""), (b"\0", b""), (b"", b"\0"), (b"\0\0", b"\0")])
def test_splice_of_a_changed_header(padding: tuple[bytes, bytes]) -> None:
    store = Store()
    body = bytes(np.random.default_rng(1).integers(1, 256, 5000, "u1"))
    for texts in ((b"old comment", b"new one"), (b"", b"put in"), (b"taken out", b"")):
        base, target = (
            store.put(b"\xff\xd8" + text + body + zeros, None, ts.JPEGBaseline8Bit)
            for text, zeros in zip(texts, padding, strict=True)
        )
        recipe = sent(splice.encode, store, target, base)
        assert recipe is not None
        assert recipe.size < 60
    unlike = store.put(body[::-1], None, ts.JPEGBaseline8Bit)
    assert sent(splice.encode, store, unlike, base) is None


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_splice_of_any_bytes(one: bytes, other: bytes) -> None:
    store = Store()
    target, base = (store.put(data, None, ts.JPEGBaseline8Bit) for data in (one, other))
    if one and other:
        sent(splice.encode, store, target, base)


_SAMPLES = st.sampled_from(["<u1", "<u2", "<i2"]).flatmap(
    lambda dtype: st.tuples(
        *2 * [arrays.arrays(np.dtype(dtype), st.shared(arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)))]
    )
)


@given(_SAMPLES)
def test_any_samples(pair: tuple[Samples, Samples]) -> None:
    store = Store()
    target, base = (store.native(samples) for samples in pair)
    for encode in (same.encode, lut.encode, box.encode, lincomb.encode, residual.encode, splice.encode):
        if encode is same.encode and target.enc != base.enc:
            continue
        sent(encode, store, target, base)
    whole = coded.encode(store.frame(target), SLOW)
    assert whole is not None
    assert make(whole, target, ()) == store.read(target.enc)


@pytest.mark.parametrize(
    "pixel",
    [
        replace(grey(8, 16), bits_allocated=1, bits_stored=1, high_bit=0),
        replace(grey(8, 16), bits_allocated=32, bits_stored=32, high_bit=31),
        replace(grey(8, 16), bits_allocated=32, bits_stored=32, high_bit=31, vr="OF"),
        replace(grey(8, 16), bits_allocated=12, high_bit=11),
        replace(grey(8, 16), bits_allocated=8, bits_stored=8, high_bit=7, samples_per_pixel=4),
    ],
)
def test_odd_depths_travel_whole(pixel: object) -> None:
    store = Store()
    encoded = bytes(range(64)) * 8
    target = store.put(encoded, pixel)  # type: ignore[arg-type]
    base = store.put(encoded[::-1], pixel)  # type: ignore[arg-type]
    for encode in (same.encode, lut.encode, box.encode, lincomb.encode, residual.encode):
        assert encode(store.frame(target), [store.frame(base)], SLOW) is None
    assert coded.encode(store.frame(target), SLOW) is None
    assert make(coded.plain(store.frame(target)), target, ()) == encoded


def _equal_tiles(one: Samples, other: Samples) -> float:
    tiles = [
        np.array_equal(one[y : y + 32, x : x + 32], other[y : y + 32, x : x + 32])
        for y in range(0, one.shape[0], 32)
        for x in range(0, one.shape[1], 32)
    ]
    return sum(tiles) / len(tiles)
