from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.pixels.processing import apply_voi_lut

from nearframe.dicom.grayscale import (
    LookupTable,
    ModalityTransform,
    VOIFunction,
    Window,
    automatic_window,
    stored_values,
    through_table,
)
from nearframe.dicom.model import PixelDescription
from tests.frame_samples import grey

HU = np.arange(-1000, 1000, dtype=np.int16)


@pytest.mark.parametrize("function", list(VOIFunction))
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (0, 1), (40.5, 2), (10, 0.5)])
def test_window_agrees_with_pydicom(function: VOIFunction, center: float, width: float) -> None:
    if function is VOIFunction.LINEAR and width < 1:
        pytest.skip("not allowed by PS3.3 C.11.2.1.2.1")
    dataset = Dataset()
    dataset.PhotometricInterpretation, dataset.BitsStored, dataset.PixelRepresentation = "MONOCHROME2", 16, 1
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = center, width, function.value
    with np.errstate(over="ignore"):  # pydicom's sigmoid
        theirs = (apply_voi_lut(HU, dataset) + 32768) / 65535
    if width == 1 and function is VOIFunction.LINEAR:
        theirs = (center - 0.5 < HU).astype(float)  # pydicom divides by zero here
    np.testing.assert_allclose(Window(center, width, function).apply(HU.astype(float)), theirs, atol=1e-6)


def test_window_narrower_than_allowed_is_a_threshold() -> None:
    assert Window(10, 0.2).apply(np.array([9.0, 10.0])).tolist() == [0, 1]


def test_lookup_table_goes_on_with_its_ends() -> None:
    table = LookupTable(np.array([5, 6, 7], np.uint16), first=-1, bits=3)
    assert table.apply(np.array([-9.0, -1.0, 0.0, 1.0, 9.0])).tolist() == [5, 5, 6, 7, 7]
    assert table.to_display(np.array([1.0])).tolist() == [1]


def test_modality_table_takes_the_place_of_slope_and_intercept() -> None:
    table = LookupTable(np.array([100, 200], np.uint16), 0, 8)
    assert ModalityTransform(2, -10).apply(np.array([3.0])).tolist() == [-4]
    assert ModalityTransform(2, -10, table).apply(np.array([1.0])).tolist() == [200]


def test_stored_values_leave_out_what_surrounds_them() -> None:
    overlay = np.array([0xF123], np.uint16)
    assert stored_values(overlay, grey(1, 1)).tolist() == [0x123]
    left_aligned = PixelDescription(1, 1, 1, 16, 12, 15, 0, "MONOCHROME2")
    assert stored_values(np.array([0x1230], np.uint16), left_aligned).tolist() == [0x123]
    assert stored_values(np.array([0x0FFF], np.int16), grey(1, 1, signed=True)).tolist() == [-1]


@pytest.mark.parametrize(
    "samples",
    [
        np.array([[0, 4095]], np.uint16),
        np.array([[-2048, 2047]], np.int16),
        np.array([[-(2**31), 2**31 - 1]], np.int32),
        np.array([[10**9, 10**9 + 1]], np.uint32),
        np.array([[-1.5, np.nan]], np.float32),
    ],
)
def test_every_kind_of_sample_goes_through_the_table(samples: np.ndarray) -> None:
    low, high = float(np.nanmin(samples)), float(np.nanmax(samples))
    shown = through_table(samples, lambda stored: np.clip((stored - low) / max(high - low, 1), 0, 1))
    assert shown.dtype == np.uint8
    assert shown[0, 0] == 0
    if samples.dtype.kind != "f":
        assert shown[0, 1] == 255


def test_automatic_window_leaves_padding_out() -> None:
    samples = np.tile(np.arange(100, 200, dtype=np.int16), (100, 1))
    samples[:30] = -2000
    window = automatic_window(samples, (-2000, -2000), ModalityTransform(1, -24))
    assert window.center == pytest.approx(125.5, abs=2)
    assert window.width == pytest.approx(99, abs=3)


def test_automatic_window_of_nothing() -> None:
    empty = np.full((4, 4), np.nan, np.float32)
    assert automatic_window(empty, None, ModalityTransform()).center == 0
    flat = automatic_window(np.full((4, 4), 7, np.uint16), (7, 7), ModalityTransform())
    assert flat.center == 7
