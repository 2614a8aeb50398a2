"""Tells when a series is complete: follows the outbox, and writes ``series_end`` into it.

Whichever way an instance came, its event is in the transaction that stored it, so nothing is
missed. The cursor stays before the first slice of the oldest open series: after a restart the
series that were open then are looked at again, and those whose end is in the outbox are not
told of again. The same goes for another process that takes over; which senders are gone only the
process knows that they sent to, so a series that came by another one ends by silence.

A ``series_end`` has no identity; its detail has ``study``, ``series``, ``reason``, ``final``,
``instances``, ``take`` and ``through``, as of `seriesend.SeriesEnd`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.dicom.place import Place
from nearframe.errors import NearframeError, NotFound
from nearframe.ids import Identity
from nearframe.intake.seriesend import Reason, SeriesEnd, SeriesEnds, SeriesKey
from nearframe.metrics import SERIES_ENDS, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import UPSTREAM, Catalogue, OutboxEvent

CONSUMER: Final = "series"
_EVENTS: Final = 500
#: Between two looks, however busy the senders are: what is told here is not for the next millisecond.
_BETWEEN_S: Final = 0.05
#: Between two moves of the cursor: each is a transaction.
_CURSOR_S: Final = 2.0
_RETRY_S: Final = 5.0
_MOST_LEFT: Final = 1024

_log = log.logger(__name__)


class Lists(Protocol):
    """What somebody said a series, or several, consist of."""

    def listed(self, event: OutboxEvent) -> frozenset[str]:
        """Return the SOP Instance UIDs that a ``procedure_step`` or ``commitment`` speaks of; none if it is no end."""
        ...


@dataclass(slots=True)
class _Left:
    """A sender that is gone, and the series it sent instances of."""

    sender: str
    series: set[SeriesKey]
    is_released: bool


class SeriesWatch:
    """Watches the series of a node. For one event loop, but for `wake`.

    Parameters
    ----------
    workers
        Threads for the catalogue.
    on_told
        Called when ends were told of: who follows the outbox has events to pass.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        lists: Lists,
        workers: Workers,
        clock: Clock,
        metrics: Metrics,
        on_told: Callable[[], object] = lambda: None,
    ) -> None:
        self._catalogue = catalogue
        self._lists = lists
        self._workers = workers
        self._clock = clock
        self._metrics = metrics
        self._on_told = on_told
        self._ends = SeriesEnds()
        self._senders: dict[str, set[SeriesKey]] = {}
        #: Bounded: where another process watches, nobody reads it.
        self._left: deque[_Left] = deque(maxlen=_MOST_LEFT)
        #: Ended, and not told yet.
        self._found: list[SeriesEnd] = []
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._read_to = 0
        self._moved_s = clock.monotonic()
        self._cursor = 0

    # -- what is told ----------------------------------------------------------------------

    def wake(self) -> None:
        """Say that there are events. From any thread."""
        self._loop.call_soon_threadsafe(self._news.set)

    def sending(self, sender: str, tenant: str, identity: Identity) -> None:
        """Say who sent an instance that is durable."""
        key = SeriesKey(tenant, identity.study_instance_uid, identity.series_instance_uid)
        self._senders.setdefault(sender, set()).add(key)

    def left(self, sender: str, *, is_released: bool) -> None:
        """Say that a sender is gone, in good order or not."""
        if (gone := self._senders.pop(sender, None)) is not None:
            self._left.append(_Left(sender, gone, is_released))
            self._news.set()

    # -- what follows ----------------------------------------------------------------------

    @asynccontextmanager
    async def watching(self, catalogue: Catalogue) -> AsyncIterator[None]:
        """Watch, and tell `catalogue`: from where whoever watched before had come to."""
        self._catalogue = catalogue
        self._ends, self._found = SeriesEnds(), []
        self._left.clear()
        self._read_to = self._cursor = 0
        watching = tasks.spawn(self._run(), name="watch series")
        try:
            yield
        finally:
            await tasks.cancel([watching])

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except NearframeError as error:
                _log.warning("series_watch_waits", error=error)
                await asyncio.sleep(_RETRY_S)
                continue
            await self._wait()

    async def look(self) -> list[SeriesEnd]:
        """Take note of what is new, and tell of the series that have ended by now."""
        self._news.clear()
        gone = list(self._left)
        await self._read()
        for one in gone:
            with suppress(ValueError):  # more have left meanwhile than are remembered
                self._left.remove(one)
        # Whoever had left by then had its instances stored before: their events are read by now.
        for one in gone:
            for key in one.series:
                self._ends.sending(key, one.sender)
            self._ends.left(one.sender, is_released=one.is_released)
        for sender, series in self._senders.items():
            for key in series:
                self._ends.sending(key, sender)
        self._found += self._ends.due(self._clock.monotonic())
        told: list[SeriesEnd] = []
        while self._found:
            end = self._found[0]
            await self._workers.run(self._catalogue.announce, "series_end", end.key.tenant, None, _detail(end))
            self._metrics.add(SERIES_ENDS, reason=end.reason.value)
            told.append(self._found.pop(0))
        if told:
            self._on_told()
        await self._move_cursor()
        return told

    async def _wait(self) -> None:
        await asyncio.sleep(_BETWEEN_S)
        next_s = self._ends.next_s()
        timeout_s = None if next_s is None else max(next_s - self._clock.monotonic(), 0)
        if timeout_s is None and self._cursor < self._read_to:
            timeout_s = _CURSOR_S
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):  # `wait_for` of Python 3.11 may lose a cancellation
                await self._news.wait()

    async def _read(self) -> None:
        while events := await self._workers.run(self._catalogue.outbox, CONSUMER, _EVENTS, self._read_to):
            now_s = self._clock.monotonic()
            for event in events:
                await self._take(event, now_s)
            self._read_to = events[-1].id

    async def _take(self, event: OutboxEvent, now_s: float) -> None:
        if event.kind == "series_end":
            self._ends.recorded(_end_of(event.tenant, event.detail))
        elif event.kind in (Reason.STEP.value, Reason.COMMITMENT.value):
            instances = await self._workers.run(self._lists.listed, event)
            if instances:
                held = await self._workers.run(self._held, event.tenant, instances)
                self._ends.listed(Reason(event.kind), event.tenant, instances, held, event.id, now_s)
        elif event.identity is not None and event.detail.get("source") != UPSTREAM:
            key = SeriesKey(event.tenant, event.identity.study_instance_uid, event.identity.series_instance_uid)
            if event.kind == "received":
                self._ends.repeated(key, now_s)
            elif event.kind == "durable" and event.detail.get("outcome") != "corrected":
                place = Place.from_json(event.detail.get("place") or {})
                self._ends.arrived(key, event.identity.sop_instance_uid, place, event.id, now_s)

    def _held(self, tenant: str, instances: Iterable[str]) -> dict[str, SeriesKey]:
        found: dict[str, SeriesKey] = {}
        for uid in instances:
            with suppress(NotFound):
                identity = self._catalogue.find_instance(tenant, uid).identity
                found[uid] = SeriesKey(tenant, identity.study_instance_uid, identity.series_instance_uid)
        return found

    async def _move_cursor(self) -> None:
        now_s = self._clock.monotonic()
        oldest = self._ends.oldest_event()
        passed = self._read_to if oldest is None else min(oldest - 1, self._read_to)
        if passed > self._cursor and now_s - self._moved_s >= _CURSOR_S:
            await self._workers.run(self._catalogue.acknowledge, CONSUMER, passed)
            self._cursor, self._moved_s = passed, now_s


def _detail(end: SeriesEnd) -> dict[str, Any]:
    return {
        "study": end.key.study,
        "series": end.key.series,
        "reason": end.reason.value,
        "final": end.reason.is_final,
        "instances": end.instances,
        "take": end.take,
        "through": end.through,
    }


def _end_of(tenant: str, detail: Mapping[str, Any]) -> SeriesEnd:
    key = SeriesKey(tenant, detail["study"], detail["series"])
    return SeriesEnd(key, Reason(detail["reason"]), detail["instances"], detail["take"], detail["through"])
