"""Urgency at an edge put together: what is kept, what goes, what is fetched ahead."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

from nearframe import log, tasks
from nearframe.cache.tiers import Lifetimes
from nearframe.clock import Clock
from nearframe.config import Settings
from nearframe.context import Urgency
from nearframe.edge.departing import Departing
from nearframe.edge.eviction import Evictor
from nearframe.edge.fetch import Fetcher
from nearframe.edge.keeper import Keeper
from nearframe.edge.keptstore import KeptStore
from nearframe.edge.prefetch import Prefetch, priors_of
from nearframe.edge.routes import Asked, RouteTable, Rule
from nearframe.edge.studyindex import StudyIndexes
from nearframe.edge.tiers import FILE_NAME, Consult, StudyTier, TierFile
from nearframe.errors import NearframeError, NotFound
from nearframe.intake.inuse import StudiesInUse
from nearframe.metrics import EDGE_BUDGET_BYTES, EDGE_CONSULTS, EDGE_STUDIES, Metrics
from nearframe.query.manifests import Manifests
from nearframe.query.status import Tiers
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, FeedCursor, GivenUrgency, StudyRef

#: Of the disk that is free or holds packs, what they may take where no setting says.
DISK_SHARE: Final = 0.8
_FEED_PAGE: Final = 1000

_log = log.logger(__name__)


class Tiering:
    """The urgency of an edge's studies, and what follows from it. For one event loop.

    Parameters
    ----------
    is_upstream
        Whether everything of a study is known to be upstream: what is not is never let go.
    is_reachable
        Whether the upstream answers.
    in_use
        Studies of which something is being taken in.
    let_go
        As of `Departing`.
    """

    def __init__(
        self,
        settings: Settings,
        store: KeptStore,
        catalogue: Catalogue,
        manifests: Manifests,
        *,
        sql: Workers,
        disk: Workers,
        metrics: Metrics,
        clock: Clock,
        is_upstream: Callable[[StudyRef], bool],
        is_reachable: Callable[[], bool],
        in_use: StudiesInUse,
        let_go: Callable[[StudyRef], Awaitable[bool]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._catalogue = catalogue
        self._sql = sql
        self._disk = disk
        self._metrics = metrics
        with settings.reading("route"):
            table = RouteTable.parse(settings.route)
        self._file = TierFile(settings.home / FILE_NAME, metrics)
        self.keeper = Keeper(
            self._file,
            manifests,
            disk,
            table=table,
            lifetimes=Lifetimes(settings.ttl_stat, settings.ttl_active, settings.ttl_routine, settings.ttl_archive),
            clock=clock,
        )
        self.departing = Departing(let_go, clock)
        self.evictor = Evictor(
            self.keeper, store, catalogue, disk, metrics,
            budget=lambda: budget_bytes(settings, store), is_upstream=is_upstream, is_reachable=is_reachable,
            in_use=in_use, departing=self.departing,
        )  # fmt: skip
        self.prefetch: Prefetch | None = None
        self.keeper.on_open = self._opened
        #: Told when a study may have become more urgent.
        self.on_raise: Callable[[StudyRef], None] = lambda study: None
        store.on_growth = self.evictor.grew
        metrics.before_reading(self._measure, EDGE_BUDGET_BYTES, EDGE_CONSULTS, EDGE_STUDIES)
        #: What the upstream said of studies that are not here yet.
        self._said: dict[StudyRef, GivenUrgency] = {}
        self._stock: asyncio.Task[None] | None = None

    def fetching_by(
        self, fetcher: Fetcher, indexes: StudyIndexes, renditions_of: Callable[[StudyRef], Awaitable[bool]]
    ) -> None:
        """Say how contents are fetched: from then on studies are fetched ahead."""
        self.prefetch = Prefetch(
            fetcher, indexes, self._store, self._disk, self.keeper, self.evictor, self._metrics, renditions_of
        )

    async def start(self) -> None:
        """Read what was kept; begin to make room."""
        await self.keeper.open()
        self.evictor.start()
        self.departing.start()
        self._stock = tasks.spawn(self._take_stock(), name="take stock")

    async def stop(self) -> None:
        """Stop, and write what is left."""
        if self._stock is not None:
            await tasks.cancel([self._stock])
        if self.prefetch is not None:
            await self.prefetch.stop()
        await self.departing.stop()
        await self.evictor.stop()
        await self.keeper.close()
        await self._disk.run(self._file.close)

    # -- what happens --------------------------------------------------------------------------

    def changed(self, study: StudyRef) -> None:
        """Take note that a study came, changed or was removed."""
        tasks.spawn(self._take_note(study), name="take note of study")

    def told(self, study: StudyRef, given: GivenUrgency | None) -> None:
        """Take note of what the upstream says of a study's urgency; of one not here yet, once it is."""
        if given is None:
            self._said.pop(study, None)
        else:
            self._said[study] = given
        if self.keeper.find(study) is not None:
            tasks.spawn(self._take_over(study, given), name="take over urgency")

    async def _take_over(self, study: StudyRef, given: GivenUrgency | None) -> None:
        # The catalogue keeps what the upstream said last: only news are taken over, so that what a
        # person says here holds until then, and those who follow this edge are told.
        try:
            if await self._sql.run(self._catalogue.give_urgency, study, given):
                await self.keeper.give(study, given)
        except NotFound:
            return  # gone again: the feed will say so
        self._said.pop(study, None)

    async def _take_note(self, study: StudyRef) -> None:
        try:
            tier = await self.keeper.arrived(study)
        except NotFound:
            self._said.pop(study, None)
            await self.keeper.removed(study)
            self.departing.left(study)
            return
        if self.departing.came_back(study):
            await self.evictor.measure(tier)  # what was kept is held again
        if (given := self._said.get(study)) is not None:
            await self._take_over(study, given)
        if tier.urgency < Urgency.ROUTINE:  # which is what it was taken for until now
            self.on_raise(study)
        facts = await self.keeper.facts(study)
        push = self._settings.push
        is_due = push == "all" or (push == "today" and facts.is_of_today(self.keeper.local_now))
        if self.prefetch is not None and is_due and tier.urgency <= Urgency.ROUTINE:
            self.prefetch.wish(tier, tier.urgency, "push")

    def _opened(self, tier: StudyTier) -> None:
        """A study is begun to be read, or was raised: its priors are wanted next."""
        self.on_raise(tier.study)
        if self.prefetch is None or not self._settings.prefetch:
            return
        if tier.is_held or tier.urgency <= Urgency.ACTIVE:
            self.prefetch.wish(tier, tier.urgency, "consult")
        for prior in self.priors(tier):
            self.prefetch.wish(prior, Urgency.ACTIVE, "prior")

    def priors(self, tier: StudyTier) -> list[StudyTier]:
        """Return the studies to compare a study with."""
        return priors_of(tier, self.keeper.same_patient(tier), self._settings.prior_studies)

    async def open_consult(self, study: StudyRef, urgency: Urgency, reason: str) -> Consult:
        """Open a consult about a study: it and its priors are raised, pinned and fetched."""
        priors = self.priors(self.keeper.get(study))
        return await self.keeper.open_consult(study, urgency, priors, reason)

    async def _take_stock(self) -> None:
        """Describe studies that the file does not know: after it was lost, or an older release ran here."""
        studies, removed = await self._sql.run(_every_study, self._catalogue)
        for study in removed:
            self.departing.left_earlier(study)
        for entry in studies:
            if self.keeper.find(entry) is None or (self._file.is_new and not self._is_described(entry)):
                try:
                    tier = await self.keeper.arrived(entry)
                    await self.evictor.measure(tier)
                except NearframeError as error:
                    _log.debug("study_not_described", error=error)

    def _is_described(self, study: StudyRef) -> bool:
        tier = self.keeper.find(study)
        return tier is not None and bool(tier.route)

    # -- what is said ----------------------------------------------------------------------------

    def status(self) -> Tiers:
        """Return how the tiers stand."""
        classes, pinned = self.keeper.counts()
        return {
            "budget_bytes": self.evictor.budget_bytes,
            "classes": classes,
            "pinned": pinned,
            "consults": self.keeper.open_consults,
            "prefetching": 0 if self.prefetch is None else len(self.prefetch),
        }

    async def allows_recipes(self, study: StudyRef) -> bool:
        """Return whether frames of a study may cross the line as recipes; raises `NotFound`."""
        return not self.keeper.table.looks_at_recipes or (await self._rule_of(study)).recipes

    async def allows_index(self, study: StudyRef) -> bool:
        """Return whether what a study's frames look like may be asked for and kept; raises `NotFound`."""
        return not self.keeper.table.looks_at_index or (await self._rule_of(study)).index

    async def _rule_of(self, study: StudyRef) -> Rule:
        return self.keeper.table.decide(Asked(await self.keeper.facts(study), self.keeper.local_now))

    def _measure(self) -> None:
        state = self.status()
        self._metrics.set(EDGE_BUDGET_BYTES, state["budget_bytes"])
        self._metrics.set(EDGE_CONSULTS, state["consults"])
        for name, found in state["classes"].items():
            self._metrics.set(EDGE_STUDIES, found["held"], urgency=name, held="yes")
            self._metrics.set(EDGE_STUDIES, found["studies"] - found["held"], urgency=name, held="no")


def budget_bytes(settings: Settings, store: KeptStore) -> int:
    """Return the bytes that an edge may hold."""
    if settings.cache_bytes:
        return settings.cache_bytes
    disk = os.statvfs(settings.home)
    free_bytes = max(0, disk.f_bavail * disk.f_frsize - settings.kept_free_bytes)
    return int(DISK_SHARE * (store.stats().stored_bytes + free_bytes))


def _every_study(catalogue: Catalogue) -> tuple[list[StudyRef], list[StudyRef]]:
    """Return the studies that are in view, and those that were."""
    found: tuple[list[StudyRef], list[StudyRef]] = [], []
    cursor: FeedCursor | None = None
    while page := catalogue.feed(cursor, _FEED_PAGE):
        for entry in page:
            found[entry.deleted].append(StudyRef(entry.tenant, entry.study_instance_uid))
        cursor = FeedCursor(catalogue.head().epoch, page[-1].seq)
    return found
