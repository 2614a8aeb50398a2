"""Reading ahead: once a frame of a series had to be fetched, the rest of the series follows.

In the background, in small batches, those after the frame first and then those before it;
several open series take turns. Between two batches readers go first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from itertools import islice
from typing import TypeAlias

from nearframe import log, tasks
from nearframe.edge.fetch import Fetcher
from nearframe.edge.studyindex import Content, StudyIndex
from nearframe.errors import NearframeError
from nearframe.ids import Digest
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentStore, StudyRef
from nearframe.units import KIB

BATCH_BYTES = 256 * KIB  # on a line of 10 Mbit/s an urgent frame waits for it 0.2 s at most
BATCH_CONTENTS = 64
SERIES_AT_ONCE = 8  # a ninth pushes out the one opened first

_SeriesKey: TypeAlias = tuple[StudyRef, int]
_log = log.logger(__name__)


class ReadAhead:
    """Fetches the rest of opened series. For one event loop."""

    def __init__(self, fetcher: Fetcher, store: ContentStore, workers: Workers) -> None:
        self._fetcher = fetcher
        self._store = store
        self._workers = workers
        self._open: OrderedDict[_SeriesKey, _Rest] = OrderedDict()
        self._running: asyncio.Task[None] | None = None

    def opened(self, study: StudyRef, index: StudyIndex, content: Content) -> None:
        """Say that a frame had to be fetched."""
        number = index.series_of(content.digest)
        if number is None or (study, number) in self._open:
            return
        small = (one for one in index.neighbours(content.digest) if one.length <= self._fetcher.limits.large_bytes)
        self._open[study, number] = _Rest(small)
        if len(self._open) > SERIES_AT_ONCE:
            self._open.popitem(last=False)
        if self._running is None:
            self._running = tasks.spawn(self._run(), name="read ahead")

    async def finished(self) -> None:
        """Return when every opened series is here, or was given up."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def stop(self) -> None:
        """Stop; what came is kept."""
        self._open.clear()
        if self._running is not None:
            await tasks.cancel([self._running])

    async def _run(self) -> None:
        try:
            while self._open:
                await self._fetcher.until_idle()
                key, rest = next(iter(self._open.items()))
                self._open.move_to_end(key)
                if not await self._batch(key[0], rest):
                    self._open.pop(key, None)
        finally:
            self._running = None

    async def _batch(self, study: StudyRef, rest: _Rest) -> bool:
        """Fetch a series' next frames; return whether to go on with it."""
        try:
            while upcoming := rest.upcoming():
                missing = await self._workers.run(self._store.missing, study, upcoming)
                batch = rest.take(set(missing))
                if batch:
                    # A batch of which nothing can be kept has met a full disk.
                    return await self._fetcher.fetch_ahead(study, batch) > 0
        except NearframeError as error:
            _log.debug("read_ahead_given_up", error=error)
        return False


class _Rest:
    """The frames of a series that are still to come."""

    def __init__(self, contents: Iterable[Content]) -> None:
        self._contents = deque(contents)

    def upcoming(self) -> list[Digest]:
        return [content.digest for content in islice(self._contents, BATCH_CONTENTS)]

    def take(self, missing: Collection[Digest]) -> list[Content]:
        """Remove the next frames up to a batch, and return those of them that are missing."""
        batch: list[Content] = []
        size = 0
        for _ in range(min(BATCH_CONTENTS, len(self._contents))):
            content = self._contents[0]
            if content.digest in missing:
                if batch and size + content.length > BATCH_BYTES:
                    break
                batch.append(content)
                size += content.length
            self._contents.popleft()
        return batch
