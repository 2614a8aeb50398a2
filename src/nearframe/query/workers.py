"""Bounded thread pools: SQL, disk and codecs never run on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from nearframe.errors import Busy

P = ParamSpec("P")
R = TypeVar("R")


class Workers:
    """A few threads and a bounded queue before them.

    Parameters
    ----------
    threads
        Calls that run at once.
    waiting
        Calls that may wait; more raise `Busy`, so that load is refused rather than hoarded.
    """

    def __init__(self, name: str, threads: int, waiting: int = 1000) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._name = name
        self._limit = threads + waiting
        self._running = 0
        self._idle = asyncio.Event()

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a call in a thread and return what it returns.

        A caller that is cancelled leaves the call running: its slot counts until it is done.
        """
        if self._running >= self._limit:
            raise Busy(f"{self._name} has {self._limit} calls waiting; try again later")
        self._running += 1
        self._idle.clear()
        future = self._pool.submit(call, *args, **kwargs)
        wrapped = asyncio.wrap_future(future)
        loop = wrapped.get_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return await asyncio.shield(wrapped)

    async def drained(self) -> None:
        """Return when no call runs, those of cancelled callers included: what they use may be closed then."""
        while self._running:
            await self._idle.wait()

    def close(self) -> None:
        """Refuse new calls and wait for those that run."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _done(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()
