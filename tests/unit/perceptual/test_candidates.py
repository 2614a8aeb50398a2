from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearframe.ids import Identity
from nearframe.perceptual.candidates import (
    MIN_QUALITY,
    RELATED_VIEW_DISTANCE,
    SAME_PICTURE_DISTANCE,
    PatientIndex,
    Relation,
)
from nearframe.perceptual.hashedframe import Sameness
from tests.unit.perceptual.pictures import Row, copied, ct_slice, row_of


def made_row(bits: bytes, series: str, *, study: str = "1", modality: str = "CT") -> Row:
    return Row(Identity("1.2", f"{series}.1", series, study), bits, None, bits, modality=modality)


def flipped(bits: bytes, count: int) -> bytes:
    """Return a hash in which `count` bits differ."""
    mask = (1 << count) - 1
    return (int.from_bytes(bits) ^ mask).to_bytes(32)


BITS = np.random.default_rng(1).bytes(32)


@pytest.mark.parametrize(
    ("distance", "relation"),
    [
        (0, Relation.SAME_PICTURE),
        (SAME_PICTURE_DISTANCE, Relation.SAME_PICTURE),
        (SAME_PICTURE_DISTANCE + 1, Relation.RELATED_VIEW),
        (RELATED_VIEW_DISTANCE, Relation.RELATED_VIEW),
        (RELATED_VIEW_DISTANCE + 1, None),
    ],
)
def test_thresholds(distance: int, relation: Relation | None) -> None:
    frame, other = made_row(BITS, "1.1"), made_row(flipped(BITS, distance), "1.2")
    found = PatientIndex([frame, other]).candidates(frame)
    assert [(c.relation, c.distance) for c in found] == ([(relation, distance)] if relation else [])


def test_nearest_come_first_and_no_more_than_asked() -> None:
    frame = made_row(BITS, "1.0")
    others = [made_row(flipped(BITS, distance), f"1.{distance}") for distance in (9, 3, 7, 1, 5)]
    found = PatientIndex([frame, *others]).candidates(frame, limit=3)
    assert [c.distance for c in found] == [1, 3, 5]


def test_neighbours_of_the_same_series_are_no_candidates() -> None:
    frame = row_of(ct_slice(1))
    neighbour = row_of(ct_slice(1, level=0.02))
    assert PatientIndex([frame, neighbour]).candidates(frame) == []


def test_proof_comes_along() -> None:
    frame = row_of(ct_slice(1), "1.1")
    bytes_again, pixels_again = copied(frame, "1.2"), row_of(ct_slice(1), "1.3", encoding="other")
    found = PatientIndex([frame, bytes_again, pixels_again]).candidates(frame)
    assert {c.other.identity.series_instance_uid: c.sameness for c in found} == {
        "1.2": Sameness.SAME_BYTES,
        "1.3": Sameness.SAME_PIXELS,
    }


def test_featureless_frames_are_neither_found_nor_searched_for() -> None:
    frame = row_of(ct_slice(1), "1.1")
    faint = replace(copied(frame, "1.2"), quality=MIN_QUALITY - 1)
    assert PatientIndex([frame, faint]).candidates(frame) == []
    assert PatientIndex([frame]).candidates(faint) == []
    assert PatientIndex([]).candidates(frame) == []


def test_priors_are_other_studies_of_the_same_modality() -> None:
    today = [row_of(ct_slice(seed), "1.1", study="today") for seed in (1, 2)]
    last_year = row_of(ct_slice(2, level=0.01), "2.1", study="last year")
    elsewhere = row_of(ct_slice(9), "3.1", study="another region")
    mr = replace(copied(today[0], "4.1", study="an MR"), modality="MR")
    priors = PatientIndex([*today, last_year, elsewhere, mr]).priors("today")
    assert [prior.study_instance_uid for prior in priors] == ["last year", "another region"]
    assert [prior.views_match for prior in priors] == [True, False]
    assert priors[0].nearest == (today[1], last_year)
    assert priors[0].frames == 1


def test_agrees_with_a_naive_search() -> None:
    random = np.random.default_rng(4)
    rows = [made_row(flipped(BITS, int(random.integers(0, 60))), f"1.{n}") for n in range(200)]
    query = made_row(BITS, "9")
    naive = sorted((int.from_bytes(row.hash) ^ int.from_bytes(BITS)).bit_count() for row in rows)
    found = PatientIndex(rows).candidates(query, limit=1000)
    assert [c.distance for c in found] == [d for d in naive if d <= RELATED_VIEW_DISTANCE]
