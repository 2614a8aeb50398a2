from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import read_piece, split
from nearframe.errors import NearframeError
from nearframe.ids import Identity, sha256
from nearframe.perceptual.hashedframe import HashedFrame
from nearframe.perceptual.report import DedupeReport, Repeated, dedupe_report
from tests.unit.perceptual.pictures import Row, copied, ct_slice, row_of


def report(rows: list[Row]) -> DedupeReport:
    return dedupe_report(rows, scope=patient_of)


def patient_of(frame: HashedFrame) -> str:
    return frame.identity.study_instance_uid.partition("-")[0]


def instance(series: str, *frames: Row, study: str = "1") -> list[Row]:
    identity = Identity("1.2", f"{series}.1", series, study)
    return [replace(frame, identity=identity, frame_index=index) for index, frame in enumerate(frames)]


A, B, C = (row_of(ct_slice(seed)) for seed in (1, 2, 3))


def test_nothing_repeated() -> None:
    found = report(instance("1.1", A, B, C))
    assert (found.frames, found.bytes) == (3, 3000)
    assert found.metadata_only == found.exact == found.same_pixels == Repeated()
    assert found.candidates == ()
    assert report([]).frames == 0


def test_instance_sent_again_with_another_header() -> None:
    found = report(instance("1.1", A, B) + instance("2.1", A, B, study="1-again"))
    assert found.metadata_only == Repeated(frames=2, bytes=2000, instances=1)
    assert found.exact == Repeated()
    assert found.saved_bytes == 2000


def test_single_frames_held_already() -> None:
    found = report(instance("1.1", A, B) + instance("2.1", A, C))
    assert found.metadata_only == Repeated()
    assert found.exact == Repeated(frames=1, bytes=1000)


def test_frames_repeated_within_an_instance() -> None:
    found = report(instance("1.1", A, A) + instance("2.1", A, A))
    assert found.metadata_only == Repeated(frames=2, bytes=2000, instances=1)
    assert found.exact == Repeated(frames=1, bytes=1000)


def test_same_pixels_in_another_encoding() -> None:
    smaller = replace(row_of(ct_slice(1), encoding="htj2k"), length=400)
    found = report(instance("1.1", A) + instance("2.1", smaller))
    # The smallest encoding would do; the other could go.
    assert found.same_pixels == Repeated(frames=1, bytes=1000)
    assert found.saved_bytes == 0
    assert found.candidates == ()


def test_look_alikes_are_candidates_within_one_patient_only() -> None:
    noisy = row_of((ct_slice(1) + 1), "2.1")
    [match] = report(instance("1.1", A, B) + instance("2.1", noisy, study="1-later")).candidates
    assert (match.series_instance_uid, match.other_series_instance_uid) == ("2.1", "1.1")
    assert (match.frames, match.bytes, match.share) == (1, 1000, 1.0)
    assert match.median_distance <= 4
    assert report(instance("1.1", A, B) + instance("2.1", noisy, study="2")).candidates == ()


def test_comparison_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearframe.perceptual.report.MAX_COMPARED_FRAMES", 2)
    rows = [row for n in range(4) for row in instance(f"{n}.1", replace(A, enc=bytes([n]) * 32, pix=None))]
    assert len(report(rows).candidates) == 1


def test_largest_match_comes_first() -> None:
    others = [replace(frame, enc=bytes([n]) * 32, pix=None) for n, frame in enumerate((A, B))]
    rows = instance("1.1", A, B) + instance("2.1", *others)
    rows += instance("3.1", replace(A, enc=b"x" * 32, pix=None))
    assert [match.bytes for match in report(rows).candidates] == [2000, 1000, 1000]


def test_copies_do_not_multiply_candidates() -> None:
    rows = [*instance("1.1", A), copied(A, "2.1"), copied(A, "3.1")]
    assert report(rows).candidates == ()


@pytest.mark.data
def test_import_by_a_second_hospital_is_metadata_only(data_dir: Path) -> None:
    rows = []
    for path in sorted(path for path in (data_dir / "patient-timeline").rglob("*") if path.is_file()):
        source = BytesSource(path.read_bytes())
        try:
            parsed = split(source)
        except NearframeError:
            continue
        for index, piece in enumerate(parsed.frame_pieces):
            encoded = b"".join(read_piece(parsed, source, parsed.pieces[piece]))
            row = Row(parsed.identity, sha256(encoded), None, bytes(32), 0, index, length=len(encoded))
            rows.append(row)
    found = dedupe_report(rows, scope=lambda row: "one patient")
    assert found.frames == 211
    assert found.metadata_only == Repeated(frames=50, bytes=26_214_400, instances=50)
    assert found.exact == Repeated()
