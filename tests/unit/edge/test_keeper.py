"""Classes, pins, consults and last use of an edge's studies while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nearframe.cache.tiers import Lifetimes
from nearframe.clock import ManualClock
from nearframe.context import Urgency
from nearframe.edge.keeper import CONSULT_S, MAX_CONSULTS_OF_STUDY, Keeper
from nearframe.edge.routes import RequestFacts, RouteTable
from nearframe.edge.tiers import StudyTier, TierFile
from nearframe.errors import Busy, NotFound
from nearframe.metrics import Metrics
from nearframe.query.manifests import Manifests
from nearframe.query.status import TierCounts
from nearframe.query.workers import Workers
from nearframe.storage.ports import GivenUrgency, StudyRef
from tests.syncing import Shelves, ct_series

UID, PRIOR_UID, OTHER_UID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
STUDY, PRIOR, OTHER = (StudyRef("main", uid) for uid in (UID, PRIOR_UID, OTHER_UID))


class Setup:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.opened: list[StudyTier] = []

    @asynccontextmanager
    async def keeper(self, table: RouteTable | None = None, **crash: bool) -> AsyncIterator[Keeper]:
        shelves, workers = Shelves.open(self.folder), Workers("test", 2)
        shelves.put(ct_series(2, study=UID))
        shelves.put(ct_series(2, study=PRIOR_UID))

        def other(ds) -> None:  # type: ignore[no-untyped-def]
            ds.PatientID = "PID-2"

        shelves.put(ct_series(2, study=OTHER_UID, change=other))
        file = TierFile(self.folder / "tiers.sqlite", Metrics())
        manifests = Manifests(shelves.catalogue, workers, 10**7)
        keeper = Keeper(file, manifests, workers, table=table or RouteTable(), lifetimes=Lifetimes(), clock=self.clock)
        keeper.on_open = self.opened.append
        await keeper.open()
        for study in (STUDY, PRIOR, OTHER):
            await keeper.arrived(study)
        try:
            yield keeper
            assert keeper.counts() == counted(keeper)
        finally:
            await keeper.close()
            file.close()
            workers.close()
            shelves.close()

    def later(self, keeper: Keeper, seconds: float) -> None:
        self.clock.advance(seconds)
        keeper.tick()


def counted(keeper: Keeper) -> tuple[dict[str, TierCounts], int]:
    """Count the studies one by one."""
    classes: dict[str, TierCounts] = {}
    for urgency in Urgency:
        sizes = [tier.held_bytes for tier in keeper if tier.urgency is urgency]
        held = sum(size > 0 for size in sizes)
        classes[urgency.name.lower()] = {"studies": len(sizes), "held": held, "held_bytes": sum(sizes)}
    return classes, sum(tier.is_held for tier in keeper)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def ask(keeper: Keeper, urgency: Urgency = Urgency.ROUTINE, *, is_use: bool = True) -> Urgency:
    return keeper.asked("main", UID, urgency, None, is_use=is_use)


async def test_use_is_noted_and_bulk_is_not(setup: Setup) -> None:
    async with setup.keeper() as keeper:
        tier = keeper.get(STUDY)
        before = tier.used_at
        setup.later(keeper, 100)
        assert ask(keeper, Urgency.BULK) is Urgency.BULK
        assert ask(keeper, is_use=False) is Urgency.ROUTINE
        assert (tier.used_at, keeper.is_wanted(STUDY), setup.opened) == (before, False, [])
        assert ask(keeper) is Urgency.ROUTINE
        assert (tier.used_at, keeper.is_wanted(STUDY)) == (before + 100, True)
        ask(keeper)
        assert setup.opened == [tier], "opened once, however many frames are read"
        assert keeper.asked("main", "9.9", Urgency.ACTIVE, None, is_use=True) is Urgency.ACTIVE


async def test_given_classes_hold_until_they_end_and_outlive_a_restart(setup: Setup) -> None:
    async with setup.keeper() as keeper:
        until = keeper.moment + timedelta(seconds=60)
        await keeper.give(STUDY, GivenUrgency(Urgency.STAT, "fall in the ward", until))
        await keeper.pin(PRIOR, pinned=True)
        assert ask(keeper) is Urgency.STAT
    async with setup.keeper() as keeper:
        assert (ask(keeper), keeper.get(STUDY).reason) == (Urgency.STAT, "fall in the ward")
        assert keeper.get(PRIOR).is_held
        setup.later(keeper, 60)
        assert ask(keeper) is Urgency.ROUTINE
        with pytest.raises(NotFound):
            await keeper.give(StudyRef("main", "9.9"), GivenUrgency(Urgency.STAT))


async def test_a_consult_raises_its_study_and_priors_and_holds_them(setup: Setup) -> None:
    async with setup.keeper() as keeper:
        tier = keeper.get(STUDY)
        priors = keeper.same_patient(tier)
        assert [one.study for one in priors] == [PRIOR]
        await keeper.open_consult(STUDY, Urgency.STAT, priors, "stroke call")
    async with setup.keeper() as keeper:  # as after a crash
        tier, prior = keeper.get(STUDY), keeper.get(PRIOR)
        assert (tier.urgency, prior.urgency) == (Urgency.STAT, Urgency.ACTIVE)
        assert [keeper.get(study).is_held for study in (STUDY, PRIOR, OTHER)] == [True, True, False]
        (closed,) = await keeper.close_consult(STUDY)
        assert closed.reason == "stroke call"
        assert [keeper.get(study).is_held for study in (STUDY, PRIOR, OTHER)] == [False, False, False]
        assert ask(keeper) is Urgency.STAT, "for the lifetime of its class"
        setup.later(keeper, 24 * 3600)
        assert ask(keeper) is Urgency.ROUTINE
        with pytest.raises(NotFound):
            await keeper.close_consult(STUDY)


async def test_consults_are_not_opened_without_end(setup: Setup) -> None:
    async with setup.keeper() as keeper:
        for _ in range(MAX_CONSULTS_OF_STUDY):
            await keeper.open_consult(STUDY, Urgency.ACTIVE, [], "")
        with pytest.raises(Busy):
            await keeper.open_consult(STUDY, Urgency.ACTIVE, [], "")
        assert len(await keeper.close_consult(STUDY)) == MAX_CONSULTS_OF_STUDY
        await keeper.open_consult(STUDY, Urgency.ACTIVE, [], "")


async def test_a_consult_that_nobody_closes_ends(setup: Setup) -> None:
    async with setup.keeper() as keeper:
        await keeper.open_consult(STUDY, Urgency.ACTIVE, [], "")
        setup.later(keeper, CONSULT_S + 1)
        await keeper.end_consults()
        assert not keeper.get(STUDY).is_held
        assert keeper.open_consults == 0


async def test_rules_of_requests(setup: Setup) -> None:
    table = RouteTable.parse([{"class": "bulk", "peer": "10.0.0.0/8"}, {"class": "active", "path": "*/frames/*"}])
    async with setup.keeper(table) as keeper:
        robot, viewer = RequestFacts("10.1.1.1", "/x/frames/1"), RequestFacts("192.0.2.1", "/x/frames/1")
        assert keeper.asked("main", UID, Urgency.STAT, robot, is_use=True) is Urgency.BULK
        assert keeper.asked("main", UID, Urgency.ROUTINE, viewer, is_use=True) is Urgency.ACTIVE
        assert keeper.asked("main", UID, Urgency.BULK, viewer, is_use=True) is Urgency.BULK


async def test_a_rule_of_age_lets_go_in_time(setup: Setup) -> None:
    setup.clock = ManualClock(datetime(2026, 11, 22, 9, tzinfo=UTC))
    table = RouteTable.parse([{"class": "stat", "younger_than": "3 d"}])
    async with setup.keeper(table) as keeper:
        assert ask(keeper) is Urgency.STAT
        setup.later(keeper, 2 * 24 * 3600)
        await keeper.reroute()
        assert ask(keeper) is Urgency.STAT
        setup.later(keeper, 2 * 24 * 3600)
        await keeper.reroute()
        assert ask(keeper) is Urgency.ROUTINE
        setup.later(keeper, 40 * 24 * 3600)
        await keeper.reroute()
        assert keeper.get(STUDY).urgency is Urgency.ARCHIVE


async def test_a_study_that_is_removed_is_forgotten(setup: Setup) -> None:
    async with setup.keeper() as keeper:
        await keeper.save()
        await keeper.removed(STUDY)
        assert keeper.find(STUDY) is None
        assert keeper.same_patient(keeper.get(PRIOR)) == []
        keeper.grew(StudyRef("main", "9.9"), 10)
        assert keeper.get(StudyRef("main", "9.9")).held_bytes == 10
