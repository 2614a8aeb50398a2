from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nearframe.dicom.viewport import Viewport, square_pixels
from nearframe.errors import LimitExceeded, MalformedRequest

PICTURE = Image.fromarray(np.add.outer(np.arange(40), 2 * np.arange(80)).astype(np.uint8))


def test_parse() -> None:
    assert Viewport.parse("100, 50") == Viewport(100, 50)
    assert Viewport.parse("100,50,1,2,-30,40") == Viewport(100, 50, 1, 2, -30, 40)
    assert Viewport.parse("100,50,,,30,") == Viewport(100, 50, 0, 0, 30, None)


@pytest.mark.parametrize("text", ["", "100", "a,b", "0,5", "-3,5", "1,2,3", "9,9,0,0,0,5", "1,2,3,4,5,6,7"])
def test_what_is_no_viewport(text: str) -> None:
    with pytest.raises(MalformedRequest):
        Viewport.parse(text)


def test_viewport_beyond_the_limit() -> None:
    with pytest.raises(LimitExceeded):
        Viewport.parse("100000,10")


def test_proportions_are_kept() -> None:
    assert Viewport(100, 100).apply(PICTURE).size == (100, 50)
    assert Viewport(20, 5).apply(PICTURE).size == (10, 5)
    assert Viewport(100, 100).apply(PICTURE, aspect_ratio=2).size == (100, 100)


def test_region_and_flips() -> None:
    region = np.asarray(PICTURE)[10:20, 20:50]
    np.testing.assert_array_equal(Viewport(30, 10, 20, 10, 30, 10).apply(PICTURE), region)
    np.testing.assert_array_equal(Viewport(30, 10, 20, 10, -30, 10).apply(PICTURE), region[:, ::-1])
    np.testing.assert_array_equal(Viewport(30, 10, 20, 10, 30, -10).apply(PICTURE), region[::-1])


def test_region_is_cut_at_the_edge() -> None:
    assert Viewport(10, 10, 70, 30, 100, 100).apply(PICTURE).size == (10, 10)
    with pytest.raises(MalformedRequest, match="outside"):
        Viewport(10, 10, 90, 0).apply(PICTURE)


def test_square_pixels_stretch_and_never_shrink() -> None:
    assert square_pixels(PICTURE, 1).size == (80, 40)
    assert square_pixels(PICTURE, 2).size == (80, 80)
    assert square_pixels(PICTURE, 0.5).size == (160, 40)
    assert square_pixels(PICTURE.resize((8000, 10)), 0.5).size == (8000, 10)
