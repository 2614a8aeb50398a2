"""The form of recipes: what comes out is what went in, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import LimitExceeded, MalformedRequest, RequestError
from nearframe.ids import DIGEST_BYTES
from nearframe.wire.framerecipe import MAX_BASES, MAX_PARAMETERS, FrameRecipe, Operation

_INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
_RECIPES = st.builds(
    FrameRecipe,
    st.sampled_from(Operation),
    st.lists(st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES), max_size=MAX_BASES).map(tuple),
    st.lists(_INT64, max_size=MAX_PARAMETERS).map(tuple),
    st.binary(max_size=300),
)

BASE = bytes(range(32))
VECTORS = [
    (FrameRecipe(Operation.SAME, (BASE,)), "0101" + "01" + BASE.hex() + "00" + "00"),
    (FrameRecipe(Operation.CODED, (), (1,), b"abc"), "0109" + "00" + "0102" + "03616263"),
    (FrameRecipe(Operation.RESIDUAL, (), (-1, 64, -65), b""), "0106" + "00" + "03" + "01" + "8001" + "8101" + "00"),
]


@pytest.mark.parametrize(("recipe", "encoded"), VECTORS)
def test_vectors(recipe: FrameRecipe, encoded: str) -> None:
    assert recipe.encode().hex() == encoded
    assert FrameRecipe.decode(bytes.fromhex(encoded)) == recipe
    assert recipe.size == len(encoded) // 2


@given(_RECIPES)
def test_round_trip(recipe: FrameRecipe) -> None:
    encoded = recipe.encode()
    assert FrameRecipe.decode(encoded) == recipe
    assert recipe.size == len(encoded)


@given(_RECIPES, st.data())
def test_no_beginning_of_a_recipe_is_one_and_nothing_may_follow(recipe: FrameRecipe, data: st.DataObject) -> None:
    encoded = recipe.encode()
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(RequestError):
        FrameRecipe.decode(encoded[:cut])
    with pytest.raises(RequestError):
        FrameRecipe.decode(encoded + b"\0")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_recipe_or_refused(data: bytes) -> None:
    try:
        recipe = FrameRecipe.decode(data)
    except RequestError:
        return
    assert FrameRecipe.decode(recipe.encode()) == recipe


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("", "a version and an operation"),
        ("02 00 00 00 00", "version 2"),
        ("01 63 00 00 00", "operation 99"),
        ("01 00 01 00", "inside a base"),
        ("01 00 00 00 05 00", "1 bytes of payload and says 5"),
        ("01 00 00 01 ff ff ff ff ff ff ff ff ff ff 00", "number is too long"),
        ("01 00 00 01 ff ff ff ff ff ff ff ff ff 7f 00", "more than 64 bits"),
    ],
)
def test_what_is_odd_is_named(data: str, error: str) -> None:
    with pytest.raises(MalformedRequest, match=error):
        FrameRecipe.decode(bytes.fromhex(data))


@pytest.mark.parametrize("counts", ["ff ff ff ff 0f", "00 ff ff ff ff 0f"])
def test_counts_are_bounded_before_anything_is_made(counts: str) -> None:
    with pytest.raises(LimitExceeded):
        FrameRecipe.decode(bytes.fromhex("01 04" + counts))
