from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom.pixels.processing import convert_color_space

from nearframe.dicom.native import decode_native, encode_native
from nearframe.errors import MalformedDICOM
from tests.frame_samples import colour, grey, packaged


def test_bits_come_lowest_first() -> None:
    pixel = grey(2, 5, bits_allocated=1, bits_stored=1)
    samples = decode_native(b"\x01\xfe", pixel, big_endian=False)
    np.testing.assert_array_equal(samples, [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]])
    assert encode_native(samples, pixel) == b"\x01\x02"


def test_big_endian_samples_and_words() -> None:
    assert decode_native(b"\x01\x02", grey(1, 1), big_endian=True)[0, 0] == 0x0102
    eight_bits = grey(1, 2, bits_allocated=8, bits_stored=8)
    # PS3.5 Annex D: 8-bit samples in words (OW) are swapped in pairs, in bytes (OB) they are not.
    assert decode_native(b"\x01\x02", eight_bits, big_endian=True).tolist() == [[2, 1]]
    assert decode_native(b"\x01\x02", replace(eight_bits, vr="OB"), big_endian=True).tolist() == [[1, 2]]
    with pytest.raises(MalformedDICOM):
        decode_native(b"\x01\x02\x03", eight_bits, big_endian=True)


def test_planes_become_interleaved() -> None:
    pixel = colour(1, 2, planar_configuration=1)
    assert decode_native(b"RrGgBb", pixel, big_endian=False).tobytes() == b"RGBrgb"


def test_subsampled_chrominance_is_repeated() -> None:
    pixel = colour(1, 2, "YBR_FULL_422")
    assert decode_native(b"YyBR", pixel, big_endian=False).tobytes() == b"YBRyBR"


def test_full_data_labelled_422_is_taken_as_full() -> None:
    assert decode_native(b"YBRybr", colour(1, 2, "YBR_FULL_422"), big_endian=False).tobytes() == b"YBRybr"


def test_422_needs_pairs() -> None:
    with pytest.raises(MalformedDICOM, match="even"):
        decode_native(b"123456", colour(1, 3, "YBR_FULL_422"), big_endian=False)


def test_422_of_pydicom() -> None:
    sample = packaged("SC_ybr_full_422_uncompressed.dcm")
    rgb = convert_color_space(decode_native(sample.encoded, sample.pixel, big_endian=False), "YBR_FULL", "RGB")
    assert rgb[2, 50].tolist() == [254, 0, 0]


@pytest.mark.parametrize("bits", [12, 24, 40])
def test_other_containers_are_malformed(bits: int) -> None:
    with pytest.raises(MalformedDICOM, match="Bits Allocated"):
        decode_native(bytes(100), grey(2, 2, bits_allocated=bits), big_endian=False)


def test_short_frame_is_malformed() -> None:
    with pytest.raises(MalformedDICOM, match="8 expected"):
        decode_native(bytes(7), grey(2, 2), big_endian=False)


def test_trailing_padding_is_ignored() -> None:
    pixel = grey(1, 3, bits_allocated=8, bits_stored=8)
    assert encode_native(decode_native(b"abc\0", pixel, big_endian=False), pixel) == b"abc"
