"""Which renditions an edge knows of, and when it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from nearframe.clock import ManualClock
from nearframe.context import Urgency
from nearframe.edge import renditions
from nearframe.edge.renditions import ASK_AGAIN_S, ASK_SOON_S, UpstreamRenditions
from nearframe.edge.upstream import Upstreams
from nearframe.errors import UpstreamUnavailable
from nearframe.ids import sha256
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import Rendition, StudyRef
from nearframe.wire.renditions import RenditionEntry, RenditionList, encode_renditions
from tests.syncing import STUDY_UID, Shelves, ct_series, shelves

STUDY = StudyRef("main", STUDY_UID)
HTJ2K = "1.2.840.10008.1.2.4.202"


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


class Setup:
    """An edge with two frames, and an upstream that has made `made` renditions of them."""

    def __init__(self, edge: Shelves) -> None:
        edge.put(ct_series(2, rows=64))
        self.edge = edge
        self.clock = ManualClock()
        self.workers = Workers("test", 1)
        self.manifests = Manifests(edge.catalogue, self.workers, 1_000_000)
        self.made = 1
        self.asked = 0
        self.urgencies: set[Urgency] = set()
        self.away = False
        self.making = False
        self.outdated: list[StudyRef] = []
        self.known = UpstreamRenditions(
            cast("Upstreams", self), edge.catalogue, self.manifests, self.workers, self.clock, self.outdated.append
        )

    async def renditions(self, study: StudyRef, urgency: Urgency) -> bytes:
        self.asked += 1
        self.urgencies.add(urgency)
        if self.away:
            raise UpstreamUnavailable("away")
        manifest = (await self.manifests.current(study)).manifest
        entries = [RenditionEntry(sha256(entry.hdr), 7, (1, 7)) for entry in manifest.entries]
        return encode_renditions(
            RenditionList(
                manifest.root,
                HTJ2K,
                tuple(e if i < self.made else None for i, e in enumerate(entries)),
                self.making,
            )
        )

    def in_catalogue(self) -> dict[bytes, Rendition]:
        frames = [record.frames.enc for record in self.edge.catalogue.list_instances(STUDY)]
        return self.edge.catalogue.renditions("main", frames, HTJ2K)


@pytest.fixture
async def setup(edge: Shelves) -> AsyncIterator[Setup]:
    made = Setup(edge)
    yield made
    made.workers.close()


async def test_asked_again_until_every_frame_has_one(setup: Setup) -> None:
    assert setup.known.is_due(STUDY)
    await setup.known.refresh(STUDY)
    assert len(setup.in_catalogue()) == 1
    assert setup.outdated == [STUDY]
    assert not setup.known.is_due(STUDY)
    setup.clock.advance(ASK_AGAIN_S)
    assert setup.known.is_due(STUDY)
    await setup.known.refresh(STUDY)
    assert setup.outdated == [STUDY], "nothing new"
    setup.made = 2
    await setup.known.refresh(STUDY)
    assert len(setup.in_catalogue()) == 2
    setup.clock.advance(1e9)
    assert not setup.known.is_due(STUDY)


async def test_asked_again_soon_while_more_are_being_made(setup: Setup) -> None:
    setup.making = True
    assert not setup.known.are_being_made(STUDY)
    await setup.known.refresh(STUDY)
    assert setup.known.are_being_made(STUDY)
    setup.clock.advance(ASK_SOON_S)
    assert setup.known.is_due(STUDY)
    setup.making = False
    await setup.known.refresh(STUDY)
    assert not setup.known.are_being_made(STUDY)
    setup.clock.advance(ASK_SOON_S)
    assert not setup.known.is_due(STUDY)


async def test_a_corrected_study_whose_frames_have_theirs_is_not_asked_about(setup: Setup) -> None:
    setup.made = 2
    await setup.known.refresh(STUDY)
    setup.known.changed(STUDY)
    assert setup.known.is_due(STUDY)
    await setup.known.refresh(STUDY)
    assert not setup.known.is_due(STUDY)
    assert setup.asked == 1


async def test_frames_that_get_none_are_not_asked_about(setup: Setup) -> None:
    setup.edge.put(ct_series(1, study="1.9"))
    await setup.known.refresh(StudyRef("main", "1.9"))
    assert setup.asked == 0, "too small"


async def test_asked_ahead_until_nothing_is_lacking(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renditions, "ASK_AHEAD_S", (0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(renditions, "ASK_AGAIN_S", 0.0)
    setup.known.start()
    setup.known.changed(STUDY)
    setup.known.changed(STUDY)
    async with asyncio.timeout(5):
        while setup.asked < 2:
            await asyncio.sleep(0)
        setup.made = 2
        while setup.known.is_due(STUDY):
            await asyncio.sleep(0)
    assert setup.urgencies == {Urgency.ARCHIVE}
    assert len(setup.in_catalogue()) == 2
    await setup.known.stop()


async def test_who_opens_a_study_waits_for_who_is_asking(setup: Setup) -> None:
    first = asyncio.create_task(setup.known.refresh(STUDY))
    await asyncio.sleep(0)
    assert setup.known.is_due(STUDY)
    await setup.known.refresh(STUDY)
    assert len(setup.in_catalogue()) == 1
    await first
    assert setup.asked == 1


async def test_a_study_that_is_not_held_is_not_asked_about(setup: Setup) -> None:
    await setup.known.refresh(StudyRef("main", "1.9"))
    assert setup.asked == 0


async def test_an_upstream_that_is_away_is_asked_another_time(setup: Setup) -> None:
    setup.away = True
    await setup.known.refresh(STUDY)
    assert setup.in_catalogue() == {}
    setup.clock.advance(ASK_AGAIN_S)
    assert setup.known.is_due(STUDY)


async def test_a_list_that_cannot_be_kept_stops_no_other_question(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renditions, "ASK_AHEAD_S", (0.0, 0.0, 0.0))
    keep, tried = setup.edge.catalogue.add_renditions, []

    def add(tenant: str, made: list[Rendition]) -> None:
        tried.append(len(made))
        if len(tried) == 1:
            raise OverflowError("a number of 70 bits")
        keep(tenant, made)

    monkeypatch.setattr(setup.edge.catalogue, "add_renditions", add)
    setup.made = 2
    setup.known.start()
    try:
        async with asyncio.timeout(5):
            while len(setup.in_catalogue()) < 2:
                setup.clock.advance(ASK_AGAIN_S)
                setup.known.changed(STUDY)
                await asyncio.sleep(0)
    finally:
        await setup.known.stop()
    assert len(tried) == 2
