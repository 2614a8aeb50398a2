"""What is fetched before anybody asks, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.context import Urgency
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.edge import prefetch
from nearframe.edge.eviction import Evictor
from nearframe.edge.fetch import Fetcher
from nearframe.edge.keeper import Keeper
from nearframe.edge.prefetch import MOST_OF_A_PATIENT, Prefetch, centre_out, priors_of
from nearframe.edge.studyindex import Content, StudyIndexes
from nearframe.edge.tiers import StudyTier
from nearframe.ids import Digest, sha256
from nearframe.metrics import Metrics
from nearframe.query.freshness import Freshness
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, Rendition, StudyRef
from tests.syncing import STUDY_UID, Shelves, ct_series, shelves

STUDY = StudyRef("main", STUDY_UID)


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


def test_an_id_that_thousands_share_is_no_patient() -> None:
    study = tier("0", "CT", "HEAD", "2026-11-22")
    others = [tier(str(number), "CT", "HEAD", "2020-01-01") for number in range(MOST_OF_A_PATIENT)]
    assert len(priors_of(study, others, 3)) == 3
    assert priors_of(study, [*others, others[0]], 3) == []


class Line:
    """A line on which each frame goes alone."""

    def piece_bytes(self, _urgency: Urgency) -> int:
        return 1


class Setup:
    """A study whose second frame has no rendition yet, and notes of what is fetched ahead."""

    def __init__(self, edge: Shelves) -> None:
        edge.put(ct_series(2, rows=64))
        self.catalogue = edge.catalogue
        self.frames = [record.frames.enc for record in edge.catalogue.list_instances(STUDY)]
        edge.store.release(STUDY, self.frames)
        self.made = [Rendition(enc, HTJ2KLosslessRPCL, sha256(b"made" + enc), 99) for enc in self.frames]
        edge.catalogue.add_renditions("main", self.made[:1])
        self.making = True
        self.asked = 0
        self.fetched: list[Digest] = []
        self.limits = SimpleNamespace(large_bytes=10_000)
        self.line = Line()
        self.freshness = Freshness()
        self.workers = Workers("test", 1)
        anybody = SimpleNamespace(wanted=lambda _: None, admits=lambda _: True)
        self.prefetch = Prefetch(
            cast("Fetcher", self), StudyIndexes(edge.catalogue, self.freshness, self.workers), edge.store, self.workers,
            cast("Keeper", anybody), cast("Evictor", anybody), Metrics(), self.renditions_of,
        )  # fmt: skip

    async def renditions_of(self, study: StudyRef) -> bool:
        self.asked += 1
        return self.making

    async def fetch_ahead(self, study: StudyRef, contents: list[Content], urgency: Urgency) -> int:
        self.fetched += [content.digest for content in contents]
        return len(contents)

    async def fetch(self) -> None:
        self.prefetch.wish(StudyTier(STUDY, 0.0), Urgency.ROUTINE, "push")
        await self.prefetch.finished()


@pytest.fixture
async def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    monkeypatch.setattr(prefetch, "UNMADE_S", 0.001)
    for edge in shelves(tmp_path):
        made = Setup(edge)
        yield made
        made.workers.close()


async def test_renditions_that_are_being_made_are_waited_for(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "UNMADE_TRIES", 10**6)
    waiting = asyncio.create_task(setup.fetch())
    while setup.asked < 3:
        await asyncio.sleep(0.001)
    assert set(setup.fetched) == {setup.made[0].digest}
    setup.catalogue.add_renditions("main", setup.made[1:])
    setup.freshness.changed(STUDY)
    setup.making = False
    await waiting
    assert set(setup.fetched) == {one.digest for one in setup.made}


@pytest.mark.parametrize(("making", "asked"), [(True, prefetch.UNMADE_TRIES + 1), (False, 1)])
async def test_but_not_for_ever(setup: Setup, making: bool, asked: int) -> None:
    setup.making = making
    await setup.fetch()
    assert set(setup.fetched) == {setup.made[0].digest, setup.frames[1]}
    assert setup.asked == asked
