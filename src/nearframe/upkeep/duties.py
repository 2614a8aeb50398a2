"""Work that one process of an archive does for all of them, and which of it is this one's.

A process with a catalogue of its own does everything. Where several share one, a lease says who does
what (`storage.catalogue.leases`): whoever finds a piece of work free takes it, keeps it as long as it
lives, and lets it go when it stops. The work gets a catalogue through which it can only write while
the lease is its own.

Within a process the work ends before the lease does, by this machine's clock: counted from before
the database was asked, so never too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.errors import NearframeError, StorageError
from nearframe.query.health import WELL, Check, Finding, State
from nearframe.query.status import Duty
from nearframe.query.workers import Workers
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.leases import Lease, Leases, Standing

#: After a crash the work of a process waits for so long; and so long may the database be away.
TTL_S: Final = 20.0
_RENEWED_WITHIN_TTL: Final = 4
_BETWEEN_LOOKS_S: Final = 0.25
#: Nobody has done a piece of work for so long: somebody should look why.
_NEGLECTED_S: Final = 60.0

#: Does a piece of work for as long as it is entered, and writes through the catalogue it is given.
Work: TypeAlias = Callable[[SQLCatalogue], AbstractAsyncContextManager[object]]

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    lease: Lease
    stack: AsyncExitStack


class Duties:
    """The work of an archive. For one event loop, but for `standing`.

    Parameters
    ----------
    holder
        What this process is called where people look who does what.
    """

    def __init__(
        self, catalogue: SQLCatalogue, holder: str, workers: Workers, clock: Clock, *, ttl_s: float = TTL_S
    ) -> None:
        self._catalogue = catalogue
        self._holder = holder
        self._workers = workers
        self._clock = clock
        self._ttl_s = ttl_s
        self._leases = Leases(catalogue.database) if catalogue.database.is_shared else None
        self._work: dict[str, Work] = {}
        self._running: dict[str, _Running] = {}
        self._held_until_s = 0.0
        self._own = AsyncExitStack()
        self._news = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._is_stopping = False

    def add(self, name: str, work: Work) -> None:
        """Say what there is to do; before `start`."""
        self._work[name] = work

    async def start(self) -> None:
        """Begin with what nobody else does: at once, or when it is free."""
        if self._leases is None:
            for work in self._work.values():
                await self._own.enter_async_context(work(self._catalogue))
        else:
            self._keeping = tasks.spawn(self._keep(self._leases), name="duties")

    async def stop(self) -> None:
        """End all of it, and leave it to the others."""
        self._is_stopping = True
        self._news.set()
        if self._keeping is not None:
            # Not cancelled: what is just being begun could not be ended.
            await asyncio.wait([self._keeping])
        await self._own.aclose()

    @asynccontextmanager
    async def doing(self) -> AsyncIterator[None]:
        """Do what is this process's to do for the time of a block."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def wake(self) -> None:
        """Say that somebody may have let work go."""
        self._news.set()

    def does(self, name: str) -> bool:
        """Return whether this process does a piece of work now."""
        return name in self._running if self._leases is not None else name in self._work

    def standing(self) -> list[Standing]:
        """Return who does what; nothing where it is all this process's."""
        return [] if self._leases is None else self._leases.standing()

    def as_json(self) -> dict[str, Duty]:
        """Return who does what, by name."""
        return {
            one.name: {
                "holder": one.holder if one.expires_in_s > 0 else None,
                "here": self.does(one.name),
                "since": one.taken_at.isoformat(),
                "expires_in_s": round(one.expires_in_s, 1),
            }
            for one in self.standing()
        }

    # -- leases ----------------------------------------------------------------------------

    async def _keep(self, leases: Leases) -> None:
        try:
            while not self._is_stopping:
                await self._look(leases)
                await self._pause()
        finally:
            await self._leave(leases)

    async def _pause(self) -> None:
        wait_s, left_s = self._ttl_s / _RENEWED_WITHIN_TTL, self._left_s()
        if left_s is not None:  # what runs must not outlast its lease while the database is away
            wait_s = min(wait_s, max(left_s - _BETWEEN_LOOKS_S, 0.0))
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        if not self._is_stopping:
            # Every commit of any process is news: what is free can wait a moment.
            await asyncio.sleep(_BETWEEN_LOOKS_S)

    async def _look(self, leases: Leases) -> None:
        """Hold on to what is ours, and take what is free."""
        self._news.clear()
        try:
            await self._renew_in_time(leases)
            await self._take_free(leases)
        except (StorageError, TimeoutError) as error:
            _log.warning("leases_wait", error=error)
            if self._clock.monotonic() >= self._held_until_s:
                await self._end(list(self._running))

    async def _renew_in_time(self, leases: Leases) -> None:
        asked_s, left_s = self._clock.monotonic(), self._left_s()
        if left_s is None or left_s > self._ttl_s * (1 - 1 / _RENEWED_WITHIN_TTL):
            return
        held = [one.lease for one in self._running.values()]
        async with asyncio.timeout(left_s):
            kept = {lease.name for lease in await self._workers.run(leases.renew, held, self._ttl_s)}
        self._held_until_s = asked_s + self._ttl_s
        await self._end([name for name in self._running if name not in kept])

    async def _take_free(self, leases: Leases) -> None:
        asked_s = self._clock.monotonic()
        taken: list[Lease] = []
        try:
            async with asyncio.timeout(self._left_s()):
                await self._take(leases, taken)
        finally:
            for lease in taken:
                if not self._running:
                    self._held_until_s = asked_s + self._ttl_s  # otherwise what was taken before ends sooner
                await self._begin(lease)

    async def _take(self, leases: Leases, taken: list[Lease]) -> None:
        lacking = self._work.keys() - self._running.keys()
        if lacking:
            lacking -= {one.name for one in await self._workers.run(leases.standing) if one.expires_in_s > 0}
        for name in lacking:
            lease = await self._workers.run(leases.take, name, self._holder, self._ttl_s)
            if lease is not None:
                taken.append(lease)

    def _left_s(self) -> float | None:
        """Return for how long what runs may run on; None if nothing does."""
        return max(self._held_until_s - self._clock.monotonic(), 0.0) if self._running else None

    async def _begin(self, lease: Lease) -> None:
        stack = AsyncExitStack()
        try:
            await stack.enter_async_context(self._work[lease.name](self._catalogue.guarded(lease.guard)))
        except NearframeError as error:  # it expires, and somebody tries again
            _log.warning("duty_not_begun", duty=lease.name, error=error)
            return
        self._running[lease.name] = _Running(lease, stack)
        _log.info("duty_begun", duty=lease.name, term=lease.token)

    async def _end(self, names: Iterable[str]) -> None:
        for name in names:
            await self._running.pop(name).stack.aclose()
            _log.info("duty_ended", duty=name)

    async def _leave(self, leases: Leases) -> None:
        held = [one.lease for one in self._running.values()]
        await self._end(list(self._running))
        try:
            if held:
                await self._workers.run(leases.give_up, held)
        except StorageError as error:  # the others wait until they expire
            _log.warning("leases_not_given_up", error=error)


def duties_check(duties: Duties, workers: Workers) -> Check:
    """Check that somebody does every piece of work."""

    async def check() -> Finding:
        neglected = [one.name for one in await workers.run(duties.standing) if one.expires_in_s < -_NEGLECTED_S]
        if not neglected:
            return WELL
        return Finding(State.DEGRADED, f"no process does {', '.join(neglected)}: look why in the logs of the origins")

    return check
