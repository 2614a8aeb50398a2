"""Fetching whole studies before anybody asks: what was just acquired, and priors of what is opened.

One study after the other, most urgent first, a little at a time; on the line readers go first. A
study that is asked for more urgently meanwhile overtakes. What is held already does not
cross the line, and what cannot be kept is not fetched.

Native frames come as their renditions. Those of what was just acquired are being made at
the upstream: the study is put off for a moment until they are, and no longer than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, TypeVar

from nearframe import log, tasks
from nearframe.context import Urgency
from nearframe.edge.eviction import Evictor
from nearframe.edge.fetch import Fetcher
from nearframe.edge.keeper import Keeper
from nearframe.edge.readahead import REQUESTS_AT_ONCE
from nearframe.edge.renditions import ASK_SOON_S
from nearframe.edge.studyindex import Content, StudyIndexes, lacking
from nearframe.edge.tiers import StudyTier
from nearframe.errors import NearframeError, UpstreamError
from nearframe.metrics import EDGE_PREFETCHED, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentStore, StudyRef

BATCH_CONTENTS: Final = 64
RETRY_S: Final = 5.0
#: How often a study is waited for whose renditions are still being made, and each time how long.
UNMADE_TRIES: Final = 10
UNMADE_S: Final = ASK_SOON_S

_log = log.logger(__name__)


@dataclass(slots=True)
class _Wish:
    """A study that is to be fetched.

    Attributes
    ----------
    rest
        What of it was not looked at yet, None before the first look.
    unmade
        Whether frames were left out whose renditions are still to be made, and how often that was so.
    put_off_until
        On the event loop's clock.
    """

    tier: StudyTier
    urgency: Urgency
    why: str
    rest: Iterator[Content] | None = None
    unmade: bool = False
    tries: int = 0
    put_off_until: float = 0.0

    def order(self, now: float) -> tuple[float, Urgency, float]:
        return max(0.0, self.put_off_until - now), self.urgency, -self.tier.used_at


class Comparable(Protocol):
    """What studies of one patient are compared by; see `StudyTier`."""

    @property
    def modalities(self) -> str: ...
    @property
    def body_parts(self) -> str: ...
    @property
    def acquired_at(self) -> str: ...


T = TypeVar("T", bound=Comparable)


class Prefetch:
    """Fetches what was wished for, in one task. For one event loop.

    Parameters
    ----------
    renditions_of
        Finds out which renditions the upstream has of a study; returns whether more are being made.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        indexes: StudyIndexes,
        store: ContentStore,
        disk: Workers,
        keeper: Keeper,
        evictor: Evictor,
        metrics: Metrics,
        renditions_of: Callable[[StudyRef], Awaitable[bool]],
    ) -> None:
        self._fetcher = fetcher
        self._indexes = indexes
        self._store = store
        self._disk = disk
        self._keeper = keeper
        self._evictor = evictor
        self._metrics = metrics
        self._renditions_of = renditions_of
        self._clock = asyncio.get_running_loop().time
        self._wishes: dict[StudyRef, _Wish] = {}
        self._running: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._wishes)

    def wish(self, tier: StudyTier, urgency: Urgency, why: str) -> None:
        """Wish for a study: ``push`` or ``prior`` or ``consult``; a known wish becomes more urgent, not less."""
        if tier.is_whole:
            return
        known = self._wishes.get(tier.study)
        if known is None:
            self._wishes[tier.study] = _Wish(tier, urgency, why)
        else:
            # What came since was not there when its frames were listed.
            known.urgency, known.rest = min(known.urgency, urgency), None
            known.tries, known.put_off_until = 0, 0.0
        if self._running is None:
            self._running = tasks.spawn(self._run(), name="prefetch")

    async def finished(self) -> None:
        """Return when nothing is wished for any more."""
        while self._running is not None:
            await asyncio.wait([self._running])

    async def stop(self) -> None:
        """Stop; what came is kept."""
        self._wishes.clear()
        if self._running is not None:
            await tasks.cancel([self._running])

    async def _run(self) -> None:
        try:
            while self._wishes:
                now = self._clock()
                wish = min(self._wishes.values(), key=lambda one: one.order(now))
                if wish.put_off_until > now:
                    await asyncio.sleep(UNMADE_S / 10)
                    continue
                try:
                    goes_on = await self._batch(wish)
                except UpstreamError as error:
                    _log.debug("prefetch_put_off", error=error)
                    await asyncio.sleep(RETRY_S)
                    continue
                except NearframeError as error:
                    _log.warning("prefetch_given_up", error=error)
                    goes_on = False
                if not goes_on and self._wishes.get(wish.tier.study) is wish:
                    del self._wishes[wish.tier.study]
        finally:
            self._running = None

    async def _batch(self, wish: _Wish) -> bool:
        """Fetch the next frames of a study; return whether to go on with it."""
        study = wish.tier.study
        if wish.rest is None:
            wish.rest = await self._frames(wish)
        rest = wish.rest
        self._keeper.wanted(wish.tier)
        if not self._evictor.admits(study):
            return False
        upcoming = list(islice(rest, BATCH_CONTENTS))
        if not upcoming:
            return self._goes_on(wish, rest)
        missing = await self._disk.run(lacking, self._store, study, upcoming)
        wanted = (content for content in upcoming if content.digest in missing)
        # Nobody waits for it yet, however urgent what it is a prior of.
        urgency = max(wish.urgency, Urgency.ARCHIVE)
        waiting = list(batches(wanted, self._fetcher.line.piece_bytes(urgency) or 0))
        for some in (waiting[at : at + REQUESTS_AT_ONCE] for at in range(0, len(waiting), REQUESTS_AT_ONCE)):
            asked = (self._fetcher.fetch_ahead(study, batch, urgency) for batch in some)
            for batch, came in zip(some, await asyncio.gather(*asked, return_exceptions=True), strict=True):
                if isinstance(came, BaseException):
                    raise came
                if came == 0:
                    return False  # a full disk
                self._metrics.add(EDGE_PREFETCHED, len(batch), why=wish.why)
        return True

    def _goes_on(self, wish: _Wish, ended: Iterator[Content]) -> bool:
        """Return whether a study at whose end we are is to be looked at once more."""
        if wish.unmade and wish.rest is ended:
            wish.rest, wish.put_off_until, wish.tries = None, self._clock() + UNMADE_S, wish.tries + 1
        return wish.rest is not ended  # it may have been wished for anew meanwhile

    async def _frames(self, wish: _Wish) -> Iterator[Content]:
        """Return the frames of a study, each series from its middle outwards: there is most often what matters."""
        study = wish.tier.study
        are_being_made = await self._renditions_of(study)
        index = await self._indexes.of(study)
        limit = self._fetcher.limits.large_bytes
        left_out = index.unmade if are_being_made and wish.tries < UNMADE_TRIES else frozenset()
        wish.unmade = bool(left_out)
        return (
            one
            for series in index.carried()
            for one in centre_out(series)
            if one.length <= limit and one.digest not in left_out
        )


def centre_out(series: list[Content]) -> Iterator[Content]:
    """Yield the frames of a series from the middle outwards."""
    middle = len(series) // 2
    for distance in range(len(series)):
        for at in dict.fromkeys((middle + distance, middle - distance)):
            if 0 <= at < len(series):
                yield series[at]


#: Studies that one person may have.
MOST_OF_A_PATIENT: Final = 1000


def priors_of(study: Comparable, others: Iterable[T], most: int) -> list[T]:
    """Return the studies of the same patient to compare with: of the same kind first, the newest first.

    Those that came later than the study are none of its priors, but what a reader wants beside it all the same.
    An ID that thousands share ("0", "TEST") is no patient, and has none.
    """
    found = list(others)
    if len(found) > MOST_OF_A_PATIENT:
        return []
    modalities, body_parts = _words(study.modalities), _words(study.body_parts)

    def likeness(other: Comparable) -> int:
        return bool(modalities & _words(other.modalities)) + bool(body_parts & _words(other.body_parts))

    newest = sorted(found, key=lambda other: other.acquired_at, reverse=True)
    return sorted(newest, key=likeness, reverse=True)[:most]


def _words(text: str) -> set[str]:
    return {word.casefold() for word in text.split("\\") if word}


def batches(contents: Iterable[Content], most_bytes: int) -> Iterator[list[Content]]:
    """Yield contents in batches of so many bytes; what is longer alone."""
    batch: list[Content] = []
    size = 0
    for content in contents:
        if batch and size + content.length > most_bytes:
            yield batch
            batch, size = [], 0
        batch.append(content)
        size += content.length
    if batch:
        yield batch
