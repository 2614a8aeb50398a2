"""Real frames, carried over and compared: what was measured to gain does, and what loses is not tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from bench import recipesets
from bench.recipes import Row, loss_ratio, measure
from bench.recipesets import Workload
from nearframe.delta.rates import Rates

pytestmark = pytest.mark.data

LINE = Rates.of_megabits(10)


def named(make: Callable[[Path], Iterator[Workload]], data: Path, name: str, frames: int) -> Row:
    """Send the first frames of a workload; `measure` fails if one of them arrives as anything but itself."""
    work = next(work for work in make(data) if name in work.name)
    part = Workload(work.name, work.held, list(islice(work.sent, frames)), work.store, by_likeness=work.by_likeness)
    return measure(part, LINE)


def test_second_hospital_moves_no_pixels(data_dir: Path) -> None:
    row = named(recipesets.resent, data_dir, "second hospital", 50)
    assert row.operations == Counter(same=50)
    assert row.recipes == 50 * 37


def test_samples_held_in_another_encoding(data_dir: Path) -> None:
    for name in ("JPEGLSLossless then native", "RLELossless then native", "JPEGProcess14SV1 then native", "big endian"):
        assert named(recipesets.reencoded, data_dir, name, 1).operations == Counter(same=1)


def test_ultrasound_cine(data_dir: Path) -> None:
    row = named(recipesets.cine, data_dir, "US cine, grey", 4)
    assert row.operations == Counter(coded=1, residual=3)


def test_functional_series(data_dir: Path) -> None:
    row = named(recipesets.functional, data_dir, "fMRI", 6 * 35)
    assert row.operations["residual"] > 4 * 35
    assert row.saved > 0.2


def test_copies(data_dir: Path) -> None:
    assert named(recipesets.edited, data_dir, "windowed to 8 bit", 4).operations == Counter(lut=4)
    assert named(recipesets.edited, data_dir, "text burned in", 4).operations == Counter(box=4)
    assert named(recipesets.photographs, data_dir, "EXIF", 11).operations == Counter(splice=11)


def test_new_study_is_coded_and_nothing_of_the_prior_used(data_dir: Path) -> None:
    row = named(recipesets.new_acquisitions, data_dir, "six days later", 5)
    assert row.operations == Counter(coded=5)


def test_neighbours_would_lose(data_dir: Path) -> None:
    for loss in recipesets.neighbours(data_dir):
        if "head" in loss.name or "NM" in loss.name:
            assert loss_ratio(loss, LINE)[1] > 1
