"""What an edge knows of how frames look, when it asks, and what it proposes by that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pydicom
import pytest

from nearframe.clock import ManualClock
from nearframe.delta.evidence import Evidence
from nearframe.edge.bases import LOOK_AGAIN_S, HeldBases
from nearframe.edge.likenesses import ASK_AGAIN_S, Likenesses
from nearframe.edge.studyindex import StudyIndexes
from nearframe.edge.upstream import Upstreams
from nearframe.errors import NotFound, UpstreamUnavailable
from nearframe.ids import Digest
from nearframe.query.freshness import Freshness
from nearframe.query.manifests import Manifests
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from nearframe.wire.hashes import HASH_BYTES, HashEntry, HashList, encode_hashes
from nearframe.wire.recipeask import Proposal
from tests.syncing import STUDY_UID, Shelves, ct_series, rename, shelves

STUDY = StudyRef("main", STUDY_UID)
PRIOR = StudyRef("main", f"{STUDY_UID}.2")
LOOK = HashEntry(b"\x5a" * HASH_BYTES, 80)


class Upstream:
    """Has looked at every frame, and finds that all look the same."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests
        self.current = self
        self.asked: list[StudyRef] = []
        self.look: HashEntry | None = LOOK
        self.away = False

    async def hashes(self, study: StudyRef) -> bytes:
        self.asked.append(study)
        if self.away:
            raise UpstreamUnavailable("away")
        manifest = (await self._manifests.current(study)).manifest
        return encode_hashes(HashList(manifest.root, (self.look,) * len(manifest.entries)))


class Setup:
    """An edge with a study of two slices, and a prior of one."""

    def __init__(self, edge: Shelves) -> None:
        edge.put(ct_series(2))
        edge.put(ct_series(1, study=PRIOR.study_instance_uid, seed=2))
        self.edge, self.clock, self.workers = edge, ManualClock(), Workers("test", 2)
        self.manifests = Manifests(edge.catalogue, self.workers, 1_000_000)
        self.upstream = Upstream(self.manifests)
        self.forbidden: set[StudyRef] = set()
        self.known = Likenesses(
            cast("Upstreams", self.upstream), edge.catalogue, self.manifests, self.workers, self.clock, self.allowed
        )
        indexes = StudyIndexes(edge.catalogue, Freshness(), self.workers)
        self.bases = HeldBases(
            edge.store, self.manifests, indexes, self.workers, self.clock, lambda _: [PRIOR], self.known
        )

    async def allowed(self, study: StudyRef) -> bool:
        if study.study_instance_uid == "gone":
            raise NotFound("study")
        return study not in self.forbidden

    def frames(self, study: StudyRef) -> list[Digest]:
        return [record.frames.enc_of(0) for record in self.edge.catalogue.list_instances(study)]

    def kept(self) -> set[StudyRef]:
        return set(self.edge.catalogue.hashed_studies("main"))

    async def proposals(self) -> tuple[Proposal, ...]:
        """What may be a base of the study's first frame, which is not held."""
        lacking = self.frames(STUDY)[0]
        self.edge.store.release(STUDY, [lacking])
        return (await self.bases.of(STUDY)).proposals(lacking)

    async def until_kept(self, *studies: StudyRef) -> None:
        """Wait until the index is that of these studies."""
        async with asyncio.timeout(10):
            while self.kept() != set(studies):
                await asyncio.sleep(0)


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    for edge in shelves(tmp_path):
        made = Setup(edge)
        yield made
        await made.known.stop()
        made.workers.close()


async def test_asked_once_for_each_state(setup: Setup) -> None:
    assert await setup.known.follow(STUDY)
    assert [(row.hash, row.modality) for row in await setup.known.of_patient(STUDY)] == [(LOOK.hash, "CT")] * 2
    assert not await setup.known.follow(STUDY)
    setup.edge.put(ct_series(2, change=rename("Doe^Joan")))
    assert await setup.known.follow(STUDY)
    assert setup.upstream.asked == [STUDY, STUDY]


async def test_asked_again_later_where_frames_were_not_looked_at(setup: Setup) -> None:
    setup.upstream.look = None
    assert not await setup.known.follow(STUDY)
    assert not await setup.known.follow(STUDY)
    assert len(setup.upstream.asked) == 1
    setup.clock.advance(ASK_AGAIN_S)
    setup.upstream.look = LOOK
    assert await setup.known.follow(STUDY)


async def test_what_goes_wrong_is_tried_another_time(setup: Setup) -> None:
    setup.upstream.away = True
    assert not await setup.known.follow(STUDY)
    assert not await setup.known.follow(StudyRef("main", "gone"))
    assert setup.kept() == set()


async def test_of_a_study_whose_rule_forbids_it_nothing_is_asked_for_or_kept(setup: Setup) -> None:
    await setup.known.follow(STUDY)
    await setup.known.follow(PRIOR)
    setup.forbidden = {STUDY}
    setup.known.start("main")
    await setup.until_kept(PRIOR)
    setup.upstream.asked.clear()
    assert not await setup.known.follow(STUDY)
    assert setup.upstream.asked == []
    setup.forbidden = {PRIOR}
    setup.known.changed(PRIOR)
    await setup.until_kept()


async def test_a_look_alike_is_proposed_once_the_index_is_here(setup: Setup) -> None:
    (base,) = setup.frames(PRIOR)
    assert await setup.proposals() == ()
    await setup.until_kept(STUDY, PRIOR)
    setup.clock.advance(LOOK_AGAIN_S)
    assert await setup.proposals() == (Proposal(Evidence.LOOKS_ALIKE, PRIOR.study_instance_uid, (base,)),)
    assert set(setup.upstream.asked) == {STUDY, PRIOR}


async def test_what_is_known_by_its_place_is_not_proposed_twice(setup: Setup) -> None:
    def placed(ds: pydicom.Dataset) -> None:
        ds.FrameOfReferenceUID = f"{STUDY_UID}.9"

    setup.edge.put(ct_series(2, change=placed))
    setup.edge.put(ct_series(1, study=PRIOR.study_instance_uid, seed=2, change=placed))
    await setup.proposals()
    await setup.until_kept(STUDY, PRIOR)
    setup.clock.advance(LOOK_AGAIN_S)
    assert [one.evidence for one in await setup.proposals()] == [Evidence.SAME_PLACE]
