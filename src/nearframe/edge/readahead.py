"""Reading ahead: once a frame of a series had to be fetched, the rest of the series follows.

In the background, from the frame outwards; a frame asked for elsewhere in the series moves
the centre there. Several open series take turns. Small frames go several to a request, large ones alone; a
few requests are wanted at a time, and the line says when each may go.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import TypeAlias

from nearframe import log, tasks
from nearframe.context import Urgency
from nearframe.edge.fetch import Fetcher
from nearframe.edge.studyindex import Content, StudyIndex, lacking
from nearframe.errors import NearframeError
from nearframe.ids import Digest
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentStore, StudyRef

BATCH_CONTENTS = 64
SERIES_AT_ONCE = 8  # a ninth pushes out the one opened first
REQUESTS_AT_ONCE = 8  # what fills 50 Mbit/s over 40 ms in chunks of 64 KB; the line lets through what it carries

_SeriesKey: TypeAlias = tuple[StudyRef, int]
_log = log.logger(__name__)


class ReadAhead:
    """Fetches the rest of opened series. For one event loop."""

    def __init__(self, fetcher: Fetcher, store: ContentStore, workers: Workers) -> None:
        self._fetcher = fetcher
        self._store = store
        self._workers = workers
        self._open: OrderedDict[_SeriesKey, _Rest] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()

    def opened(self, study: StudyRef, index: StudyIndex, content: Content, urgency: Urgency = Urgency.ARCHIVE) -> None:
        """Say that a frame had to be fetched; the rest of its series is fetched at `urgency`."""
        number = index.series_of(content.digest)
        if number is None:
            return
        self._open[study, number] = _Rest(index.neighbours(content.digest), urgency)
        if len(self._open) > SERIES_AT_ONCE:
            self._open.popitem(last=False)
        if len(self._running) < REQUESTS_AT_ONCE:
            self._start()

    async def finished(self) -> None:
        """Return when every opened series is here, or was given up."""
        while self._running:
            await asyncio.wait(self._running)

    async def stop(self) -> None:
        """Stop; what came is kept."""
        self._open.clear()
        await tasks.cancel(self._running)

    def _start(self) -> None:
        task = tasks.spawn(self._run(), name="read ahead")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self) -> None:
        while self._open:
            key, rest = next(iter(self._open.items()))
            self._open.move_to_end(key)
            if not await self._batch(key[0], rest) and self._open.get(key) is rest:
                del self._open[key]

    async def _batch(self, study: StudyRef, rest: _Rest) -> bool:
        """Fetch a series' next frames; return whether to go on with it."""
        try:
            most_bytes = self._fetcher.line.piece_bytes(Urgency.BULK) or 0
            while upcoming := rest.upcoming(most_bytes):
                missing = await self._workers.run(lacking, self._store, study, upcoming)
                batch = rest.take(upcoming, missing, most_bytes)
                if not batch:
                    continue
                if not rest.is_over and len(self._running) < REQUESTS_AT_ONCE:
                    self._start()
                # A batch of which nothing can be kept has met a full disk.
                return await self._fetcher.fetch_ahead(study, batch, rest.urgency) > 0
        except NearframeError as error:
            _log.debug("read_ahead_given_up", error=error)
        return False


class _Rest:
    """The frames of a series that are still to come."""

    def __init__(self, contents: Iterable[Content], urgency: Urgency) -> None:
        self._contents = deque(contents)
        #: How many are looked at at least: more, the longer nothing is missing.
        self._least = 1
        self.urgency = urgency

    @property
    def is_over(self) -> bool:
        return not self._contents

    def upcoming(self, most_bytes: int) -> list[Content]:
        """Return the next frames: as many as make a batch, if all of them are missing."""
        found: list[Content] = []
        size = 0
        for content in islice(self._contents, BATCH_CONTENTS):
            if len(found) >= self._least and size + content.length > most_bytes:
                break
            found.append(content)
            size += content.length
        return found

    def take(self, looked_at: Sequence[Content], missing: Collection[Digest], most_bytes: int) -> list[Content]:
        """Remove the next frames, up to those that were looked at or a batch; return those of them that are missing."""
        batch: list[Content] = []
        size = 0
        for content in looked_at:
            if not self._contents or self._contents[0] != content:
                break  # another request has taken it meanwhile
            if content.digest in missing:
                if batch and size + content.length > most_bytes:
                    break
                batch.append(content)
                size += content.length
            self._contents.popleft()
        self._least = 1 if batch else min(2 * self._least, BATCH_CONTENTS)
        return batch
