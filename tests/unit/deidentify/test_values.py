"""Dummies and moved dates."""

from __future__ import annotations

import pytest

from nearframe.deidentify.values import bounded_age, dummy, moved
from nearframe.dicom.build import build_data_set
from nearframe.dicom.vr import KNOWN


@pytest.mark.parametrize("vr", sorted(KNOWN - {"SQ"}))
def test_a_dummy_fits_its_vr(vr: str) -> None:
    assert build_data_set({"00080005": dummy(vr) | {"vr": vr}, "00090000": dummy(vr)}, implicit_vr=False)


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("DA", "20240301", "20240229"),
        ("DA", "20240301 ", "20240229"),
        ("DT", "20240301123456.5+0100", "20240229123456.5+0100"),
        ("DA", "2024.03.01", "19000101"),
        ("DA", "20241301", "19000101"),
        ("DA", "00010101", "19000101"),
        ("DT", "2024", "19000101000000"),
        ("DA", 7, "19000101"),
    ],
)
def test_dates_move(vr: str, value: object, expected: str) -> None:
    assert moved(vr, value, -1) == expected


@pytest.mark.parametrize(
    ("age", "expected"), [("089Y", "089Y"), ("090Y", "090Y"), ("097Y", "090Y"), ("099M", "099M"), ("old", "old")]
)
def test_the_very_old_are_of_one_age(age: str, expected: str) -> None:
    assert bounded_age(age) == expected
