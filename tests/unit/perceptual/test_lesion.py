"""What a perceptual hash cannot see: the reason why it decides nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearframe.dicom.frames import pix_digest
from nearframe.dicom.renderparameters import RenderParameters
from nearframe.ids import sha256
from nearframe.perceptual.candidates import PatientIndex, Relation
from nearframe.perceptual.hashedframe import Sameness, sameness
from nearframe.perceptual.phash import hash_frame
from nearframe.perceptual.report import dedupe_report
from tests.frame_samples import read_sample
from tests.unit.perceptual.pictures import CT, PIXEL, ct_slice, row_of, with_lesion

PLACES = [(110, 90), (128, 128), (140, 170), (100, 150)]
SLICES = [(ct_slice(seed), place) for seed in range(3) for place in PLACES]


def test_hash_does_not_see_a_lesion_and_digests_do() -> None:
    unchanged = 0
    for healthy, (row, column) in SLICES:
        changed = with_lesion(healthy, row, column)
        before, after = hash_frame(healthy, PIXEL, CT), hash_frame(changed, PIXEL, CT)
        moved = (int.from_bytes(before.bits) ^ int.from_bytes(after.bits)).bit_count()
        assert moved <= 8
        unchanged += moved == 0
        assert pix_digest(healthy, PIXEL) != pix_digest(changed, PIXEL)
    assert unchanged >= len(SLICES) // 4


def test_frame_of_equal_hash_and_other_digest_is_never_the_same_content() -> None:
    blind = 0
    for healthy, (row, column) in SLICES:
        before = row_of(healthy, "1.1")
        after = row_of(with_lesion(healthy, row, column), "1.2")
        assert sameness(before.enc, before.pix, after.enc, after.pix) is Sameness.UNPROVED
        found = PatientIndex([before, after]).candidates(before)
        # It is proposed, as the same picture even, and proved to be nothing of the kind.
        assert [candidate.relation for candidate in found] == [Relation.SAME_PICTURE]
        assert [candidate.sameness for candidate in found] == [Sameness.UNPROVED]
        blind += found[0].distance == 0
    assert blind


def test_report_never_counts_a_lesion_as_a_repetition() -> None:
    rows = [row_of(healthy, "1.1") for healthy, _ in SLICES[::4]]
    rows += [row_of(with_lesion(healthy, *place), "1.2") for healthy, place in SLICES[::4]]
    report = dedupe_report(rows, scope=lambda row: "one patient")
    assert report.saved_bytes == 0
    assert report.exact.frames == report.metadata_only.frames == report.same_pixels.frames == 0
    assert [match.frames for match in report.candidates] == [3]


@pytest.mark.data
def test_real_slices(data_dir: Path) -> None:
    moved = []
    for path in sorted((data_dir / "ct-head-ge").rglob("*.dcm"))[8:24:2]:
        sample = read_sample(path)
        assert sample is not None
        healthy = sample.reference()
        parameters = RenderParameters.from_metadata(sample.dataset.to_json_dict(suppress_invalid_tags=True))
        y, x = np.ogrid[: sample.pixel.rows, : sample.pixel.columns]
        sigma = 7.0 / 2.355 / float(sample.dataset.PixelSpacing[0])
        blob = 60 * np.exp(-((y - 300) ** 2 + (x - 256) ** 2) / (2 * sigma**2))
        changed = (healthy + blob).astype(healthy.dtype)
        before, after = (hash_frame(s, sample.pixel, parameters) for s in (healthy, changed))
        moved.append((int.from_bytes(before.bits) ^ int.from_bytes(after.bits)).bit_count())
        assert sha256(healthy.tobytes()) != sha256(changed.tobytes())
        assert pix_digest(healthy, sample.pixel) != pix_digest(changed, sample.pixel)
    assert max(moved) <= 8
    assert moved.count(0) >= len(moved) // 3
