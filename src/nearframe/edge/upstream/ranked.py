"""Several upstreams, in their order: which one is followed, and who is asked when one fails.

::

    one is *in use*      followed, pulled from and forwarded to: the best-ranked that answers
    it fails             probed at once; after three failures in a row, a second or so, the next is in use
    a better one is well again, for some seconds: it is in use again

Contents prove themselves by their digests, so they may come from any: a reader's request that
fails at one goes on at the next at once, with the bytes that came. How studies stand is asked of
the one in use alone: another may not have heard yet.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Final, TypeVar

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.edge.line import Line, Transfer
from nearframe.edge.upstream.node import Upstream
from nearframe.errors import LoopDetected, NearframeError, NotFound, UpstreamError, UpstreamUnavailable
from nearframe.ids import Digest
from nearframe.metrics import UPSTREAM_HEALTHY, UPSTREAM_IN_USE, UPSTREAM_SWITCHES, Metrics
from nearframe.storage.ports import StudyRef
from nearframe.wire import contentstream

T = TypeVar("T")

#: How soon one that failed is asked whether it is there, until its breaker says how often.
PROBE_S: Final = 0.3
#: How long a better-ranked one has to answer before it is in use again: least and most. Edges do not go back in step.
BACK_S: Final = (2.0, 5.0)

_log = log.logger(__name__)


class Upstreams:
    """The upstreams of an edge. For one event loop.

    Parameters
    ----------
    ranked
        The first is asked first; at least one. They share the `line`.

    Attributes
    ----------
    current
        The one in use.
    """

    def __init__(
        self,
        ranked: Sequence[Upstream],
        line: Line,
        clock: Clock,
        metrics: Metrics,
        *,
        back_s: tuple[float, float] = BACK_S,
    ) -> None:
        self.ranked = tuple(ranked)
        self.line = line
        self.current = self.ranked[0]
        self._clock = clock
        self._metrics = metrics
        self._back_s = back_s
        self._patience_s = random.uniform(*back_s)
        self._since = clock.monotonic()
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        metrics.before_reading(self._measure)

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look after them; one alone needs no looking after."""
        if len(self.ranked) == 1:
            return
        for one in self.ranked:
            one.breaker.told = self._news.set
            self._running.append(tasks.spawn(self._keep_probing(one), name="probe upstream"))
        self._running.append(tasks.spawn(self._keep_choosing(), name="choose upstream"))

    async def close(self) -> None:
        """Stop, and close every connection."""
        await tasks.cancel(self._running)
        for one in self.ranked:
            await one.close()

    # -- state -----------------------------------------------------------------------------

    @property
    def is_reachable(self) -> bool:
        """Whether any of them answers."""
        # Asked on the way of every frame: nearly always the one in use settles it.
        return self.current.is_reachable or any(one.is_reachable for one in self.ranked)

    @property
    def is_away(self) -> bool:
        """Whether none of them is worth asking."""
        return all(one.breaker.is_open for one in self.ranked)

    @property
    def last_contact_s(self) -> float | None:
        """Seconds since one of them last answered, or None before any ever did."""
        return min((one.last_contact_s for one in self.ranked if one.last_contact_s is not None), default=None)

    @property
    def in_use_s(self) -> float:
        """Seconds since the one in use is."""
        return self._clock.monotonic() - self._since

    @property
    def at_hand(self) -> int:
        """How many connections to the one in use stand open that are not in use."""
        return self.current.at_hand

    async def connected(self, count: int) -> None:
        """Return when so many connections to the upstream in use stand open, or no more can be had."""
        await self.current.connected(count)

    def make_ready(self) -> None:
        """Have connections to the one in use at hand."""
        self.current.make_ready()

    async def left(self, upstream: Upstream) -> None:
        """Wait until another one than this is in use."""
        while self.current is upstream:
            await self._moved.wait()

    # -- contents --------------------------------------------------------------------------

    @asynccontextmanager
    async def content(
        self, study: StudyRef, digest: Digest, transfer: Transfer, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open bytes of a content at the first that has it; see `Upstream.content`."""
        async with self._first(lambda one: one.content(study, digest, transfer, start, stop)) as opened:
            yield opened

    @asynccontextmanager
    async def recipe(
        self, study: StudyRef, enc: Digest, ask: str, transfer: Transfer, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open bytes of the recipe of a frame at the first that has one; see `Upstream.recipe`."""
        async with self._first(lambda one: one.recipe(study, enc, ask, transfer, start, stop)) as opened:
            yield opened

    @asynccontextmanager
    async def contents(
        self, study: StudyRef, digests: Sequence[Digest], max_length: int, transfer: Transfer
    ) -> AsyncIterator[AsyncIterator[contentstream.Event]]:
        """Open a batch of contents at the first that answers; see `Upstream.contents`."""
        async with self._first(lambda one: one.contents(study, digests, max_length, transfer)) as opened:
            yield opened

    async def renditions(self, study: StudyRef, urgency: Urgency) -> bytes:
        """Return the list of renditions of the first that knows the study; see `Upstream.renditions`."""
        problems = _Problems()
        for one in self._in_turn():
            with problems.noted(one):
                return await one.renditions(study, urgency)
        raise problems.gravest

    @asynccontextmanager
    async def _first(self, opening: Callable[[Upstream], AbstractAsyncContextManager[T]]) -> AsyncIterator[T]:
        """Open something at the first that can give it."""
        problems = _Problems()
        for one in self._in_turn():
            async with AsyncExitStack() as stack:
                opened: list[T] = []
                with problems.noted(one):
                    opened.append(await stack.enter_async_context(opening(one)))
                if opened:
                    yield opened[0]
                    return
        raise problems.gravest

    def _in_turn(self) -> list[Upstream]:
        """Return them by rank; those that failed last come later, those that are away last."""
        return sorted(
            self.ranked, key=lambda one: (one.breaker.is_open, one.breaker.failing.is_set(), one is not self.current)
        )

    # -- which one is in use ---------------------------------------------------------------

    async def _keep_probing(self, one: Upstream) -> None:
        """Ask one that failed until it answers."""
        while True:
            await one.breaker.failing.wait()
            await asyncio.sleep(max(PROBE_S * random.uniform(0.5, 1.0), one.breaker.pause_s))
            with suppress(NearframeError):
                await one.probe()

    async def _keep_choosing(self) -> None:
        while True:
            self._news.clear()
            self._choose()
            waits = [self._patience_s - one.breaker.well_s for one in self._better() if one.breaker.well_s]
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.01, min(waits)) if waits else None):
                    await self._news.wait()

    def _choose(self) -> None:
        if self.current.breaker.is_open:
            # One that fails at this moment is a worse choice than one that does not, whatever its rank.
            worth = [one for one in self.ranked if not one.breaker.is_open]
            if worth:
                self._use(min(worth, key=lambda one: one.breaker.failing.is_set()), "away")
            return
        well = [one for one in self._better() if one.breaker.well_s >= self._patience_s]
        if well:
            self._use(well[0], "back")

    def _better(self) -> tuple[Upstream, ...]:
        return self.ranked[: self.current.rank]

    def _use(self, one: Upstream, why: str) -> None:
        _log.warning("upstream_changed", rank=one.rank, before=self.current.rank, why=why)
        self._metrics.add(UPSTREAM_SWITCHES, why=why)
        self.current, self._since = one, self._clock.monotonic()
        self._patience_s = random.uniform(*self._back_s)
        self._moved.set()
        self._moved = asyncio.Event()

    def _measure(self) -> None:
        for one in self.ranked:
            self._metrics.set(UPSTREAM_HEALTHY, one.is_reachable, rank=str(one.rank))
            self._metrics.set(UPSTREAM_IN_USE, one is self.current, rank=str(one.rank))


class _Problems:
    """What went wrong at each of several upstreams."""

    def __init__(self) -> None:
        self._found: dict[int, NearframeError] = {}

    @contextmanager
    def noted(self, one: Upstream) -> Iterator[None]:
        try:
            yield
        except (NotFound, UpstreamError, LoopDetected) as error:
            self._found[one.rank] = error

    @property
    def gravest(self) -> NearframeError:
        """What the best-ranked one said: a lower one may lack what that one has."""
        return self._found[min(self._found)] if self._found else UpstreamUnavailable("there is no upstream to ask")
