from __future__ import annotations

import numpy as np
import pytest

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.encoders import ENCODERS, MAX_BASE_PIXELS, decomposition_levels, encode_htj2k
from nearframe.dicom.j2kheader import read_jpeg_2000
from nearframe.dicom.jpegheader import read_jpeg
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.dicom.targets import can_encode
from tests.frame_samples import colour, grey

RNG = np.random.default_rng(11)


def pictures() -> dict[str, tuple[Samples, PixelDescription]]:
    unsigned = RNG.integers(0, 4096, (33, 47), np.uint16)
    return {
        "12 bits": (unsigned, grey(33, 47)),
        "16 bits": (unsigned << 4, grey(33, 47, bits_stored=16)),
        "signed": (unsigned.astype(np.int16) - 2048, grey(33, 47, signed=True)),
        "8 bits": (unsigned.astype(np.uint8), grey(33, 47, bits_allocated=8, bits_stored=8)),
        "signed 8 bits": (unsigned.astype(np.int8), grey(33, 47, bits_allocated=8, bits_stored=8, signed=True)),
        "above bits stored": (unsigned | 0x8000, grey(33, 47)),
        "left-aligned": (unsigned << 4, PixelDescription(33, 47, 1, 16, 12, 15, 0, "MONOCHROME2")),
        "RGB": (RNG.integers(0, 256, (33, 47, 3), np.uint8), colour(33, 47)),
        "YBR": (RNG.integers(0, 256, (33, 47, 3), np.uint8), colour(33, 47, "YBR_FULL")),
        "RGB 16": (
            RNG.integers(0, 65536, (33, 47, 3), np.uint16),
            PixelDescription(33, 47, 3, 16, 16, 15, 0, "RGB"),
        ),
    }


PICTURES = pictures()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("uid", ENCODERS)
def test_what_is_written_reads_back_equal(name: str, uid: str) -> None:
    pixels, pixel = PICTURES[name]
    assert can_encode(uid, pixel)
    np.testing.assert_array_equal(decode_frame(ENCODERS[uid](pixels, pixel), uid, pixel), pixels)


def test_precision_is_bits_stored_where_samples_keep_to_it() -> None:
    pixels, pixel = PICTURES["12 bits"]
    assert read_jpeg_2000(ENCODERS[ts.JPEG2000Lossless](pixels, pixel)).bits == 12
    assert read_jpeg(ENCODERS[ts.JPEGLosslessSV1](pixels, pixel)).bits == 12
    overlay, _ = PICTURES["above bits stored"]
    assert read_jpeg_2000(ENCODERS[ts.JPEG2000Lossless](overlay, pixel)).bits == 16


@pytest.mark.parametrize(
    ("rows", "columns", "levels"),
    [(512, 512, 5), (3062, 2394, 6), (8192, 8192, 7), (64, 64, 5), (10, 10, 3), (1, 1, 0), (5, 2000, 5)],
)
def test_base_resolution_is_small_enough(rows: int, columns: int, levels: int) -> None:
    pixel = grey(rows, columns)
    assert decomposition_levels(pixel) == levels
    assert max(rows, columns) >> levels <= MAX_BASE_PIXELS


def test_htj2k_options_of_transfer_syntax_202() -> None:
    pixels, pixel = PICTURES["12 bits"]
    encoded = encode_htj2k(pixels, pixel)
    cod = encoded.index(b"\xff\x52")
    assert encoded[cod + 5] == 2  # RPCL (T.800 Table A.16)
    assert b"\xff\x55" in encoded[: cod + 100]  # TLM
    assert read_jpeg_2000(encoded).is_high_throughput


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (3, 2), (2000, 5)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    pixels = RNG.integers(0, 4096, shape, np.uint16)
    pixel = grey(*shape)
    for uid, encode in ENCODERS.items():
        np.testing.assert_array_equal(decode_frame(encode(pixels, pixel), uid, pixel), pixels)


@pytest.mark.parametrize(
    "pixel",
    [
        grey(8, 8, bits_allocated=1, bits_stored=1),
        grey(8, 8, bits_allocated=32, bits_stored=32, vr="OF"),
        grey(8, 8, bits_allocated=64, bits_stored=64, vr="OD"),
    ],
)
def test_what_cannot_be_written(pixel: PixelDescription) -> None:
    assert not any(can_encode(uid, pixel) for uid in ENCODERS)


def test_only_rle_takes_32_bits() -> None:
    pixel = grey(8, 8, bits_allocated=32, bits_stored=32)
    assert [uid for uid in ENCODERS if can_encode(uid, pixel)] == [ts.RLELossless]
