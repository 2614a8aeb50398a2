from __future__ import annotations

import contextlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.jpegheader import read_jpeg
from nearframe.errors import MalformedDICOM
from tests.frame_samples import jpeg_lossless, jpeg_ls, packaged

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
GREY = np.arange(64 * 48, dtype=np.uint8).reshape(48, 64)


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


SOF = segment(0xC0, b"\x08\x00\x30\x00\x40\x01\x01\x11\x00")
SOS = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")


def test_baseline() -> None:
    stream = read_jpeg(bytes(imagecodecs.jpeg8_encode(GREY)))
    assert (stream.rows, stream.columns, stream.components, stream.bits) == (48, 64, 1, 8)
    assert not stream.is_lossless


@pytest.mark.parametrize(("near", "lossless"), [(0, True), (1, False)])
def test_jpeg_ls(near: int, lossless: bool) -> None:
    stream = read_jpeg(jpeg_ls(GREY, near))
    assert stream.is_jpeg_ls
    assert stream.is_lossless == lossless


def test_point_transform_is_loss() -> None:
    exact = jpeg_lossless(GREY, 8)
    at = exact.index(b"\xff\xda")
    shifted = bytearray(exact)
    shifted[at + 4 + 1 + 2 + 2] = 0x02  # Ah|Al: two bits dropped
    assert read_jpeg(exact).is_lossless
    assert not read_jpeg(bytes(shifted)).is_lossless


@pytest.mark.parametrize(
    ("markers", "expected"),
    [
        (b"", None),
        (segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), True),
        (segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"), False),
        (segment(0xEE, b"Adobe\0\x64\0\0\0\0\1"), True),
        (segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"), False),
    ],
)
def test_markers_of_colour(markers: bytes, expected: bool | None) -> None:
    sof = segment(0xC0, b"\x08\x00\x30\x00\x40\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00")
    sos = segment(0xDA, b"\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00")
    assert read_jpeg(SOI + markers + sof + sos + EOI).is_ycbcr is expected
    lettered = sof.replace(b"\x01\x11", b"R\x11").replace(b"\x02\x11", b"G\x11").replace(b"\x03\x11", b"B\x11")
    if not markers:
        assert read_jpeg(SOI + lettered + sos + EOI).is_ycbcr is False


def test_bytes_after_the_end_are_tolerated() -> None:
    assert read_jpeg(SOI + SOF + SOS + EOI + b"\x00\xd3\x0c\x99\xfa").rows == 48
    assert read_jpeg(packaged("JPGExtended.dcm").encoded).bits == 12


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "not a JPEG"),
        (b"\0\0" + SOI, "not a JPEG"),
        (SOI + SOF + SOS, "cut short"),
        (SOI + SOF + EOI, "longer than the frame|marker expected|no frame header"),
        (SOI + SOS + EOI, "no frame header"),
        (SOI + SOF + SOF + SOS + EOI, "two frame headers"),
        (SOI + b"\x00", "marker expected"),
        (SOI + b"\xff" * 50, "marker expected"),
        (SOI + segment(0xC9, b"") + SOS + EOI, "arithmetic"),
        (SOI + segment(0xC0, b"\x08\0\1") + SOS + EOI, "frame header is cut short"),
        (SOI + SOF + segment(0xDA, b"\x09\x01") + EOI, "scan header is cut short"),
        (SOI + SOF[:-4], "longer than the frame"),
        (SOI + SOF + SOS * 200 + EOI, "more scans"),
    ],
)
def test_malformed_streams(frame: bytes, message: str) -> None:
    with pytest.raises(MalformedDICOM, match=message):
        read_jpeg(frame)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_malformed(tail: bytes) -> None:
    for frame in (tail, SOI + tail, SOI + SOF + tail, SOI + SOF + SOS + tail):
        with contextlib.suppress(MalformedDICOM):
            read_jpeg(frame)
