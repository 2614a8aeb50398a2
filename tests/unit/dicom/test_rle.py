from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.rle import decode_rle, encode_rle
from nearframe.errors import MalformedDICOM
from tests.frame_samples import colour, grey, packaged


def frame(*segments: bytes, count: int | None = None) -> bytes:
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    header = [len(segments) if count is None else count, *offsets]
    return struct.pack("<16I", *(header + [0] * 16)[:16]) + b"".join(segments)


def test_planes_come_most_significant_first() -> None:
    assert decode_rle(frame(b"\x01\x01\x02", b"\x01\x03\x04"), grey(1, 2)).tolist() == [[0x0103, 0x0204]]


def test_padding_after_a_plane_is_ignored() -> None:
    pixel = grey(1, 2, bits_allocated=8, bits_stored=8)
    assert decode_rle(frame(b"\x01ab\x00"), pixel).tobytes() == b"ab"
    assert decode_rle(frame(b"\x01ab\x80\x00\x00\x00\x00"), pixel).tobytes() == b"ab"


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_round_trip(dtype: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 200, (7, 9)).astype(dtype).repeat(3, axis=1)
    pixel = grey(7, 27, bits_allocated=8 * pixels.itemsize, bits_stored=8 * pixels.itemsize)
    encoded = encode_rle(pixels, pixel)
    assert len(encoded) % 2 == 0
    np.testing.assert_array_equal(decode_rle(encoded, pixel), pixels)


def test_round_trip_of_colour() -> None:
    pixels = np.random.default_rng(1).integers(0, 3, (5, 6, 3)).astype(np.uint8)
    np.testing.assert_array_equal(decode_rle(encode_rle(pixels, colour(5, 6)), colour(5, 6)), pixels)


def test_our_frame_is_read_by_pydicom() -> None:
    sample = packaged("MR_small.dcm")
    encoded = encode_rle(sample.reference(), sample.pixel)
    theirs = packaged("MR_small_RLE.dcm")
    theirs.dataset.PixelData = pydicom_encapsulate(encoded)
    np.testing.assert_array_equal(theirs.dataset.pixel_array, sample.reference())


def pydicom_encapsulate(encoded: bytes) -> bytes:
    from pydicom.encaps import encapsulate

    return encapsulate([encoded])


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "header is cut short"),
        (frame(b"\x01ab", b"\x01ab"), "2 segments, 1 expected"),
        (frame(count=1), "out of order"),
        (struct.pack("<16I", 1, 4_000_000_000, *[0] * 14) + b"\x01ab", "out of order"),
        (frame(b"\x05ab"), "cannot be decoded"),
        (frame(b"\x00a"), "gives 1 bytes"),
        (frame(b"\x81a" * 1000), "cannot be decoded"),
    ],
)
def test_malformed_frames(encoded: bytes, message: str) -> None:
    with pytest.raises(MalformedDICOM, match=message):
        decode_rle(encoded, grey(1, 2, bits_allocated=8, bits_stored=8))


def test_too_many_planes_cannot_be_written() -> None:
    pixels = np.zeros((2, 2, 3), np.uint64)
    with pytest.raises(MalformedDICOM, match="24 byte planes"):
        encode_rle(pixels, colour(2, 2).__class__(2, 2, 3, 64, 64, 63, 0, "RGB"))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_malformed(data: bytes) -> None:
    try:
        samples = decode_rle(data, grey(3, 5))
    except MalformedDICOM:
        return
    assert samples.shape == (3, 5)
