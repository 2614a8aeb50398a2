"""VRs that the file does not say."""

from __future__ import annotations

import struct

import pytest

from nearframe.dicom.lookup import odd_framings, odd_vr
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource
from tests.unit.dicom import objects as o


@pytest.mark.parametrize(
    ("header", "framings"),
    [
        (b"\x08\0\x3e\x10\x04\0\0\0", [(8, 4), (8, 0)]),
        (b"\x08\0\x3e\x10lo\x04\0", [(8, 4), (8, 0x00046F6C)]),
        (b"\x08\0\x3e\x10QQ\0\0\x04\0\0\0", [(12, 4), (8, 0), (8, 0x5151)]),
    ],
)
def test_framings_of_an_element_whose_vr_does_not_exist(header: bytes, framings: list[tuple[int, int]]) -> None:
    assert odd_framings(header, "<") == framings


def test_framings_in_big_endian_order() -> None:
    assert odd_framings(b"\0\x08\x10\x3elo\0\x04", ">")[0] == (8, 4)


@pytest.mark.parametrize(
    ("code", "vr"), [(b"lo", "LO"), (b"Pn", "PN"), (b"??", "UN"), (b"sq", "UN"), (b"\xff\xfe", "UN")]
)
def test_the_vr_that_was_probably_meant(code: bytes, vr: str) -> None:
    assert odd_vr(code) == vr


def vrs(*elements: bytes) -> dict[int, str]:
    part10 = parse(BytesSource(o.meta(o.IMPLICIT) + b"".join(elements)))
    return {element.tag: element.vr for element in part10.dataset.elements}


def test_private_elements_go_by_their_creator() -> None:
    creator = o.implicit(0x00290010, b"SIEMENS CSA HEADER")
    found = vrs(
        creator, o.implicit(0x00290011, b"nobody"), o.implicit(0x00291010, b"ab"), o.implicit(0x00291110, b"ab")
    )
    assert found == {0x00290010: "LO", 0x00290011: "LO", 0x00291010: "OB", 0x00291110: "UN"}


def test_a_creator_too_long_to_be_one_is_none() -> None:
    assert vrs(o.implicit(0x00290010, bytes(100)), o.implicit(0x00291010, b"ab"))[0x00291010] == "UN"


def test_private_items_have_creators_of_their_own() -> None:
    inner = o.item(o.implicit(0x00290010, b"SIEMENS CSA HEADER") + o.implicit(0x00291010, b"ab"))
    part10 = parse(BytesSource(o.meta(o.IMPLICIT) + o.implicit(0x00081140, inner) + o.implicit(0x00291010, b"ab")))
    sequence, outer = part10.dataset.elements
    assert sequence.items is not None
    assert [element.vr for element in sequence.items[0].elements] == ["LO", "OB"]
    assert outer.vr == "UN"


def test_pixel_representation_reaches_into_items() -> None:
    inner = o.item(o.implicit(0x00283002, struct.pack("<3H", 0, 1, 16)))
    data = o.meta(o.IMPLICIT) + o.implicit(0x00280103, b"\1\0") + o.implicit(0x00283000, inner)
    sequence = parse(BytesSource(data)).dataset.by_tag[0x00283000]
    assert sequence.items is not None
    assert sequence.items[0].elements[0].vr == "SS"
