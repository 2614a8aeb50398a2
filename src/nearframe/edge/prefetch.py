"""Fetching whole studies before anybody asks: what was just acquired, and priors of what is opened.

One study after the other, most urgent first, a little at a time; on the line readers go first. A
study that is asked for more urgently meanwhile overtakes. What is held already does not
cross the line, and what cannot be kept is not fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from nearframe import log, tasks
from nearframe.context import Urgency
from nearframe.edge.eviction import Evictor
from nearframe.edge.fetch import Fetcher
from nearframe.edge.keeper import Keeper
from nearframe.edge.readahead import REQUESTS_AT_ONCE
from nearframe.edge.studyindex import Content, StudyIndexes
from nearframe.edge.tiers import StudyTier
from nearframe.errors import NearframeError, UpstreamError
from nearframe.metrics import EDGE_PREFETCHED, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentStore, StudyRef

BATCH_CONTENTS: Final = 64
RETRY_S: Final = 5.0

_log = log.logger(__name__)


@dataclass(slots=True)
class _Wish:
    """A study that is to be fetched; `rest` is what of it was not looked at yet, None before the first look."""

    tier: StudyTier
    urgency: Urgency
    why: str
    rest: Iterator[Content] | None = None

    @property
    def order(self) -> tuple[Urgency, float]:
        return self.urgency, -self.tier.used_at


class Prefetch:
    """Fetches what was wished for, in one task. For one event loop."""

    def __init__(
        self,
        fetcher: Fetcher,
        indexes: StudyIndexes,
        store: ContentStore,
        disk: Workers,
        keeper: Keeper,
        evictor: Evictor,
        metrics: Metrics,
    ) -> None:
        self._fetcher = fetcher
        self._indexes = indexes
        self._store = store
        self._disk = disk
        self._keeper = keeper
        self._evictor = evictor
        self._metrics = metrics
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
                wish = min(self._wishes.values(), key=lambda one: one.order)
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
            wish.rest = await self._frames(study)
        rest = wish.rest
        self._keeper.wanted(wish.tier)
        if not self._evictor.admits(study):
            return False
        upcoming = list(islice(rest, BATCH_CONTENTS))
        if not upcoming:
            return wish.rest is not rest  # it was wished for anew meanwhile
        missing = set(await self._disk.run(self._store.missing, study, [content.digest for content in upcoming]))
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

    async def _frames(self, study: StudyRef) -> Iterator[Content]:
        """Return the frames of a study, each series from its middle outwards: there is most often what matters."""
        index = await self._indexes.of(study)
        limit = self._fetcher.limits.large_bytes
        return (one for series in index.stored() for one in centre_out(series) if one.length <= limit)


def centre_out(series: list[Content]) -> Iterator[Content]:
    """Yield the frames of a series from the middle outwards."""
    middle = len(series) // 2
    for distance in range(len(series)):
        for at in dict.fromkeys((middle + distance, middle - distance)):
            if 0 <= at < len(series):
                yield series[at]


def priors_of(tier: StudyTier, others: Iterable[StudyTier], most: int) -> list[StudyTier]:
    """Return the studies of the same patient to compare with: of the same kind first, the newest first.

    Those that came later than the study are none of its priors, but what a reader wants beside it all the same.
    """

    def likeness(other: StudyTier) -> int:
        return bool(_words(tier.modalities) & _words(other.modalities)) + bool(
            _words(tier.body_parts) & _words(other.body_parts)
        )

    newest = sorted(others, key=lambda other: other.acquired_at, reverse=True)
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
