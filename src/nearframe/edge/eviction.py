"""Making room at an edge: whole studies' frames go, those first that are missed least.

The store is asked how much it really holds; the rows of `Keeper` say whose turn it is. Frames
and values go, headers and metadata stay, so a study that went is still found and described,
and read again over the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

from nearframe import log, tasks
from nearframe.cache.tiers import Departure, Resident, departures, is_admitted
from nearframe.context import Urgency
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.edge.departing import Departing
from nearframe.edge.keeper import Keeper
from nearframe.edge.keptstore import KeptStore
from nearframe.edge.tiers import Departed, StudyTier
from nearframe.errors import Busy, Conflict, NearframeError
from nearframe.ids import Digest
from nearframe.intake.inuse import StudiesInUse
from nearframe.metrics import EDGE_EVICTED, EDGE_EVICTED_BYTES, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, InstanceRecord, StudyRef
from nearframe.units import counted

#: Room is made down to this share of the budget, so that it is made now and then and not all the time.
LOW_WATER: Final = 0.95
#: Packs of which less is alive than this are rewritten once room was made.
LIVE_SHARE: Final = 0.75
#: How much may come between two looks at the store.
_LOOK_SHARE: Final = 0.01
_ALL_THE_SAME: Final = "--force (force, by the API) drops it all the same"

_log = log.logger(__name__)


class Evictor:
    """Keeps a store within its budget. For one event loop, but for `grew` and `admits`.

    Parameters
    ----------
    budget
        Returns the bytes that the store may hold.
    is_upstream
        Whether everything of a study is known to be upstream: only then may it go.
    is_reachable
        Whether the upstream answers, so that what goes can be had again.
    in_use
        Studies of which something is being taken in: that is always kept, and nothing of them goes.
    departing
        Studies that nobody can read any more: these go first.
    """

    def __init__(
        self,
        keeper: Keeper,
        store: KeptStore,
        catalogue: Catalogue,
        disk: Workers,
        metrics: Metrics,
        *,
        budget: Callable[[], int],
        is_upstream: Callable[[StudyRef], bool],
        is_reachable: Callable[[], bool],
        in_use: StudiesInUse,
        departing: Departing,
    ) -> None:
        self._keeper = keeper
        self._store = store
        self._catalogue = catalogue
        self._disk = disk
        self._metrics = metrics
        self._budget = budget
        self._is_upstream = is_upstream
        self._is_reachable = is_reachable
        self._in_use = in_use
        self._departing = departing
        self.budget_bytes = budget()
        self._grown_bytes = 0
        self._loop = asyncio.get_running_loop()
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to make room when it is needed."""
        self._look.set()
        self._task = tasks.spawn(self._run(), name="make room")

    async def stop(self) -> None:
        if self._task is not None:
            await tasks.cancel([self._task])

    # -- what comes ------------------------------------------------------------------------------

    def grew(self, study: StudyRef, size_bytes: int) -> None:
        """Count what was written; safe in any thread."""
        self._keeper.grew(study, size_bytes)
        self._grown_bytes += size_bytes
        if self._grown_bytes >= self.budget_bytes * _LOOK_SHARE:
            self._loop.call_soon_threadsafe(self._look.set)

    def admits(self, study: StudyRef) -> bool:
        """Return whether what comes of a study is kept; safe in any thread."""
        tier = self._keeper.find(study)
        if tier is None or tier.is_held or study in self._in_use:
            return True
        urgency = tier.urgency if self._keeper.is_wanted(study) else Urgency.BULK
        return is_admitted(urgency, tier.held_bytes, self.budget_bytes)

    # -- what goes -------------------------------------------------------------------------------

    async def make_room(self) -> list[StudyTier]:
        """Let studies go until the store is within its budget; return those that went."""
        gone: list[StudyTier] = []
        self._grown_bytes = 0
        self.budget_bytes = await self._disk.run(self._budget)
        held_bytes = (await self._disk.run(self._store.stats)).live_bytes
        have_left = held_bytes > self.budget_bytes and await self._departing.let_go()
        if have_left:
            held_bytes = (await self._disk.run(self._store.stats)).live_bytes
        while held_bytes > self.budget_bytes:
            going = self._next(held_bytes - int(self.budget_bytes * LOW_WATER))
            gone += [await self._let_go(departure) for departure in going]
            before, held_bytes = held_bytes, (await self._disk.run(self._store.stats)).live_bytes
            if not going or held_bytes >= before:
                break  # the rest is pinned, or shared with what is
        if gone or have_left:
            await self._compact()
        elif held_bytes > self.budget_bytes:
            _log.warning("cache_full_of_pinned", held_bytes=held_bytes, budget_bytes=self.budget_bytes)
        return gone

    async def purge(
        self, tiers: Collection[StudyTier], series_instance_uid: str | None = None, *, force: bool = False
    ) -> int:
        """Drop the frames of studies, or of one series, that are upstream; return how many studies.

        Parameters
        ----------
        force
            Drop what is pinned too, and what cannot be had again as long as the upstream is away.

        Raises
        ------
        Conflict
            If that is needed, and not said; then nothing goes.
        """
        if not force:
            self._demand_harmless(tiers)
        count = 0
        for tier in tiers:
            if self._is_upstream(tier.study) and await self._knows(tier.study, series_instance_uid):
                await self._release(tier, Departed.PURGED, "purged", series_instance_uid)
                count += 1
        await self._compact()
        return count

    def _demand_harmless(self, tiers: Collection[StudyTier]) -> None:
        if held := sum(tier.is_held for tier in tiers):
            raise Conflict(
                f"of what is to be dropped {counted(held, 'study')} is pinned, or in an open consult: "
                f"nearframe edge unpin lets a study loose; {_ALL_THE_SAME}"
            )
        if tiers and not self._is_reachable():
            raise Conflict(
                "the upstream is away: what is dropped now cannot be read until it is back; "
                f"nearframe edge status says how it stands; {_ALL_THE_SAME}"
            )

    async def _knows(self, study: StudyRef, series_instance_uid: str | None) -> bool:
        """Return whether a study has such a series; None stands for all of them."""
        if series_instance_uid is None:
            return True
        return bool(await self._disk.run(self._catalogue.list_instances, study, series_instance_uid))

    async def measure(self, tier: StudyTier) -> None:
        """Count what is held of a study: after its row was lost."""
        held_bytes = await self._disk.run(_held_bytes, self._catalogue, self._store, tier.study)
        with self._keeper.changing(tier):
            tier.held_bytes = held_bytes

    def _next(self, needed_bytes: int) -> list[Departure[StudyTier]]:
        residents = (
            Resident(
                tier, tier.urgency, tier.used_at, tier.held_bytes, tier.is_held or not self._is_upstream(tier.study)
            )
            for tier in self._keeper
            if tier.held_bytes
        )
        return departures(residents, needed_bytes, self._keeper.now, self._keeper.lifetimes)

    async def _let_go(self, departure: Departure[StudyTier]) -> StudyTier:
        departed, reason = (Departed.EXPIRED, "expired") if departure.is_expired else (Departed.EVICTED, "room")
        await self._release(departure.key, departed, reason)
        return departure.key

    async def _release(
        self, tier: StudyTier, departed: Departed, reason: str, series_instance_uid: str | None = None
    ) -> None:
        held_bytes = tier.held_bytes
        released = await self._disk.run(
            _release, self._catalogue, self._store, self._in_use, tier.study, series_instance_uid
        )
        with self._keeper.changing(tier):
            # What came meanwhile counts on; of a series only its own goes.
            tier.held_bytes = max(0, tier.held_bytes - (held_bytes if series_instance_uid is None else released))
            tier.departed = departed
        urgency = tier.urgency.name.lower()
        self._metrics.add(EDGE_EVICTED, urgency=urgency, reason=reason)
        self._metrics.add(EDGE_EVICTED_BYTES, released, urgency=urgency, reason=reason)

    async def _compact(self) -> None:
        try:
            await self._disk.run(self._store.compact, LIVE_SHARE)
        except Busy:  # compaction or scrub is at it already; the hourly one does the rest
            _log.debug("compaction_put_off")

    async def _run(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            try:
                await self.make_room()
            except NearframeError as error:  # what comes next looks again
                _log.warning("no_room_made", error=error)


def _release(
    catalogue: Catalogue, store: KeptStore, in_use: StudiesInUse, study: StudyRef, series_instance_uid: str | None
) -> int:
    """Let a study's frames and values go; return the bytes of those that were held.

    Nothing goes of what is, this moment, being taken in or not known to be upstream.
    """
    with suppress(Busy), in_use.alone(study):
        if catalogue.holds_local(study):
            return 0
        digests = _pieces(catalogue, catalogue.list_instances(study, series_instance_uid))
        mark = store.mark()
        released = sum(store.size_of(study, digest) or 0 for digest in digests)
        store.release(study, digests)
        store.sync(mark)
        return released
    return 0


def _held_bytes(catalogue: Catalogue, store: KeptStore, study: StudyRef) -> int:
    return sum(store.size_of(study, digest) or 0 for digest in _pieces(catalogue, catalogue.list_instances(study)))


def _pieces(catalogue: Catalogue, records: list[InstanceRecord]) -> list[Digest]:
    frames = [enc for record in records for enc, _ in record.frames]
    if not records:
        return []
    made = catalogue.renditions(records[0].study.tenant, frames, HTJ2KLosslessRPCL)
    values = [bulk.digest for record in records for bulk in record.bulk]
    return list(dict.fromkeys([*frames, *values, *(rendition.digest for rendition in made.values())]))
