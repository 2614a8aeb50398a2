from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.codecs import decode_frame
from nearframe.dicom.grayscale import VOIFunction, Window
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.render import (
    THUMBNAIL_PIXELS,
    RenderOptions,
    display_values,
    parse_window,
    render,
    render_animation,
)
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.dicom.targets import decoded_description
from nearframe.dicom.viewport import Viewport
from nearframe.errors import LimitExceeded, MalformedRequest, NotAcceptable
from tests.frame_samples import FrameSample, colour, grey, htj2k, packaged

RAMP = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint16)
WHOLE_RAMP = Window(79, 158, VOIFunction.LINEAR_EXACT)
PNG = RenderOptions("image/png")


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


def shown(sample: FrameSample) -> np.ndarray:
    samples = decode_frame(sample.encoded, sample.transfer_syntax_uid, sample.pixel)
    parameters = RenderParameters.from_metadata(sample.dataset.to_json_dict(suppress_invalid_tags=True))
    return display_values(samples, decoded_description(sample.transfer_syntax_uid, sample.pixel), parameters)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm"])
def test_grey_agrees_with_pydicom(name: str) -> None:
    sample = packaged(name)
    values = apply_modality_lut(sample.reference(), sample.dataset)
    low, high = (float(p) for p in np.percentile(values, [10, 90]))
    sample.dataset.WindowCenter, sample.dataset.WindowWidth = round((low + high) / 2), round(high - low)
    values = apply_voi_lut(values, sample.dataset).astype(float)
    values = (values - values.min()) / (values.max() - values.min()) * 255
    assert np.abs(shown(sample) - values).max() < 1


def test_palette_agrees_with_pydicom() -> None:
    sample = packaged("examples_palette.dcm")
    theirs = apply_color_lut(sample.reference(), sample.dataset) >> 8
    np.testing.assert_array_equal(shown(sample), theirs)


def test_ybr_agrees_with_pydicom() -> None:
    sample = packaged("SC_ybr_full_422_uncompressed.dcm")
    theirs = convert_color_space(sample.reference(), "YBR_FULL", "RGB")
    assert np.abs(shown(sample).astype(int) - theirs).max() <= 1


def test_wide_colour_is_narrowed_by_its_bits_stored() -> None:
    pixel = PixelDescription(1, 1, 3, 16, 12, 11, 0, "RGB")
    samples = np.array([[[0, 0x800, 0xFFF]]], np.uint16)
    assert display_values(samples, pixel, RenderParameters()).tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize(
    ("photometric", "inverse", "first"),
    [("MONOCHROME2", False, 0), ("MONOCHROME1", False, 255), ("MONOCHROME2", True, 255), ("MONOCHROME1", True, 255)],
)
def test_inversion(photometric: str, inverse: bool, first: int) -> None:
    pixel = replace(grey(64, 96), photometric_interpretation=photometric)
    grey_values = display_values(RAMP, pixel, RenderParameters(is_inverted=inverse), WHOLE_RAMP)
    assert grey_values[0, 0] == first


def test_padding_is_black_whatever_the_window() -> None:
    pixel = replace(grey(64, 96), photometric_interpretation="MONOCHROME1")
    samples = RAMP.copy()
    samples[:4] = 0
    assert display_values(samples, pixel, RenderParameters(padding=(0, 0)), WHOLE_RAMP)[0, 0] == 0


def test_eight_bit_pictures_without_window_are_shown_as_they_are() -> None:
    samples = RAMP.astype(np.uint8)
    pixel = grey(64, 96, bits_allocated=8, bits_stored=8)
    np.testing.assert_array_equal(display_values(samples, pixel, RenderParameters()), samples)


def test_wanted_window_wins_over_the_objects_own() -> None:
    parameters = RenderParameters(windows=(Window(10_000, 10),))
    assert display_values(RAMP, grey(64, 96), parameters).max() == 0
    assert display_values(RAMP, grey(64, 96), parameters, WHOLE_RAMP).max() == 255


@pytest.mark.parametrize(
    "pixel",
    [replace(colour(2, 2), photometric_interpretation="ARGB"), replace(grey(2, 2), photometric_interpretation="HSV")],
)
def test_unknown_photometric_interpretations_are_not_acceptable(pixel: PixelDescription) -> None:
    samples = np.zeros((2, 2, 3) if pixel.samples_per_pixel == 3 else (2, 2), np.uint8)
    with pytest.raises(NotAcceptable):
        display_values(samples, pixel, RenderParameters())


def test_one_bit_and_float_frames() -> None:
    bits = grey(2, 4, bits_allocated=1, bits_stored=1)
    picture = opened(render(b"\xa5", ts.ExplicitVRLittleEndian, bits, RenderParameters(), PNG))
    assert np.asarray(picture).tolist() == [[255, 0, 255, 0], [0, 255, 0, 255]]
    floats = grey(2, 2, bits_allocated=32, bits_stored=32, vr="OF")
    data = np.array([0, 1, 2, np.nan], "<f4").tobytes()
    assert np.asarray(opened(render(data, ts.ExplicitVRLittleEndian, floats, RenderParameters(), PNG))).max() == 255


# -- encoding ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif"])
def test_media_types(kind: str) -> None:
    options = RenderOptions(f"image/{kind}")
    picture = opened(render(RAMP.tobytes(), ts.ExplicitVRLittleEndian, grey(64, 96), RenderParameters(), options))
    assert picture.format == kind.upper()
    assert picture.size == (96, 64)


def test_other_media_types_are_not_acceptable() -> None:
    with pytest.raises(NotAcceptable):
        render(RAMP.tobytes(), ts.ExplicitVRLittleEndian, grey(64, 96), RenderParameters(), RenderOptions("image/jp2"))


def test_quality_changes_the_size() -> None:
    def size(quality: int) -> int:
        options = RenderOptions(quality=quality)
        return len(render(RAMP.tobytes(), ts.ExplicitVRLittleEndian, grey(64, 96), RenderParameters(), options))

    assert size(10) < size(95)


def test_profile_is_passed_on_with_colour() -> None:
    profile = bytes(36) + b"acsp" + bytes(88)
    parameters = RenderParameters(icc_profile=profile)
    picture = opened(render(bytes(48), ts.ExplicitVRLittleEndian, colour(4, 4), parameters))
    assert picture.info["icc_profile"] == profile


def test_non_square_pixels() -> None:
    parameters = RenderParameters(aspect_ratio=2)
    assert opened(render(RAMP.tobytes(), ts.ExplicitVRLittleEndian, grey(64, 96), parameters)).size == (96, 128)


def test_thumbnail_decodes_no_more_than_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    big = np.kron(RAMP, np.ones((16, 16), np.uint16))
    decoded: list[tuple[int, ...]] = []

    def spy(*args: Any, **kwargs: Any) -> Any:
        samples = decode_frame(*args, **kwargs)
        decoded.append(samples.shape)
        return samples

    monkeypatch.setattr("nearframe.dicom.render.decode_frame", spy)
    small = RenderOptions(viewport=Viewport(THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    picture = opened(render(htj2k(big), ts.HTJ2KLosslessRPCL, grey(*big.shape), RenderParameters(), small))
    assert picture.size == (256, 171)
    assert decoded == [(256, 384)]


def test_region_is_taken_from_the_full_frame() -> None:
    options = RenderOptions("image/png", window=WHOLE_RAMP, viewport=Viewport(8, 8, 0, 0, 8, 8))
    picture = opened(render(htj2k(RAMP), ts.HTJ2KLosslessRPCL, grey(64, 96), RenderParameters(), options))
    whole = display_values(RAMP, grey(64, 96), RenderParameters(), WHOLE_RAMP)
    np.testing.assert_array_equal(np.asarray(picture), whole[:8, :8])


def test_animation() -> None:
    frames = [(RAMP + step).tobytes() for step in (0, 20, 40)]
    parameters = [RenderParameters(windows=(Window(100, 200),), frame_time_ms=40)]
    picture = opened(
        render_animation(frames, ts.ExplicitVRLittleEndian, grey(64, 96), parameters, RenderOptions("image/gif"))
    )
    assert getattr(picture, "n_frames", 1) == 3
    assert picture.info["duration"] == 40
    assert picture.info["loop"] == 0


def test_animation_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearframe.dicom.render.MAX_ANIMATION_BYTES", 10_000)
    with pytest.raises(LimitExceeded):
        render_animation([RAMP.tobytes()] * 2, ts.ExplicitVRLittleEndian, grey(64, 96), [RenderParameters()], PNG)
    with pytest.raises(MalformedRequest):
        render_animation([], ts.ExplicitVRLittleEndian, grey(64, 96), [RenderParameters()], PNG)


# -- the window parameter ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("40,400,linear", Window(40, 400)),
        ("40,400", Window(40, 400)),
        ("-600.5,0.5,linear-exact", Window(-600.5, 0.5, VOIFunction.LINEAR_EXACT)),
        ("1,2,SIGMOID", Window(1, 2, VOIFunction.SIGMOID)),
    ],
)
def test_window_parameter(text: str, window: Window) -> None:
    assert parse_window(text) == window


@pytest.mark.parametrize("text", ["", "1", "a,b,linear", "1,0,linear", "1,0.5,linear", "1,-2,sigmoid", "1,2,x"])
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_window(text)
