"""Compaction, scrub and what else comes round, beside readers and writers, in one thread of the lowest priority.

Compaction runs every hour and gives back what nothing references any more. A scrub reads
and proves every record; it runs when it is due or asked for. What else an archive has to do
is added as rounds. All keep to a rate, so a reader hardly notices them.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.errors import Busy, NearframeError, NotFound
from nearframe.metrics import (
    STORE_CONTENTS,
    STORE_DAMAGED,
    STORE_DEAD_BYTES,
    STORE_LIVE_BYTES,
    STORE_SYNC_FAILURES,
    Metrics,
)
from nearframe.query.workers import Workers
from nearframe.storage.stores import Store
from nearframe.storage.upkeep import LostContent, ScrubReport
from nearframe.units import counted, format_size
from nearframe.upkeep.lastscrub import LastScrub, remember, remembered
from nearframe.upkeep.rounds import Round, RoundBook, Tell

COMPACT_EVERY_S: Final = 3600.0
#: Between looks whether a scrub is due.
LOOK_EVERY_S: Final = 600.0
#: What is added begins so long after the start: a node that is being restarted has other things to do.
FIRST_ROUND_S: Final = 600.0
LOWEST_PRIORITY: Final = 19

COMPACTION: Final = "compaction"
SCRUB: Final = "scrub"

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class ScrubState:
    """How the last scrub stands or ended.

    Attributes
    ----------
    finished_at
        None while it runs, and before the first.
    """

    running: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    report: ScrubReport = field(default_factory=ScrubReport)

    def as_json(self) -> dict[str, Any]:
        return {
            "running": self.running,
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
            **asdict(self.report),
        }


class Upkeep:
    """Looks after one store's packs.

    Parameters
    ----------
    rate_bytes
        Bytes a second that are read and copied at most; 0 for no limit.
    scrub_every
        None: only when asked for.
    is_mine
        Whether this process looks after the store, of those that share it. Each scrubs when it is asked to.
    """

    def __init__(
        self,
        packs: Store,
        home: Path,
        clock: Clock,
        metrics: Metrics,
        *,
        rate_bytes: int,
        scrub_every: timedelta | None,
        is_mine: Callable[[], bool] = lambda: True,
    ) -> None:
        self._packs = packs
        self._home = home
        self._clock = clock
        self._scrub_every = scrub_every
        self.is_mine = is_mine
        self._worker = Workers("upkeep", 1)
        self.pace = Pace(rate_bytes)
        self.book = RoundBook(clock)
        self._rounds: dict[str, Round] = {}
        self._due_at: dict[str, float] = {}
        self._wanted: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._state = ScrubState()
        self._task: asyncio.Task[None] | None = None
        self._last_scrub = LastScrub(clock.now())
        self._failures_then = 0
        self._metrics = metrics
        stock = (STORE_CONTENTS, STORE_LIVE_BYTES, STORE_DEAD_BYTES, STORE_DAMAGED, STORE_SYNC_FAILURES)
        metrics.before_reading(self._measure, *stock)

    @property
    def scrub_state(self) -> ScrubState:
        return self._state

    def add(self, round_: Round, *, first_s: float = FIRST_ROUND_S) -> None:
        """Have a piece of work come round, first after `first_s`."""
        self._rounds[round_.name] = round_
        self._due_at[round_.name] = self._clock.monotonic() + first_s
        self.book.know(round_.name)

    def want(self, name: str) -> None:
        """Begin a piece of work as soon as possible. From any thread."""
        self._loop.call_soon_threadsafe(self._want, name)

    def ask_for(self, name: str) -> None:
        """Begin a piece of work as soon as possible; raises `NotFound` if there is none of that name."""
        if name == SCRUB:
            self.request_scrub()
        elif name in self._rounds:
            self._want(name)
        else:
            raise NotFound("piece of upkeep")

    def _want(self, name: str) -> None:
        self._wanted.add(name)
        self._asked.set()

    def start(self) -> None:
        """Begin to look after the packs."""
        known = remembered(self._home)
        self._last_scrub = known or LastScrub(self._clock.now())
        if known is None:
            remember(self._home, self._last_scrub)
        self.add(Round(COMPACTION, COMPACT_EVERY_S, self._compact), first_s=COMPACT_EVERY_S)
        self.book.know(SCRUB)
        self._task = tasks.spawn(self._run(), name="upkeep")

    async def stop(self) -> None:
        """End; what was begun is done again another time."""
        self.pace.stop()
        if self._task is not None:
            await tasks.cancel([self._task])
        await asyncio.to_thread(self._worker.close)

    def request_scrub(self) -> ScrubState:
        """Begin a scrub as soon as possible; one that runs goes on."""
        if not self._state.running:
            self._state = ScrubState(running=True, started_at=self._clock.now())
            self._want(SCRUB)
        return self._state

    def lost(self) -> int:
        """Return how many contents the last scrub, and readers since, found that cannot be read."""
        return self._last_scrub.lost + self._packs.integrity_failures - self._failures_then

    async def damaged(self, tenant: str, limit: int) -> list[LostContent]:
        """Return contents of a tenant that cannot be read; looks at everything that is held."""
        found = (lost for lost in self._packs.damaged() if lost.study.tenant == tenant)
        return await asyncio.to_thread(lambda: list(islice(found, limit)))

    async def _run(self) -> None:
        while True:
            if self._is_scrub_due() and await self._worker.run(self._nobody_scrubbed):
                self.request_scrub()
            self._asked.clear()
            if SCRUB in self._wanted:
                self._wanted.discard(SCRUB)
                await self._guarded(SCRUB, self._scrub)
                self._state = replace(self._state, running=False)
            for name, round_ in list(self._rounds.items()):
                is_wanted, is_due = name in self._wanted, self._clock.monotonic() >= self._due_at[name]
                self._wanted.discard(name)
                if is_wanted or ((is_due or await self._worker.run(_waits, round_)) and self.is_mine()):
                    await self._guarded(name, round_.run)
                if is_wanted or is_due:
                    self._due_at[name] = self._clock.monotonic() + round_.every_s
            try:
                async with asyncio.timeout(LOOK_EVERY_S):  # `wait_for` of Python 3.11 may lose a cancellation
                    await self._asked.wait()
            except TimeoutError:
                continue

    def _is_scrub_due(self) -> bool:
        if self._scrub_every is None or self._state.running or not self.is_mine():
            return False
        return self._clock.now() - self._last_scrub.at >= self._scrub_every

    def _nobody_scrubbed(self) -> bool:
        """Return whether it was no other process that scrubbed what this one's memory says is due."""
        try:
            elsewhere = self._packs.scrubbed_at()
        except NearframeError as error:  # the next look may learn it
            _log.warning("upkeep_not_asked", work=SCRUB, error=error)
            return False
        if elsewhere is not None and elsewhere > self._last_scrub.at:
            self._last_scrub = replace(self._last_scrub, at=elsewhere)
            remember(self._home, self._last_scrub)
        return self._is_scrub_due()

    async def _guarded(self, work: str, run: Callable[[Tell], str]) -> None:
        """Run a piece of work; one that fails is told of, and the next may do better."""
        self.book.begin(work)
        try:
            self.book.end(work, await self._worker.run(_at_lowest_priority, run, partial(self.book.tell, work)))
        except NearframeError as error:
            self.book.end(work, str(error), failed=True)
            _log.warning("upkeep_failed", work=work, error=error)
        except asyncio.CancelledError:
            self.book.end(work, "the node is closing", failed=True)
            raise
        except Exception as error:  # noqa: BLE001 - a piece of work ends here: the others come round all the same
            self.book.end(work, "it failed; the log says how", failed=True)
            _log.error("upkeep_failed", work=work, error=error)

    def _scrub(self, tell: Tell) -> str:
        def progress(report: ScrubReport) -> None:
            self._state = replace(self._state, report=replace(report))
            tell(_scrubbed(report))

        report = self._packs.scrub(progress, self.pace)
        self._last_scrub = LastScrub(self._clock.now(), report.damaged + report.quarantined)
        self._failures_then = self._packs.integrity_failures
        remember(self._home, self._last_scrub)
        self._state = replace(self._state, finished_at=self._last_scrub.at, report=report)
        _log.info("scrubbed", contents=report.contents, damaged=report.damaged, read_bytes=report.read_bytes)
        return _scrubbed(report)

    def _compact(self, _tell: Tell) -> str:
        done = self._packs.compact(pace=self.pace)
        skipped = f", {counted(done.skipped, 'pack')} left alone: scrub" if done.skipped else ""
        return f"{counted(done.removed, 'pack')} rewritten, {format_size(done.freed_bytes)} freed{skipped}"

    def _measure(self) -> None:
        stats = self._packs.stats()
        self._metrics.set(STORE_CONTENTS, stats.contents)
        self._metrics.set(STORE_LIVE_BYTES, stats.live_bytes)
        self._metrics.set(STORE_DEAD_BYTES, stats.dead_bytes)
        self._metrics.set(STORE_DAMAGED, stats.integrity_failures)
        self._metrics.set(STORE_SYNC_FAILURES, stats.sync_failures)


class Pace:
    """Keeps work to a rate; called with the bytes of each piece, it waits as long as that takes."""

    def __init__(self, rate_bytes: int) -> None:
        self._rate_bytes = rate_bytes
        self._stopped = threading.Event()

    def __call__(self, size_bytes: int) -> None:
        """Wait.

        Raises
        ------
        Busy
            If the node is closing.
        """
        wait_s = size_bytes / self._rate_bytes if self._rate_bytes else 0
        if self._stopped.wait(wait_s):
            raise Busy("the node is closing")

    def stop(self) -> None:
        """End all waiting, now and later."""
        self._stopped.set()


def _waits(round_: Round) -> bool:
    try:
        return round_.waits()
    except NearframeError as error:  # the next look may learn it
        _log.warning("upkeep_not_asked", work=round_.name, error=error)
        return False


def _scrubbed(report: ScrubReport) -> str:
    read = f"{counted(report.contents, 'content')} proved, {format_size(report.read_bytes)} read"
    return f"{read}, {report.damaged} damaged" if report.damaged else read


def _at_lowest_priority(run: Callable[[Tell], str], tell: Tell) -> str:
    # On Linux a thread has a priority of its own, and this call means the calling thread.
    if os.getpriority(os.PRIO_PROCESS, 0) < LOWEST_PRIORITY:
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    return run(tell)
