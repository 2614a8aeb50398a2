"""Reading the change feed, and waiting at its end.

Whoever waits is woken by `nudge`, which this process calls after it stored something, and
by a look at the feed's head every tenth of a second, for what other processes stored. The
look is shared by all who wait; while nobody does there is none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from nearframe import tasks
from nearframe.context import Context
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, FeedCursor, FeedEntry

_LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Some changes, in order, and the cursor after them."""

    entries: tuple[FeedEntry, ...]
    next: FeedCursor


class FeedWatch:
    """The change feed of a node. For one event loop.

    Parameters
    ----------
    look_every_s
        Seconds between looks at the feed's head while somebody waits.
    """

    def __init__(self, catalogue: Catalogue, workers: Workers, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._catalogue = catalogue
        self._workers = workers
        self._look_every_s = look_every_s
        self._nudged = asyncio.Event()
        self._moved = asyncio.Event()
        #: Requests that wait at the feed's end.
        self.waiting = 0
        self._looking: asyncio.Task[None] | None = None

    def nudge(self) -> None:
        """Say that something was stored. Call on the event loop."""
        self._nudged.set()

    async def page(
        self,
        context: Context,
        after: FeedCursor | None,
        limit: int,
        wait_s: float,
        stopping: asyncio.Event | None = None,
    ) -> FeedPage:
        """Return changes after a cursor that the caller may see; wait a while if there are none.

        Once `stopping` is set there is no waiting any more.

        A study appears once, at its last sequence. The page may be empty, and its cursor have
        moved all the same.

        Raises
        ------
        Gone
            If the cursor is of another epoch.
        """
        page = await self._read(context, after, limit)
        if page.entries or wait_s <= 0:
            return page
        await self._wait_beyond(page.next, wait_s, stopping or asyncio.Event())
        return await self._read(context, page.next, limit)

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            await tasks.cancel([self._looking])

    async def _read(self, context: Context, after: FeedCursor | None, limit: int) -> FeedPage:
        if after is None:
            # The head before the feed: what comes in between is read again rather than missed.
            after = FeedCursor((await self._workers.run(self._catalogue.head)).epoch, 0)
        entries = await self._workers.run(self._catalogue.feed, after, limit)
        seen = FeedCursor(after.epoch, entries[-1].seq) if entries else after
        mine = [
            entry
            for entry in entries
            if entry.tenant == context.tenant and context.scope.admits(entry.study_instance_uid)
        ]
        return FeedPage(tuple(mine), seen)

    async def _wait_beyond(self, cursor: FeedCursor, wait_s: float, stopping: asyncio.Event) -> None:
        """Return when the feed's head is not at `cursor` any more, after `wait_s`, or when `stopping` is set."""
        self.waiting += 1
        if self._looking is None:
            self._looking = tasks.spawn(self._look(), name="feed watch")
        try:
            async with asyncio.timeout(wait_s):
                # The event before the look: a move in between sets this very event.
                while (moved := self._moved) and await self._workers.run(self._catalogue.head) == cursor:
                    if stopping.is_set():
                        return
                    await _either(moved, stopping)
        except TimeoutError:
            return
        finally:
            self.waiting -= 1

    async def _look(self) -> None:
        """Wake all who wait whenever the head has moved, until nobody does."""
        head: FeedCursor | None = None
        try:
            while self.waiting:
                seen, head = head, await self._workers.run(self._catalogue.head)
                if head != seen:
                    moved, self._moved = self._moved, asyncio.Event()
                    moved.set()
                await self._nap()
        finally:
            self._looking = None

    async def _nap(self) -> None:
        try:
            async with asyncio.timeout(self._look_every_s):
                await self._nudged.wait()
        except TimeoutError:
            return
        self._nudged.clear()


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    waits = [tasks.spawn(event.wait(), name="wait for event") for event in (first, second)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await tasks.cancel(waits)
