from __future__ import annotations

import contextlib
import struct

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.j2kheader import read_jpeg_2000, resolution_offsets
from nearframe.errors import MalformedDICOM
from tests.frame_samples import htj2k, jpeg_2000, lossy_jpeg_2000, packaged

PICTURE = np.random.default_rng(5).integers(-500, 500, (100, 130), np.int16)
HTJ2K = htj2k(PICTURE)
J2K = jpeg_2000(PICTURE)


def test_htj2k() -> None:
    stream = read_jpeg_2000(HTJ2K)
    assert (stream.rows, stream.columns, stream.components, stream.bits) == (100, 130, 1, 16)
    assert stream.is_signed
    assert stream.is_lossless
    assert stream.is_high_throughput
    assert stream.levels == 5


def test_jpeg_2000() -> None:
    stream = read_jpeg_2000(J2K)
    assert not stream.is_high_throughput
    assert stream.is_lossless
    lossy = lossy_jpeg_2000(PICTURE)
    assert not read_jpeg_2000(lossy).is_lossless


def test_codestream_behind_jp2_boxes() -> None:
    boxed = packaged("GDCMJ2K_TextGBR.dcm").encoded
    stream = read_jpeg_2000(boxed)
    assert stream.start > 0
    assert (stream.rows, stream.columns) == (400, 400)


def test_resolutions_end_where_their_tile_parts_end() -> None:
    offsets = resolution_offsets(HTJ2K)
    assert len(offsets) == 6
    assert list(offsets) == sorted(offsets)
    assert offsets[-1] == len(HTJ2K) - 2  # the end marker
    for index, offset in enumerate(offsets):
        skipped = len(offsets) - 1 - index
        prefix = imagecodecs.htj2k_decode(HTJ2K[:offset], skipres=skipped, resilient=True)
        np.testing.assert_array_equal(prefix, imagecodecs.htj2k_decode(HTJ2K, skipres=skipped))


def patched(stream: bytes, marker: int, offset: int, value: bytes) -> bytes:
    at = stream.index(struct.pack(">H", marker)) + offset
    return stream[:at] + value + stream[at + len(value) :]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "not a JPEG 2000"),
        (J2K[:40], "cut short"),
        (J2K[:-2], "no end marker|longer than"),
        (J2K[:-100], "no end marker|longer than"),
        (patched(J2K, 0xFF51, 6, bytes(8)), "makes no sense"),
        (patched(J2K, 0xFF51, 6, b"\0\1\0\0\0\1\0\0"), "tiles, more than"),
        (patched(J2K, 0xFF90, 6, b"\0\0\0\3"), "longer than"),
        (patched(J2K, 0xFF52, 0, b"\xff\x5c"), "exactly one"),
    ],
)
def test_malformed_streams(frame: bytes, message: str) -> None:
    with pytest.raises(MalformedDICOM, match=message):
        read_jpeg_2000(frame)


def with_cod(stream: bytes, cod: bytes) -> bytes:
    """Return the stream with another coding style in its main header."""
    at = stream.index(b"\xff\x52")
    length = int.from_bytes(stream[at + 2 : at + 4], "big")
    return stream[: at + 2] + struct.pack(">H", len(cod) + 2) + cod + stream[at + 2 + length :]


def style(*, layers: int = 1, levels: int = 5, block: int = 4, precincts: bytes = b"") -> bytes:
    return struct.pack(">BBHBBBBBB", bool(precincts), 2, layers, 0, levels, block, block, 0, 1) + precincts


def sized(stream: bytes, side: int) -> bytes:
    """Return the stream announcing another size, in one tile."""
    both = struct.pack(">II", side, side)
    return patched(patched(stream, 0xFF51, 6, both), 0xFF51, 22, both)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        # 2 KB like this made OpenJPEG work for 25 s in 2.3 GB.
        (sized(with_cod(J2K, style(precincts=b"\x00" + b"\x11" * 5)), 2048), "precincts"),
        (with_cod(J2K, style(precincts=b"\x11" * 6, layers=9)), "more packets than it has bytes"),
        (with_cod(J2K, style(layers=65_535)), "more packets than it has bytes"),
        (sized(with_cod(J2K, style(block=0)), 8192), "code blocks"),
        (with_cod(J2K, style(levels=33)), "coding style is cut short"),
        (with_cod(J2K, style(precincts=b"\xff\xff")), "precinct sizes"),
        (patched(J2K, 0xFF51, 34, b"\0\0\0\2"), "do not cover"),
        (patched(J2K, 0xFF51, 38 + 3, b"\2"), "subsampled"),
    ],
)
def test_headers_that_would_cost_too_much(frame: bytes, message: str) -> None:
    with pytest.raises(MalformedDICOM, match=message):
        read_jpeg_2000(frame)


def test_tile_part_headers_are_looked_at_too() -> None:
    sot = J2K.index(b"\xff\x90")
    cod = style(precincts=b"\x11" * 6, layers=9)
    segment = b"\xff\x52" + struct.pack(">H", len(cod) + 2) + cod
    length = int.from_bytes(J2K[sot + 6 : sot + 10], "big")
    overruled = J2K[: sot + 6] + struct.pack(">I", length + len(segment)) + J2K[sot + 10 : sot + 12] + segment
    with pytest.raises(MalformedDICOM, match="packets"):
        read_jpeg_2000(overruled + J2K[sot + 12 :])


def test_component_style_overrides_the_default() -> None:
    cod = J2K.index(b"\xff\x52")
    length = int.from_bytes(J2K[cod + 2 : cod + 4], "big")
    style = J2K[cod + 9 : cod + 2 + length]
    irreversible = style[:4] + b"\0" + style[5:]
    coc = b"\xff\x53" + (4 + len(style)).to_bytes(2, "big") + b"\0\0" + irreversible
    at = cod + 2 + length
    assert not read_jpeg_2000(J2K[:at] + coc + J2K[at:]).is_lossless


@given(st.integers(0, 120), st.binary(min_size=1, max_size=8))
def test_damaged_headers_are_read_or_malformed(at: int, damage: bytes) -> None:
    with contextlib.suppress(MalformedDICOM):
        read_jpeg_2000(HTJ2K[:at] + damage + HTJ2K[at + len(damage) :])
