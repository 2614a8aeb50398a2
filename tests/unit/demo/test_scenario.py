"""Choosing the study to show, among objects as they come."""

from __future__ import annotations

from nearframe.demo.scenario import _count

FRAMES = "00280008"


def test_a_count_that_is_no_number_counts_nothing() -> None:
    # pydicom's badVR.dcm says "1A" frames, and shares its UID with another file: which comes first varies.
    assert _count({FRAMES: {"vr": "IS", "Value": ["1A"]}}, FRAMES, 1) == 0


def test_an_absent_count_is_the_default() -> None:
    assert _count({}, FRAMES, 1) == 1
    assert _count({FRAMES: {"vr": "IS", "Value": [30]}}, FRAMES, 1) == 30
