"""Rows to columns and back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.wire.columns import (
    pack_attributes,
    pack_column,
    shared_attributes,
    unpack_attributes,
    unpack_column,
)
from tests.unit.wire.manifests import attributes

rows_of_attributes = st.lists(
    st.dictionaries(st.sampled_from(["00080018", "00100010", "00200032"]), attributes), max_size=6
)


@given(rows_of_attributes)
def test_attributes_come_back(rows: list[dict[str, Any]]) -> None:
    shared = shared_attributes(rows)
    back = unpack_attributes(pack_attributes(rows, shared), len(rows))
    assert [shared | row for row in back] == rows


@given(st.lists(st.integers(0, 2) | st.text(max_size=1) | st.lists(st.integers(0, 1), max_size=2), max_size=5))
def test_values_come_back(values: list[Any]) -> None:
    assert list(unpack_column(pack_column(values), len(values))) == values


def test_what_all_rows_have_stands_once() -> None:
    rows = [{"00100010": {"vr": "PN"}, "00200013": {"vr": "IS", "Value": [n]}} for n in range(3)]
    assert shared_attributes(rows) == {"00100010": {"vr": "PN"}}
    assert pack_attributes(rows, {"00100010": {}}) == {"00200013": {"vr": "IS", "Value": [[0], [1], [2]]}}
    assert pack_column([1, 1, 1]) == 1


def test_a_mixture_stands_as_it_is() -> None:
    rows: list[dict[str, Any]] = [{"00281050": {"vr": "DS", "Value": [1]}}, {}, {"00281050": {"vr": "DS"}}]
    assert pack_attributes(rows, {}) == {"00281050": {"each": [rows[0]["00281050"], None, {"vr": "DS"}]}}


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        unpack_column([1, 2], 3)
