from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearframe.dicom.grayscale import LookupTable, ModalityTransform
from nearframe.dicom.palette import Palette
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.errors import NotAcceptable
from nearframe.perceptual.luminance import luminance
from tests.frame_samples import colour, grey

RAMP = np.tile(np.arange(128, dtype=np.int16) * 8, (96, 1))
SIGNED = grey(96, 128, bits_stored=16, signed=True)
CT = RenderParameters(modality="CT", modality_transform=ModalityTransform(1, -512))


def test_any_size_becomes_64_by_64() -> None:
    for shape in ((1, 1), (10, 700), (64, 64), (700, 33)):
        plane = luminance(np.zeros(shape, np.int16), grey(*shape, signed=True), RenderParameters())
        assert plane.shape == (64, 64)


def test_ct_is_shown_through_one_fixed_window() -> None:
    plane = luminance(RAMP, SIGNED, CT)
    assert plane.min() == 0
    assert plane.max() == 1
    # Stored 352 is -160 HU, 752 is 240 HU: columns 44 and 94 of 128.
    assert plane[0, 20] == pytest.approx(0, abs=0.01)
    assert plane[0, 48] == pytest.approx(1, abs=0.01)
    assert plane[0, 34] == pytest.approx(0.5, abs=0.03)


def test_slope_and_intercept_do_not_matter_to_ct() -> None:
    doubled = RenderParameters(modality="CT", modality_transform=ModalityTransform(0.5, -512))
    np.testing.assert_allclose(luminance(RAMP * 2, SIGNED, doubled), luminance(RAMP, SIGNED, CT), atol=1e-5)
    falling = RenderParameters(modality="CT", modality_transform=ModalityTransform(-1, -512))
    np.testing.assert_allclose(luminance(-RAMP, SIGNED, falling), luminance(RAMP, SIGNED, CT), atol=1e-5)


def test_other_grey_pictures_are_scaled_by_percentiles_of_the_foreground() -> None:
    samples = RAMP.copy()
    samples[:, :64] = 0
    first = luminance(samples, SIGNED, RenderParameters(modality="MR"))
    np.testing.assert_allclose(luminance(samples * 3, SIGNED, RenderParameters(modality="MR")), first, atol=1e-4)
    assert first[0, 63] > 0.9


def test_padding_is_no_foreground() -> None:
    padded = RAMP.copy()
    padded[:20] = -30_000
    plane = luminance(padded, SIGNED, RenderParameters(modality="CR", padding=(-30_000, -30_000)))
    without = luminance(RAMP, SIGNED, RenderParameters(modality="CR"))
    np.testing.assert_allclose(plane[30], without[30], atol=0.05)


def test_monochrome1_is_inverted() -> None:
    inverted = replace(SIGNED, photometric_interpretation="MONOCHROME1")
    np.testing.assert_allclose(luminance(RAMP, inverted, CT), 1 - luminance(RAMP, SIGNED, CT), atol=1e-6)


def test_masks_of_two_values_keep_their_shape() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 1
    plane = luminance(mask, grey(64, 64, bits_allocated=1, bits_stored=1), RenderParameters(modality="SEG"))
    assert plane[32, 32] == 1
    assert plane[2, 2] == 0


def test_colour_counts_by_its_luma() -> None:
    green = np.zeros((8, 8, 3), np.uint8)
    green[..., 1] = 255
    assert luminance(green, colour(8, 8), RenderParameters())[0, 0] == pytest.approx(0.587)
    ybr = np.full((8, 8, 3), 51, np.uint8)
    assert luminance(ybr, colour(8, 8, "YBR_FULL"), RenderParameters())[0, 0] == pytest.approx(0.2)
    palette = Palette(np.array([[0, 0, 0], [0, 255, 0]], np.uint8), 0)
    indices = replace(grey(8, 8, bits_allocated=8, bits_stored=8), photometric_interpretation="PALETTE COLOR")
    shown = luminance(np.ones((8, 8), np.uint8), indices, RenderParameters(palette=palette))
    assert shown[0, 0] == pytest.approx(0.587)


def test_modality_table_and_floating_point() -> None:
    table = LookupTable(np.arange(1024, dtype=np.uint16)[::-1].copy(), 0, 10)
    bent = RenderParameters(modality="CR", modality_transform=ModalityTransform(table=table))
    plane = luminance(RAMP, SIGNED, bent)
    assert plane[0, 0] > plane[0, 63]
    floats = grey(96, 128, bits_allocated=32, bits_stored=32, vr="OF")
    values = np.where(RAMP == 0, np.nan, RAMP).astype(np.float32)
    assert np.isfinite(luminance(values, floats, RenderParameters())).all()


def test_what_has_no_brightness() -> None:
    with pytest.raises(NotAcceptable):
        luminance(np.zeros((4, 4, 3), np.uint8), colour(4, 4, "HSV"), RenderParameters())
    indices = replace(grey(4, 4), photometric_interpretation="PALETTE COLOR")
    with pytest.raises(NotAcceptable):
        luminance(np.zeros((4, 4), np.uint16), indices, RenderParameters())
