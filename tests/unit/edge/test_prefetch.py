"""What is fetched before anybody asks, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.edge.prefetch import centre_out, priors_of
from nearframe.edge.studyindex import Content
from nearframe.edge.tiers import StudyTier
from nearframe.ids import sha256
from nearframe.storage.ports import ContentKind, StudyRef


def frames(count: int) -> list[Content]:
    return [Content(sha256(b"%d" % number), ContentKind.FRAME, 1) for number in range(count)]


@pytest.mark.parametrize(("count", "order"), [(0, []), (1, [0]), (4, [2, 3, 1, 0]), (5, [2, 3, 1, 4, 0])])
def test_from_the_middle_outwards(count: int, order: list[int]) -> None:
    series = frames(count)
    assert [series.index(one) for one in centre_out(series)] == order


@given(st.integers(0, 50))
def test_every_frame_once(count: int) -> None:
    series = frames(count)
    assert sorted(one.digest for one in centre_out(series)) == sorted(one.digest for one in series)


def tier(uid: str, modalities: str, body_parts: str, acquired_at: str) -> StudyTier:
    return StudyTier(StudyRef("main", uid), 0.0, modalities=modalities, body_parts=body_parts, acquired_at=acquired_at)


def test_priors_alike_come_first_and_the_newest_of_them() -> None:
    study = tier("0", "CT\\SR", "HEAD", "2026-11-22")
    others = [
        tier("1", "MR", "KNEE", "2026-11-01"),
        tier("2", "CT", "Head", "2020-01-01"),
        tier("3", "CT", "Head", "2024-01-01"),
        tier("4", "CT", "CHEST", "2026-01-01"),
    ]
    assert [one.study.study_instance_uid for one in priors_of(study, others, 3)] == ["3", "2", "4"]
