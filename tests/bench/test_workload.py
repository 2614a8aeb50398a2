"""The consultation of the benchmarks: its file, and the objects it is about."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames

from bench.consult import Replayed
from bench.workload import WORKLOAD, Step, corrected, photograph, read_workload


def jpeg(rows: int, columns: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (columns, rows), (200, 120, 90)).save(out, "JPEG")
    return out.getvalue()


def described(folder: Path, *steps: dict[str, str]) -> Path:
    path = folder / "workload.json"
    sets = {"skin": {"stills": "skin"}}
    path.write_text(json.dumps({"line": {"megabits": 20, "round_trip_ms": 40}, "sets": sets, "steps": steps}))
    (folder / "skin").mkdir(exist_ok=True)
    (folder / "skin" / "1.jpg").write_bytes(jpeg(30, 40))
    return path


def test_a_photograph_keeps_the_bytes_of_its_jpeg() -> None:
    picture = jpeg(30, 40)
    ds = pydicom.dcmread(io.BytesIO(photograph(picture, 1)))
    assert (ds.Rows, ds.Columns) == (30, 40)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    assert frame.rstrip(b"\0") == picture.rstrip(b"\0")


def test_steps_and_the_studies_of_their_sets(tmp_path: Path) -> None:
    path = described(tmp_path, {"archive": "skin"}, {"pause_s": "2"}, {"open": "skin", "by": "referrer"})
    workload = read_workload(path, tmp_path)
    assert workload.steps == (Step("archive", "skin"), Step("pause_s", "2"), Step("open", "skin", "referrer"))
    assert (len(workload.sets["skin"]), len(workload.studies["skin"])) == (1, 1)
    assert (workload.megabits, workload.round_trip_s) == (20, 0.04)


def test_a_step_about_a_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hand"):
        read_workload(described(tmp_path, {"archive": "hand"}), tmp_path)


def test_a_correction_changes_the_name_and_no_pixel() -> None:
    file = photograph(jpeg(8, 8), 1)
    before, after = (pydicom.dcmread(io.BytesIO(one)) for one in (file, corrected(file)))
    assert before.PatientName != after.PatientName
    assert before.PixelData == after.PixelData
    assert before.SOPInstanceUID == after.SOPInstanceUID


def test_figures_are_of_all_frames() -> None:
    figures = Replayed(1_000, [float(number) for number in range(1, 101)], [5.0]).figures
    assert figures["bytes over the line"] == 1_000
    assert figures["frame, mean ms"] == 50.5
    assert 95 <= figures["frame, p95 ms"] <= 96


@pytest.mark.data
def test_the_checked_in_consultation_finds_its_objects(data_dir: Path) -> None:
    workload = read_workload(WORKLOAD, data_dir)
    assert all(workload.sets.values())
    assert {step.what for step in workload.steps if step.verb == "open"} == set(workload.sets)
