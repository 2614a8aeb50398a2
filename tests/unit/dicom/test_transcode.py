from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from nearframe.dicom import encoders, transcode
from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.frames import pix_of_frame
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.dicom.targets import targets, wants_rendition
from nearframe.dicom.transcode import best_rendition, to_explicit_le
from nearframe.errors import IntegrityError, NotAcceptable
from tests.frame_samples import colour, grey, jpeg_ls, lossy_jpeg_2000, packaged, read_sample

RNG = np.random.default_rng(12)
SMOOTH = (np.add.outer(np.arange(80), np.arange(90)) * 8 + RNG.integers(0, 9, (80, 90))).astype(np.uint16)
PIXEL = grey(80, 90)


@pytest.mark.parametrize("uid", encoders.ENCODERS)
def test_pix_survives_every_target(uid: str) -> None:
    native = SMOOTH.tobytes()
    there = transcode.transcode(native, ts.ExplicitVRLittleEndian, PIXEL, uid)
    assert there.transfer_syntax_uid == uid
    assert not there.lossy
    back = transcode.transcode(there.encoded, uid, there.pixel, ts.ExplicitVRLittleEndian)
    assert back.encoded == native
    assert pix_of_frame(there.encoded, uid, there.pixel) == pix_of_frame(native, ts.ExplicitVRLittleEndian, PIXEL)


def test_own_syntax_is_passed_on_untouched() -> None:
    encoded = SMOOTH.tobytes()
    assert transcode.transcode(encoded, ts.ImplicitVRLittleEndian, PIXEL, ts.ImplicitVRLittleEndian).encoded is encoded


@pytest.mark.parametrize("name", ["examples_ybr_color.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "JPEGLSNearLossless_08.dcm"])
def test_lossy_originals_are_decoded_and_never_encoded(name: str) -> None:
    sample = packaged(name)
    frame = to_explicit_le(sample.encoded, sample.transfer_syntax_uid, sample.pixel)
    assert frame.lossy
    assert frame.pixel.lossy
    assert len(frame.encoded) == sample.pixel.rows * sample.pixel.columns * sample.pixel.samples_per_pixel
    assert frame.pixel.photometric_interpretation in ("RGB", "MONOCHROME2")
    assert best_rendition(sample.encoded, sample.transfer_syntax_uid, sample.pixel) is None
    for uid in encoders.ENCODERS:
        if uid == sample.transfer_syntax_uid:
            continue
        with pytest.raises(NotAcceptable):
            transcode.transcode(sample.encoded, sample.transfer_syntax_uid, sample.pixel, uid)


def test_lossy_stream_under_a_lossless_uid_is_not_encoded_again() -> None:
    encoded = lossy_jpeg_2000(SMOOTH)
    assert best_rendition(encoded, ts.JPEG2000Lossless, PIXEL) is None
    with pytest.raises(NotAcceptable, match="lossy original"):
        transcode.transcode(encoded, ts.JPEG2000Lossless, PIXEL, ts.HTJ2KLosslessRPCL)


def test_native_frame_of_a_lossy_history_keeps_its_flag() -> None:
    frame = transcode.transcode(
        SMOOTH.tobytes(), ts.ExplicitVRLittleEndian, replace(PIXEL, lossy=True), ts.HTJ2KLosslessRPCL
    )
    assert frame.lossy
    assert frame.pixel.lossy


def test_colour_goes_through_the_reversible_transform() -> None:
    rgb = RNG.integers(0, 256, (80, 90, 3), np.uint8)
    planar = np.ascontiguousarray(rgb.transpose(2, 0, 1)).tobytes()
    pixel = colour(80, 90, planar_configuration=1)
    frame = transcode.transcode(planar, ts.ExplicitVRLittleEndian, pixel, ts.HTJ2KLosslessRPCL)
    assert (frame.pixel.photometric_interpretation, frame.pixel.planar_configuration) == ("YBR_RCT", 0)
    back = to_explicit_le(frame.encoded, frame.transfer_syntax_uid, frame.pixel)
    assert back.encoded == rgb.tobytes()
    assert back.pixel.photometric_interpretation == "RGB"


def test_big_endian_keeps_its_layout() -> None:
    planes = RNG.integers(0, 65536, (3, 4, 6), np.uint16)
    pixel = PixelDescription(4, 6, 3, 16, 16, 15, 0, "RGB", planar_configuration=1)
    frame = to_explicit_le(planes.astype(">u2").tobytes(), ts.ExplicitVRBigEndian, pixel)
    assert frame.encoded == planes.tobytes()
    assert frame.pixel.planar_configuration == 1


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+n2.dcm"])
def test_lossy_jpeg_of_ybr_full_stays_as_its_header_says(name: str) -> None:
    sample = packaged(name)
    frame = to_explicit_le(sample.encoded, sample.transfer_syntax_uid, sample.pixel)
    assert sample.pixel.photometric_interpretation == frame.pixel.photometric_interpretation == "YBR_FULL"
    ybr = np.frombuffer(frame.encoded, np.uint8).reshape(sample.reference().shape).astype(int)
    assert np.abs(ybr - sample.reference()).max() <= 1


def test_lossy_jpeg_that_is_not_ycbcr_becomes_what_it_is() -> None:
    rgb = RNG.integers(0, 256, (80, 90, 3), np.uint8)
    encoded = imagecodecs.jpeg8_encode(rgb, colorspace="RGB", outcolorspace="RGB")
    frame = to_explicit_le(bytes(encoded), ts.JPEGBaseline8Bit, colour(80, 90, "YBR_FULL"))
    assert frame.pixel.photometric_interpretation == "RGB"


def test_decoded_colour_keeps_the_planar_configuration_of_its_header() -> None:
    rgb = RNG.integers(0, 256, (80, 90, 3), np.uint8)
    encoded = transcode.transcode(rgb.tobytes(), ts.ExplicitVRLittleEndian, colour(80, 90), ts.RLELossless).encoded
    frame = to_explicit_le(encoded, ts.RLELossless, colour(80, 90, planar_configuration=1))
    assert frame.encoded == rgb.transpose(2, 0, 1).tobytes()
    assert frame.pixel.planar_configuration == 1


def test_padded_fragment_of_encapsulated_native() -> None:
    pixel = grey(1, 3, bits_allocated=8, bits_stored=8)
    frame = to_explicit_le(b"abc\0", ts.EncapsulatedUncompressedExplicitVRLittleEndian, pixel)
    assert frame.encoded == b"abc"


def test_padding_of_odd_big_endian_words_is_dropped() -> None:
    pixel = grey(1, 3, bits_allocated=8, bits_stored=8)
    assert to_explicit_le(b"ba\0c", ts.ExplicitVRBigEndian, pixel).encoded == b"abc"


def test_resolution_offsets_cut_exact_pictures() -> None:
    frame = best_rendition(SMOOTH.tobytes(), ts.ExplicitVRLittleEndian, PIXEL)
    assert frame is not None
    assert len(frame.resolution_offsets) == 6
    assert frame.resolution_offsets[-1] == len(frame.encoded) - 2
    quarter = decode_frame(frame.encoded, frame.transfer_syntax_uid, frame.pixel, reduce=2)
    assert quarter.shape == (20, 23)


# -- policy --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uid", "pixel", "wanted"),
    [
        (ts.ExplicitVRLittleEndian, grey(512, 512), True),
        (ts.RLELossless, grey(512, 512), True),
        (ts.JPEGLosslessSV1, grey(512, 512), True),
        (ts.ExplicitVRLittleEndian, colour(512, 512), True),
        (ts.ExplicitVRLittleEndian, colour(512, 512, planar_configuration=1), False),
        (ts.ExplicitVRLittleEndian, colour(512, 512, "YBR_FULL_422"), False),
        (ts.JPEGLSLossless, grey(512, 512), False),
        (ts.JPEGLSLossless, grey(2048, 2048), True),
        (ts.JPEG2000, grey(2048, 2048), True),
        (ts.HTJ2KLossless, grey(2048, 2048), False),
        (ts.JPEGBaseline8Bit, colour(2048, 2048), False),
        ("1.2.840.10008.1.2.4.102", colour(2048, 2048), False),
        (ts.ExplicitVRLittleEndian, grey(63, 63), False),
        (ts.ExplicitVRLittleEndian, grey(512, 512, bits_allocated=1, bits_stored=1), False),
        (ts.ExplicitVRLittleEndian, grey(512, 512, bits_allocated=32, bits_stored=32), False),
        (ts.ExplicitVRLittleEndian, replace(grey(512, 512), photometric_interpretation="PALETTE COLOR"), False),
    ],
)
def test_which_frames_get_a_rendition(uid: str, pixel: PixelDescription, wanted: bool) -> None:
    assert wants_rendition(uid, pixel) is wanted


def test_noise_is_left_as_it_is() -> None:
    noise = RNG.integers(0, 65536, (80, 90), np.uint16)
    assert best_rendition(noise.tobytes(), ts.ExplicitVRLittleEndian, grey(80, 90, bits_stored=16)) is None


def test_targets_by_uid_alone() -> None:
    assert ts.HTJ2KLosslessRPCL in targets(ts.ExplicitVRLittleEndian, PIXEL)
    assert targets(ts.JPEGBaseline8Bit, colour(8, 8)) == (ts.JPEGBaseline8Bit, ts.ExplicitVRLittleEndian)
    assert targets("1.2.840.10008.1.2.4.102", colour(8, 8)) == ("1.2.840.10008.1.2.4.102",)
    assert targets(ts.ExplicitVRLittleEndian, grey(8, 8, bits_allocated=1, bits_stored=1)) == (
        ts.ExplicitVRLittleEndian,
    )


def test_target_nobody_writes_is_not_acceptable() -> None:
    with pytest.raises(NotAcceptable):
        transcode.transcode(SMOOTH.tobytes(), ts.ExplicitVRLittleEndian, PIXEL, ts.JPEGBaseline8Bit)


def test_encoder_that_changes_a_sample_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(pixels: Samples, _: PixelDescription) -> bytes:
        return jpeg_ls(pixels ^ 1)

    monkeypatch.setitem(encoders.ENCODERS, ts.JPEGLSLossless, off_by_one)
    with pytest.raises(IntegrityError):
        transcode.transcode(SMOOTH.tobytes(), ts.ExplicitVRLittleEndian, PIXEL, ts.JPEGLSLossless)


@pytest.mark.data
def test_quarter_picture_of_a_real_slice_is_a_small_prefix(data_dir: Path) -> None:
    paths = sorted(path for path in (data_dir / "ct-head-ge").rglob("*.dcm"))
    sample = read_sample(paths[len(paths) // 2])
    assert sample is not None
    frame = best_rendition(sample.encoded, sample.transfer_syntax_uid, sample.pixel)
    assert frame is not None
    assert frame.resolution_offsets[-3] < 0.14 * len(frame.encoded)
