"""What metadata says of a frame, and what it does not say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.delta.traits import traits_of
from tests.frame_samples import grey
from tests.unit.delta.test_evidence import attribute, metadata

PIXEL = grey(64, 64)


def test_height_is_measured_along_the_normal() -> None:
    assert traits_of(metadata(z=12.5), PIXEL, 0).height_mm == 12.5
    sagittal = metadata(t00200037=attribute("DS", 0, 1, 0, 0, 0, -1))
    assert traits_of(sagittal, PIXEL, 0).height_mm == 100


def test_writers_that_round_differently_name_one_place() -> None:
    exact = metadata(z=1.0, t00200032=attribute("DS", -119.62467524735, "-142.84578995313", -0.4718822250142))
    rounded = metadata(z=1.0, t00200032=attribute("DS", -119.6247, "-142.8458", -0.471882))
    assert traits_of(exact, PIXEL, 0).place == traits_of(rounded, PIXEL, 0).place
    assert traits_of(metadata(z=-0.001), PIXEL, 0).place == traits_of(metadata(z=0.001), PIXEL, 0).place


def test_another_matrix_is_another_place() -> None:
    assert traits_of(metadata(), PIXEL, 0).place != traits_of(metadata(), grey(64, 65), 0).place


def test_without_geometry_there_is_no_place() -> None:
    for missing in ("00200032", "00200037", "00200052"):
        described = {tag: value for tag, value in metadata().items() if tag != missing}
        traits = traits_of(described, PIXEL, 0)
        assert (traits.place, traits.stack) == (None, None)
    assert traits_of(metadata(), None, 0).place is None


def test_frame_of_a_multiframe_object_has_its_own_groups_before_the_shared_ones() -> None:
    groups = {
        "52009230": attribute("SQ", *({"00180081": attribute("SQ", {"00180081": attribute("FD", n)})} for n in (1, 2))),
        "52009229": attribute("SQ", {"00289110": attribute("SQ", {"00180050": attribute("DS", 4)})}),
        "00180050": attribute("DS", 9),
    }
    assert traits_of(groups, PIXEL, 0).sequence != traits_of(groups, PIXEL, 1).sequence
    assert traits_of(groups, PIXEL, 7).thickness_mm == 4


@pytest.mark.parametrize(
    ("more", "weighted"),
    [
        ({"00189087": attribute("FD", 700)}, True),
        ({"00189087": attribute("FD", 0)}, False),
        ({"20011003": attribute("FL", 0.0)}, False),
        ({"00080008": attribute("CS", "ORIGINAL", "PRIMARY", "DIFFUSION")}, True),
        ({"0019100C": {"vr": "UN", "InlineBinary": "AAAA"}}, False),
    ],
)
def test_diffusion_weighting(more: dict[str, Any], weighted: bool) -> None:
    assert traits_of(metadata() | more, PIXEL, 0).is_diffusion is weighted


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.sampled_from(["Value", "vr", "00200032"]), inner),
    max_leaves=12,
)
_TAGS = st.sampled_from([*metadata(), "52009230", "52009229", "00082112", "00189087", "00080008", "00200100"])


@given(
    st.dictionaries(_TAGS, st.fixed_dictionaries({"vr": st.just("UN")}, optional={"Value": _JSON})), st.integers(0, 3)
)
def test_any_values_are_read_or_missing(described: dict[str, Any], frame_index: int) -> None:
    traits_of(described, PIXEL, frame_index)
