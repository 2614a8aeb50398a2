from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import decode_frame, is_reversible
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples
from nearframe.dicom.targets import decoded_description
from nearframe.errors import LimitExceeded, MalformedDICOM, NotAcceptable
from tests.frame_samples import (
    FrameSample,
    colour,
    grey,
    htj2k,
    jpeg_2000,
    jpeg_lossless,
    jpeg_ls,
    lossy_jpeg_2000,
    packaged,
    packaged_samples,
    read_sample,
)

# Frames that no decoder can give whole, and why.
BROKEN = {
    "MR_truncated.dcm": "62 bytes of the pixel data are missing",
    "JPEG2000-embedded-sequence-delimiter.dcm": "pydicom finds another frame than the one written",
}
#: Ramp with noise: nothing a codec could guess.
NOISE = np.random.default_rng(7).integers(0, 4096, (70, 90), np.uint16)


def reference_of(sample: FrameSample) -> Samples | None:
    try:
        return sample.reference()
    except (RuntimeError, NotImplementedError):
        return None  # none of the installed decoders


def check_against_pydicom(sample: FrameSample) -> bool:
    """Compare with pydicom where the frame has exact samples; return whether that was possible."""
    samples = decode_frame(sample.encoded, sample.transfer_syntax_uid, sample.pixel)
    assert samples.shape[:2] == (sample.pixel.rows, sample.pixel.columns)
    reference = reference_of(sample)
    if reference is None or not is_reversible(sample.encoded, sample.transfer_syntax_uid, sample.pixel):
        return False
    np.testing.assert_array_equal(samples, reference, err_msg=sample.name)
    assert samples.dtype == reference.dtype.newbyteorder("<")
    return True


def test_frames_of_pydicom_are_equal() -> None:
    samples = [sample for sample in packaged_samples() if sample.name not in BROKEN]
    assert sum(check_against_pydicom(sample) for sample in samples) >= 36


@pytest.mark.data
@pytest.mark.parametrize("folder", ["zoo", "cine", "colour-stills", "pacs-rewrite-agfa"])
def test_frames_of_real_files_are_equal(data_dir: Path, folder: str) -> None:
    paths = [path for path in (data_dir / folder).rglob("*") if path.is_file() and path.name not in BROKEN]
    samples = [sample for path in paths if (sample := read_sample(path)) is not None]
    assert samples
    for sample in samples:
        check_against_pydicom(sample)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_frames_are_malformed(name: str) -> None:
    sample = packaged(name)
    with pytest.raises(MalformedDICOM):
        decode_frame(sample.encoded, sample.transfer_syntax_uid, sample.pixel)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm",
        "CTImage.dcm_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm",
        "CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm",
    ],
)
def test_twelve_bit_processes_that_pydicom_leaves_to_others(data_dir: Path, name: str) -> None:
    sample = read_sample(data_dir / "zoo" / "cornerstone" / name)
    assert sample is not None
    samples = decode_frame(sample.encoded, sample.transfer_syntax_uid, sample.pixel)
    assert samples.max() < 4096
    assert samples.std() > 100


# -- colour --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm"]
)
def test_lossy_jpeg_becomes_rgb(name: str) -> None:
    sample = packaged(name)
    samples = decode_frame(sample.encoded, sample.transfer_syntax_uid, sample.pixel)
    assert decoded_description(sample.transfer_syntax_uid, sample.pixel).photometric_interpretation == "RGB"
    # The first of their colour bars is pure red, whatever the colour space inside the stream.
    red, green, blue = (int(value) for value in samples[2, 50])
    assert red > 240
    assert max(green, blue) < 30


def test_reversible_colour_transform_is_undone() -> None:
    sample = packaged("examples_jpeg2k.dcm")
    assert sample.pixel.photometric_interpretation == "YBR_RCT"
    assert decoded_description(sample.transfer_syntax_uid, sample.pixel).photometric_interpretation == "RGB"


def test_description_of_planar_and_subsampled_frames() -> None:
    pixel = colour(4, 4, "YBR_FULL_422", planar_configuration=1)
    decoded = decoded_description(ts.ExplicitVRLittleEndian, pixel)
    assert (decoded.photometric_interpretation, decoded.planar_configuration) == ("YBR_FULL", 0)


# -- limits --------------------------------------------------------------------------------


def lossless_streams() -> dict[str, tuple[str, bytes]]:
    return {
        "jpeg-lossless": (
            ts.JPEGLosslessSV1,
            jpeg_lossless(NOISE, 16),
        ),
        "jpeg-ls": (ts.JPEGLSLossless, jpeg_ls(NOISE)),
        "jpeg-2000": (
            ts.JPEG2000Lossless,
            jpeg_2000(NOISE),
        ),
        "htj2k": (ts.HTJ2KLossless, htj2k(NOISE)),
    }


STREAMS = lossless_streams()


@pytest.mark.parametrize("name", STREAMS)
def test_lossless_streams_decode(name: str) -> None:
    uid, encoded = STREAMS[name]
    np.testing.assert_array_equal(decode_frame(encoded, uid, grey(70, 90)), NOISE)
    assert is_reversible(encoded, uid, grey(70, 90))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize(
    "pixel",
    [grey(70, 91), grey(7000, 9000), replace(grey(70, 90), samples_per_pixel=3), grey(70, 90, bits_allocated=8)],
)
def test_streams_that_do_not_fit_the_header_are_refused(name: str, pixel: PixelDescription) -> None:
    uid, encoded = STREAMS[name]
    with pytest.raises(MalformedDICOM, match=r"header says|Bits Allocated"):
        decode_frame(encoded, uid, pixel)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, -2])
def test_streams_cut_short_are_malformed(name: str, keep: float) -> None:
    uid, encoded = STREAMS[name]
    cut = encoded[: int(len(encoded) * keep)] if keep > 0 else encoded[: int(keep)]
    with pytest.raises(MalformedDICOM):
        decode_frame(cut, uid, grey(70, 90))


def test_frame_beyond_the_limit_is_refused_before_decoding() -> None:
    with pytest.raises(LimitExceeded, match="max_frame_bytes"):
        decode_frame(b"", ts.JPEG2000Lossless, colour(60_000, 60_000))


@pytest.mark.parametrize("pixel", [grey(0, 10), replace(grey(5, 5), samples_per_pixel=2)])
def test_pictures_that_cannot_be_are_malformed(pixel: PixelDescription) -> None:
    with pytest.raises(MalformedDICOM):
        decode_frame(b"", ts.ExplicitVRLittleEndian, pixel)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.102", ts.JPEGXLLossless, "1.2.3"])
def test_syntaxes_without_a_decoder_are_not_acceptable(uid: str) -> None:
    with pytest.raises(NotAcceptable):
        decode_frame(b"", uid, grey(4, 4))
    assert not is_reversible(b"", uid, grey(4, 4))


# -- resolution and sign -------------------------------------------------------------------


def test_lower_resolution_of_htj2k() -> None:
    _, encoded = STREAMS["htj2k"]
    quarter = decode_frame(encoded, ts.HTJ2KLossless, grey(70, 90), reduce=2)
    assert quarter.shape == (18, 23)
    assert decode_frame(encoded, ts.HTJ2KLossless, grey(70, 90), reduce=99).shape == (3, 3)


def test_codecs_without_resolutions_give_the_full_frame() -> None:
    _, encoded = STREAMS["jpeg-ls"]
    assert decode_frame(encoded, ts.JPEGLSLossless, grey(70, 90), reduce=2).shape == (70, 90)


def test_unsigned_stream_of_a_signed_object_is_sign_extended() -> None:
    signed = np.array([[-5, 4], [0, -2048]], np.int16)
    twelve_bits = (signed & 0x0FFF).astype(np.uint16)
    encoded = jpeg_lossless(twelve_bits, 12)
    samples = decode_frame(encoded, ts.JPEGLosslessSV1, grey(2, 2, signed=True))
    np.testing.assert_array_equal(samples, signed)


# -- reversibility -------------------------------------------------------------------------


def test_near_lossless_uid_with_near_zero_is_reversible() -> None:
    assert is_reversible(jpeg_ls(NOISE), ts.JPEGLSNearLossless, grey(70, 90))
    assert not is_reversible(jpeg_ls(NOISE, near=2), ts.JPEGLSNearLossless, grey(70, 90))


def test_stream_decides_under_a_uid_that_allows_both() -> None:
    exact = jpeg_2000(NOISE)
    lossy = lossy_jpeg_2000(NOISE)
    assert is_reversible(exact, ts.JPEG2000, grey(70, 90))
    assert not is_reversible(exact, ts.JPEG2000, grey(70, 90, lossy=True))
    assert not is_reversible(lossy, ts.JPEG2000, grey(70, 90))
    assert not is_reversible(lossy, ts.JPEG2000Lossless, grey(70, 90))


def test_native_and_baseline_need_no_look_into_the_stream() -> None:
    assert is_reversible(b"", ts.ExplicitVRBigEndian, grey(70, 90))
    assert not is_reversible(b"", ts.JPEGBaseline8Bit, grey(70, 90))
