"""Compaction and scrub, beside readers and writers, in one thread of the lowest priority.

Compaction runs every hour and gives back what nothing references any more. A scrub reads
and proves every record; it runs when it is due or asked for. Both keep to a rate, so a
reader hardly notices them.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.errors import Busy, NearframeError
from nearframe.metrics import (
    STORE_CONTENTS,
    STORE_DAMAGED,
    STORE_DEAD_BYTES,
    STORE_LIVE_BYTES,
    STORE_SYNC_FAILURES,
    Metrics,
)
from nearframe.query.workers import Workers
from nearframe.storage.durable import replace_durably
from nearframe.storage.packs import LostContent
from nearframe.storage.packs.scrub import ScrubReport
from nearframe.storage.stores import Store

COMPACT_EVERY_S: Final = 3600.0
#: Between looks whether a scrub is due.
LOOK_EVERY_S: Final = 600.0
LOWEST_PRIORITY: Final = 19

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
        self._memory = home / "scrub.json"  # when the last one ended, or when this store was first looked after
        self._clock = clock
        self._scrub_every = scrub_every
        self._is_mine = is_mine
        self._worker = Workers("upkeep", 1)
        self._pace = Pace(rate_bytes)
        self._asked = asyncio.Event()
        self._state = ScrubState()
        self._task: asyncio.Task[None] | None = None
        self._last_scrub = clock.now()
        self._metrics = metrics
        stock = (STORE_CONTENTS, STORE_LIVE_BYTES, STORE_DEAD_BYTES, STORE_DAMAGED, STORE_SYNC_FAILURES)
        metrics.before_reading(self._measure, *stock)

    @property
    def scrub_state(self) -> ScrubState:
        return self._state

    def start(self) -> None:
        """Begin to look after the packs."""
        self._last_scrub = self._remembered() or self._remember(self._clock.now())
        self._task = tasks.spawn(self._run(), name="upkeep")

    async def stop(self) -> None:
        """End; what was begun is done again another time."""
        self._pace.stop()
        if self._task is not None:
            await tasks.cancel([self._task])
        await asyncio.to_thread(self._worker.close)

    def request_scrub(self) -> ScrubState:
        """Begin a scrub as soon as possible; one that runs goes on."""
        if not self._state.running:
            self._state = ScrubState(running=True, started_at=self._clock.now())
            self._asked.set()
        return self._state

    async def damaged(self, tenant: str, limit: int) -> list[LostContent]:
        """Return contents of a tenant that cannot be read; looks at everything that is held."""
        found = (lost for lost in self._packs.damaged() if lost.study.tenant == tenant)
        return await asyncio.to_thread(lambda: list(islice(found, limit)))

    async def _run(self) -> None:
        compact_at = self._clock.monotonic() + COMPACT_EVERY_S
        while True:
            if self._is_scrub_due():
                self.request_scrub()
            if self._asked.is_set():
                self._asked.clear()
                await self._guarded("scrub", self._scrub)
            if self._clock.monotonic() >= compact_at:
                if self._is_mine():
                    await self._guarded("compaction", self._compact)
                compact_at = self._clock.monotonic() + COMPACT_EVERY_S
            try:
                async with asyncio.timeout(LOOK_EVERY_S):  # `wait_for` of Python 3.11 may lose a cancellation
                    await self._asked.wait()
            except TimeoutError:
                continue

    def _is_scrub_due(self) -> bool:
        if self._scrub_every is None or self._state.running or not self._is_mine():
            return False
        return self._clock.now() - self._last_scrub >= self._scrub_every

    async def _guarded(self, work: str, run: Callable[[], None]) -> None:
        """Run a piece of work; one that fails is told of, and the next may do better."""
        try:
            await self._worker.run(run)
        except NearframeError as error:
            _log.warning("upkeep_failed", work=work, error=error)
        finally:
            self._state = replace(self._state, running=False)

    def _scrub(self) -> None:
        _lower_priority()
        report = self._packs.scrub(self._progress, self._pace)
        self._last_scrub = self._remember(self._clock.now())
        self._state = replace(self._state, finished_at=self._last_scrub, report=report)
        _log.info("scrubbed", contents=report.contents, damaged=report.damaged, read_bytes=report.read_bytes)

    def _progress(self, report: ScrubReport) -> None:
        self._state = replace(self._state, report=replace(report))

    def _compact(self) -> None:
        _lower_priority()
        self._packs.compact(pace=self._pace)

    def _remembered(self) -> datetime | None:
        try:
            return datetime.fromisoformat(json.loads(self._memory.read_text(encoding="utf-8"))["last"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, moment: datetime) -> datetime:
        replace_durably(self._memory, json.dumps({"last": moment.isoformat()}).encode())
        return moment

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


def _lower_priority() -> None:
    # On Linux a thread has a priority of its own, and this call means the calling thread.
    if os.getpriority(os.PRIO_PROCESS, 0) < LOWEST_PRIORITY:
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
