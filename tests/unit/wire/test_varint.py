"""Whole numbers of varying length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.wire.varint import get_signed, get_varint, put_signed, put_varint


@pytest.mark.parametrize(("value", "encoded"), [(0, "00"), (127, "7f"), (128, "8001"), (1 << 35, "808080808001")])
def test_vectors(value: int, encoded: str) -> None:
    out = bytearray()
    put_varint(out, value)
    assert out.hex() == encoded
    assert get_varint(bytes(out), 0) == (value, len(out))


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_signed_round_trip(value: int) -> None:
    out = bytearray(b"x")
    put_signed(out, value)
    assert get_signed(bytes(out), 1) == (value, len(out))


@pytest.mark.parametrize("data", ["", "80", "ffffffffffffffffffff01"])
def test_cut_or_endless_numbers_are_refused(data: str) -> None:
    with pytest.raises(MalformedRequest):
        get_varint(bytes.fromhex(data), 0)
