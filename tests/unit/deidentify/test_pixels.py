"""Burned-in text: who is believed, and what is blackened."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nearframe.deidentify.pixels import masked, regions_to_mask
from nearframe.deidentify.profile import Mask, Profile, Region
from nearframe.dicom.model import DICOMJSON, PixelDescription
from nearframe.dicom.native import Samples, decode_native
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian
from nearframe.errors import Refused

TOP = (Region(0, 0, 100, 2),)
MASKS = Profile(masks=(Mask((("00080060", "US"), ("00280010", "4")), TOP),))


def picture(modality: str, burned_in: str | None = None, sop_class: str = "1.2.840.10008.5.1.4.1.1.4") -> DICOMJSON:
    metadata: DICOMJSON = {
        "00080016": {"vr": "UI", "Value": [sop_class]},
        "00080060": {"vr": "CS", "Value": [modality]},
        "00280010": {"vr": "US", "Value": [4]},
    }
    if burned_in is not None:
        metadata["00280301"] = {"vr": "CS", "Value": [burned_in]}
    return metadata


@pytest.mark.parametrize(
    "metadata",
    [
        picture("CT", "YES"),
        picture("US"),
        picture("SC"),
        picture("XC", ""),
        picture("CT", sop_class="1.2.840.10008.5.1.4.1.1.7"),
        picture("CT", sop_class="1.2.840.10008.5.1.4.1.1.7.4"),
        picture("CT") | {"00080008": {"vr": "CS", "Value": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}},
        picture("CT", "NO") | {"60000102": {"vr": "US", "Value": [12]}},
    ],
)
def test_refused(metadata: DICOMJSON) -> None:
    with pytest.raises(Refused):
        regions_to_mask(metadata, Profile())


@pytest.mark.parametrize(
    "metadata",
    [
        picture("CT"),
        picture("US", "NO"),
        picture("SM", sop_class="1.2.840.10008.5.1.4.1.1.77.1.6"),
        picture("CT") | {"60000102": {"vr": "US", "Value": [0]}},
        picture("CT") | {"60000102": {"vr": "US", "Value": [12]}, "60003000": {"vr": "OW"}},
    ],
)
def test_taken_as_it_is(metadata: DICOMJSON) -> None:
    assert regions_to_mask(metadata, Profile()) == ()


def test_a_mask_for_what_is_refused_otherwise() -> None:
    assert regions_to_mask(picture("US", "YES"), MASKS) == TOP
    assert regions_to_mask(picture("US"), MASKS) == TOP
    with pytest.raises(Refused):
        regions_to_mask(picture("US") | {"00280010": {"vr": "US", "Value": [8]}}, MASKS)


def test_looked_at_by_a_person() -> None:
    assert regions_to_mask(picture("US"), Profile(pixels_checked=True)) == ()
    with pytest.raises(Refused):
        regions_to_mask(picture("US", "YES"), Profile(pixels_checked=True))


def description(photometric: str, samples: int = 1, bits: int = 8) -> PixelDescription:
    return PixelDescription(4, 6, samples, bits, bits, bits - 1, 0, photometric)


@pytest.mark.parametrize(
    ("pixel", "black"),
    [
        (description("MONOCHROME2"), 0),
        (description("MONOCHROME1"), 255),
        (description("MONOCHROME2", bits=16), 0),
        (description("RGB", 3), 0),
        (description("YBR_FULL", 3), (0, 128, 128)),
    ],
)
def test_masked(pixel: PixelDescription, black: Any) -> None:
    frame = bytes(range(7, 7 + pixel.native_frame_bits // 8))
    out = masked(frame, ExplicitVRLittleEndian, pixel, (Region(1, 1, 3, 2), Region(5, 3, 90, 90)))
    before, after = _samples(frame, pixel), _samples(out.encoded, pixel)
    assert (after[1:3, 1:4] == black).all()
    assert (after[3, 5] == black).all()
    changed = np.zeros((4, 6), bool)
    changed[1:3, 1:4] = changed[3, 5] = True
    assert np.array_equal(after[~changed], before[~changed])


def _samples(frame: bytes, pixel: PixelDescription) -> Samples:
    return decode_native(frame, pixel, big_endian=False)
