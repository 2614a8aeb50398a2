from __future__ import annotations

import hashlib
import struct
from dataclasses import replace

import numpy as np
import pytest

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.frames import pix_digest, pix_of_frame
from nearframe.dicom.model import PixelDescription
from tests.frame_samples import colour, grey, htj2k, jpeg_2000, jpeg_ls, packaged

PICTURE = np.random.default_rng(3).integers(0, 4096, (16, 20), np.uint16)
RGB = np.random.default_rng(4).integers(0, 256, (16, 20, 3), np.uint8)


def test_digest_is_that_of_the_documented_form() -> None:
    # Digests are stored: a change here makes every known frame unknown.
    header = b"nf-pix-1" + struct.pack("<II6B", 2, 3, 1, 16, 16, 15, 0, 0) + b"MONOCHROME2".ljust(16, b"\0")
    samples = np.arange(6, dtype="<u2").reshape(2, 3)
    inner = hashlib.sha256(samples.tobytes()).digest()
    assert pix_digest(samples, grey(2, 3)) == hashlib.sha256(header + inner).digest()


def test_transfer_syntax_does_not_matter() -> None:
    pixel = grey(16, 20)
    native = pix_of_frame(PICTURE.tobytes(), ts.ExplicitVRLittleEndian, pixel)
    assert native == pix_digest(PICTURE, pixel)
    assert native == pix_of_frame(PICTURE.astype(">u2").tobytes(), ts.ExplicitVRBigEndian, pixel)
    assert native == pix_of_frame(jpeg_ls(PICTURE), ts.JPEGLSLossless, pixel)
    assert native == pix_of_frame(htj2k(PICTURE), ts.HTJ2K, pixel)


def test_same_picture_in_files_of_pydicom() -> None:
    names = ["MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm"]
    names += ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_expb.dcm"]
    samples = [packaged(name) for name in names]
    digests = {pix_of_frame(sample.encoded, sample.transfer_syntax_uid, sample.pixel) for sample in samples}
    assert len(digests) == 1
    assert None not in digests


def test_colour_model_is_that_of_the_decoded_samples() -> None:
    rct = jpeg_2000(RGB)
    native = pix_of_frame(RGB.tobytes(), ts.ExplicitVRLittleEndian, colour(16, 20))
    assert pix_of_frame(rct, ts.JPEG2000Lossless, colour(16, 20, "YBR_RCT")) == native
    planar = np.ascontiguousarray(RGB.transpose(2, 0, 1)).tobytes()
    assert pix_of_frame(planar, ts.ExplicitVRLittleEndian, colour(16, 20, planar_configuration=1)) == native
    assert pix_digest(RGB, colour(16, 20, "YBR_FULL")) != native


def test_wider_bits_stored_leave_the_pixels() -> None:
    assert pix_digest(PICTURE, grey(16, 20, bits_stored=12)) == pix_digest(PICTURE, grey(16, 20, bits_stored=16))
    signed = PICTURE.astype(np.int16) - 2048
    narrow, wide = grey(16, 20, bits_stored=12, signed=True), grey(16, 20, bits_stored=16, signed=True)
    assert pix_digest(signed, narrow) == pix_digest(signed, wide)


def test_something_above_bits_stored_makes_depth_matter() -> None:
    overlay = PICTURE | 0x8000
    assert pix_digest(overlay, grey(16, 20, bits_stored=12)) != pix_digest(overlay, grey(16, 20, bits_stored=16))
    assert pix_digest(overlay, grey(16, 20)) != pix_digest(PICTURE, grey(16, 20))
    # A signed value kept without sign extension means something else at another depth.
    raw = np.full((2, 2), 0x0FFF, np.int16)
    assert pix_digest(raw, grey(2, 2, signed=True)) != pix_digest(raw, grey(2, 2, bits_stored=16, signed=True))


@pytest.mark.parametrize(
    "other",
    [
        grey(20, 16),
        grey(16, 20, signed=True),
        replace(grey(16, 20), photometric_interpretation="MONOCHROME1"),
        replace(grey(16, 20), high_bit=15),
    ],
)
def test_what_changes_the_picture_changes_the_digest(other: PixelDescription) -> None:
    assert pix_digest(PICTURE, grey(16, 20)) != pix_digest(PICTURE, other)


def test_one_bit_frames_ignore_the_padding_of_the_last_byte() -> None:
    pixel = grey(3, 3, bits_allocated=1, bits_stored=1)
    assert pix_of_frame(b"\x55\x01", ts.ExplicitVRLittleEndian, pixel) == pix_of_frame(
        b"\x55\xff", ts.ExplicitVRLittleEndian, pixel
    )


def test_lossy_frames_have_no_pix() -> None:
    sample = packaged("examples_ybr_color.dcm")
    assert pix_of_frame(sample.encoded, sample.transfer_syntax_uid, sample.pixel) is None


def test_native_frames_are_hashed_where_they_lie() -> None:
    encoded = PICTURE.tobytes()
    samples = decode_frame(encoded, ts.ExplicitVRLittleEndian, grey(16, 20))
    assert np.shares_memory(samples, np.frombuffer(encoded, np.uint8))


@pytest.mark.parametrize(
    ("encoded", "transfer_syntax_uid", "pixel", "spared"),
    [
        (PICTURE.tobytes(), ts.ExplicitVRLittleEndian, grey(16, 20), True),
        (RGB.tobytes(), ts.ImplicitVRLittleEndian, colour(16, 20), True),
        (PICTURE.tobytes() + b"\0\0", ts.ExplicitVRLittleEndian, grey(16, 20), False),
        (PICTURE.astype(">u2").tobytes(), ts.ExplicitVRBigEndian, grey(16, 20), False),
        (RGB.tobytes(), ts.ExplicitVRLittleEndian, colour(16, 20, planar_configuration=1), False),
        (RGB.tobytes()[:640], ts.ExplicitVRLittleEndian, colour(16, 20, "YBR_FULL_422"), False),
        (b"\x55\x01", ts.ExplicitVRLittleEndian, grey(3, 3, bits_allocated=1, bits_stored=1), False),
        (jpeg_ls(PICTURE), ts.JPEGLSLossless, grey(16, 20), False),
    ],
)
def test_a_known_digest_spares_the_second_hash_and_changes_nothing(
    encoded: bytes, transfer_syntax_uid: str, pixel: PixelDescription, spared: bool
) -> None:
    plain = pix_of_frame(encoded, transfer_syntax_uid, pixel)
    assert pix_of_frame(encoded, transfer_syntax_uid, pixel, hashlib.sha256(encoded).digest()) == plain
    trusted = pix_of_frame(encoded, transfer_syntax_uid, pixel, bytes(32)) != plain
    assert trusted == spared


def test_floating_point_frames() -> None:
    values = np.linspace(-1, 1, 12, dtype="<f4").reshape(3, 4)
    pixel = grey(3, 4, bits_allocated=32, bits_stored=32, vr="OF")
    assert pix_of_frame(values.tobytes(), ts.ExplicitVRLittleEndian, pixel) == pix_digest(values, pixel)
    as_integers = replace(pixel, vr="OW")
    assert pix_of_frame(values.tobytes(), ts.ExplicitVRLittleEndian, as_integers) != pix_digest(values, pixel)
