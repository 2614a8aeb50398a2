"""Ahead of an export: what it asks for next is on its way already.

An export reads one frame after the other, over a few connections. Asked for as it comes, each
costs it a round trip, in which the line idles. Once two frames were read in their order the next
ones of the series are fetched, no more than the line holds, and held until they are read:
what is read in bulk is mostly not kept.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final, TypeAlias

from nearframe import log, tasks
from nearframe.context import Urgency
from nearframe.edge.fetch import Fetcher
from nearframe.edge.studyindex import Content, StudyIndex
from nearframe.edge.turns import Direction, User
from nearframe.errors import NearframeError
from nearframe.ids import Digest
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentStore, StudyRef
from nearframe.units import MIB

SERIES_AT_ONCE: Final = 8
MOST_BYTES: Final = 8 * MIB  # of one series, however much the line holds
#: What was not read so long after it came is not going to be.
PATIENCE_S: Final = 10.0

_SeriesKey: TypeAlias = tuple[StudyRef, int]
_log = log.logger(__name__)


class ExportAhead:
    """Fetches what exports read next. For one event loop."""

    def __init__(self, fetcher: Fetcher, store: ContentStore, workers: Workers) -> None:
        self._fetcher = fetcher
        self._store = store
        self._workers = workers
        self._runs: OrderedDict[_SeriesKey, _Run] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()

    def read(self, study: StudyRef, index: StudyIndex, content: Content) -> None:
        """Say that a frame is read in bulk, by somebody who follows it by now."""
        number = index.series_of(content.digest)
        if number is None:
            return
        key = study, number
        run = self._runs.get(key)
        if run is None or not run.goes_on_with(content.digest):
            self._runs[key] = _Run(index.following(content.digest))
            if len(self._runs) > SERIES_AT_ONCE:
                self._runs.popitem(last=False)
            return
        self._runs.move_to_end(key)
        self._advance(key, run)

    async def stop(self) -> None:
        """Stop, and let go of what is held."""
        self._runs.clear()
        await tasks.cancel(self._running)

    def _advance(self, key: _SeriesKey, run: _Run) -> None:
        most_bytes = min(self._fetcher.line.window_bytes(Direction.DOWN), MOST_BYTES)
        while self._runs.get(key) is run and run.rest and run.held_bytes + run.rest[0].length <= most_bytes:
            content = run.rest.popleft()
            run.held_bytes += content.length
            taken = run.ahead[content.digest] = asyncio.Event()
            task = tasks.spawn(self._hold(key, run, content, taken), name="export ahead")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _hold(self, key: _SeriesKey, run: _Run, content: Content, taken: asyncio.Event) -> None:
        study = key[0]
        try:
            if await self._workers.run(self._store.missing, study, [content.digest]):
                async with self._fetcher.following(study, content, Urgency.BULK, User.EXPORT) as flight:
                    await flight.landed()
                    if not flight.stored:
                        async with asyncio.timeout(PATIENCE_S):
                            await taken.wait()
        except (NearframeError, TimeoutError) as error:
            _log.debug("export_ahead_given_up", error=error)
            run.rest.clear()
        finally:
            run.held_bytes -= content.length
            run.ahead.pop(content.digest, None)
        self._advance(key, run)


class _Run:
    """A series that is read in its order.

    Attributes
    ----------
    rest
        What was neither read nor is fetched ahead.
    ahead
        What is fetched ahead and was not read, and what to tell when it is.
    held_bytes
        How much is on its way, or held, and was not let go.
    """

    def __init__(self, rest: Iterable[Content]) -> None:
        self.rest = deque(rest)
        self.ahead: dict[Digest, asyncio.Event] = {}
        self.held_bytes = 0

    def goes_on_with(self, digest: Digest) -> bool:
        """Return whether a frame is among the next, and note that it is read."""
        taken = self.ahead.pop(digest, None)
        if taken is not None:
            taken.set()
            return True
        if self.rest and self.rest[0].digest == digest:
            self.rest.popleft()
            return True
        return False
