"""The data dictionary."""

from __future__ import annotations

import pytest

from nearframe.dicom.dictionary import US_OR_SS, keyword_of, private_vr, public_vr, tag_of


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00100010, "PN"),
        (0x00280106, US_OR_SS),
        (0x7FE00010, "OW"),
        (0x60003000, "OW"),
        (0x60020010, "US"),
        (0x50000010, "US"),
        (0x00283006, "OW"),
        (0x00290010, "LO"),
        (0x00290001, None),
        (0x00291010, None),
        (0x00100000, "UL"),
        (0x00110000, "UL"),
        (0x0010FFFF, None),
    ],
)
def test_vr_of_standard_elements(tag: int, vr: str | None) -> None:
    assert public_vr(tag) == vr


def test_vr_of_private_elements_by_creator() -> None:
    assert private_vr(0x00291110, "SIEMENS CSA HEADER") == "OB"
    assert private_vr(0x00291110, "nobody") is None


def test_keywords_both_ways() -> None:
    assert keyword_of(0x00100010) == "PatientName"
    assert tag_of("PatientName") == 0x00100010
    assert keyword_of(0x00291010) is None
    assert tag_of("NoSuchThing") is None
