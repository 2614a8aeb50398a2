"""Fetching: once, proved, bounded; failures are retried, spoiled contents never handed on."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from nearframe import tasks
from nearframe.context import Urgency
from nearframe.edge.fetch import Fetched, Fetcher, FetchLimits
from nearframe.edge.studyindex import Content
from nearframe.edge.upstream import Upstreams
from nearframe.errors import (
    Busy,
    IntegrityError,
    NoSpace,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from nearframe.ids import sha256
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_NOT_KEPT, LINE_RESUMED, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.storage.scratch import ScratchFolder
from tests.syncing import Shelves, shelves
from tests.unit.edge.fakes import FakeUpstream, settle

STUDY = StudyRef("main", "1.2.3")
ONE, TWO, LARGE = b"frame one", b"frame two", b"large" * 1000
LIMITS = FetchLimits(large_bytes=1000, memory_bytes=2000, pause_s=0.001, patience_s=0.01)


def content(data: bytes, kind: ContentKind = ContentKind.FRAME) -> Content:
    return Content(sha256(data), kind, len(data))


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path / "edge")


class Setup:
    def __init__(self, edge: Shelves, scratch: ScratchFolder, limits: FetchLimits) -> None:
        self.upstream = FakeUpstream(ONE, TWO, LARGE)
        self.store = edge.store
        self.workers = Workers("test", 2)
        self.metrics = Metrics()
        self.fetcher = Fetcher(
            cast("Upstreams", self.upstream), edge.store, self.workers, self.metrics, scratch, limits
        )

    async def fetch(self, data: bytes) -> Fetched:
        return await self.fetcher.fetch(STUDY, content(data))


@pytest.fixture
async def setup(edge: Shelves, tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(edge, ScratchFolder(tmp_path / "scratch"), LIMITS)
    yield made
    made.workers.close()


async def test_what_is_fetched_is_kept(setup: Setup) -> None:
    assert await setup.fetch(ONE) == Fetched(ONE, stored=True)
    assert setup.store.read(STUDY, sha256(ONE)) == ONE


async def test_readers_share_and_may_leave(setup: Setup) -> None:
    setup.upstream.go.clear()
    readers = [tasks.spawn(setup.fetch(ONE), name="reader") for _ in range(20)]
    await settle()
    assert setup.fetcher.is_under_way(STUDY, sha256(ONE))
    for reader in readers[:19]:
        reader.cancel()
    await settle()
    setup.upstream.go.set()
    assert (await readers[19]).data == ONE
    assert setup.upstream.asked == Counter(content=1)
    assert not setup.fetcher.is_under_way(STUDY, sha256(ONE))


async def test_a_large_content_goes_through_a_scratch_file(setup: Setup) -> None:
    assert await setup.fetch(LARGE) == Fetched(None, stored=True)
    assert setup.store.read(STUDY, sha256(LARGE)) == LARGE
    setup.upstream.spoil = 2
    setup.store.release(STUDY, [sha256(LARGE)])
    with pytest.raises(IntegrityError):
        await setup.fetch(LARGE)
    assert setup.store.size_of(STUDY, sha256(LARGE)) is None


@pytest.mark.parametrize(("spoiled", "asked"), [(1, 2), (2, 2)])
async def test_a_spoiled_content_is_asked_for_once_more(setup: Setup, spoiled: int, asked: int) -> None:
    setup.upstream.spoil = spoiled
    if spoiled == 1:
        assert (await setup.fetch(ONE)).data == ONE
    else:
        with pytest.raises(IntegrityError):
            await setup.fetch(ONE)
        assert setup.store.size_of(STUDY, sha256(ONE)) is None
    assert setup.upstream.asked == Counter(content=asked)
    assert setup.metrics.value(EDGE_INTEGRITY_FAILURES, what="frame") == spoiled


async def test_a_line_that_fails_is_tried_again(setup: Setup) -> None:
    setup.upstream.errors = [UpstreamUnavailable("reset"), UpstreamTimeout("late")]
    assert (await setup.fetch(ONE)).data == ONE
    assert setup.upstream.asked == Counter(content=3)


async def test_a_line_that_is_down_is_not(setup: Setup) -> None:
    setup.upstream.errors = [UpstreamUnavailable("refused")]
    setup.upstream.is_away = True
    with pytest.raises(UpstreamUnavailable):
        await setup.fetch(ONE)
    assert setup.upstream.asked == Counter(content=1)


async def test_what_the_upstream_does_not_have(setup: Setup) -> None:
    with pytest.raises(NotFound):
        await setup.fetch(b"unknown")
    assert setup.upstream.asked == Counter(content=1)


async def test_a_full_disk_keeps_nobody_from_seeing(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bool:
        raise NoSpace(1, 0)

    monkeypatch.setattr(setup.store, "append", full)
    assert await setup.fetch(ONE) == Fetched(ONE, stored=False)
    assert setup.metrics.value(EDGE_NOT_KEPT) == 1
    with pytest.raises(NoSpace):
        await setup.fetch(LARGE)


async def test_memory_is_bounded(setup: Setup) -> None:
    setup.fetcher._memory.try_reserve(2000)
    with pytest.raises(Busy):
        await setup.fetch(ONE)


class TestAhead:
    async def test_a_batch_is_one_request(self, setup: Setup) -> None:
        assert await setup.fetcher.fetch_ahead(STUDY, [content(ONE), content(TWO)]) == 2
        assert setup.upstream.asked == Counter(contents=1)
        assert setup.store.read(STUDY, sha256(TWO)) == TWO

    async def test_a_reader_waits_for_the_batch(self, setup: Setup) -> None:
        setup.upstream.go.clear()
        batch = tasks.spawn(setup.fetcher.fetch_ahead(STUDY, [content(ONE), content(TWO)]), name="batch")
        await settle()
        reader = tasks.spawn(setup.fetch(TWO), name="reader")
        await settle()
        setup.upstream.go.set()
        assert (await reader).data == TWO
        await batch
        assert setup.upstream.asked == Counter(contents=1)

    async def test_a_reader_does_not_suffer_from_a_batch_that_fails(self, setup: Setup) -> None:
        setup.upstream.go.clear()
        setup.upstream.errors = [UpstreamUnavailable("reset")]
        batch = tasks.spawn(setup.fetcher.fetch_ahead(STUDY, [content(ONE), content(TWO)]), name="batch")
        await settle()
        reader = tasks.spawn(setup.fetch(ONE), name="reader")
        await settle()
        setup.upstream.go.set()
        assert (await reader).data == ONE
        with pytest.raises(UpstreamUnavailable):
            await batch
        assert setup.upstream.asked == Counter(contents=1, content=1)

    async def test_what_is_spoiled_or_absent_is_left_out(self, setup: Setup) -> None:
        setup.upstream.spoil = 1
        wanted = [content(ONE), content(b"unknown"), content(TWO)]
        assert await setup.fetcher.fetch_ahead(STUDY, wanted) == 1
        assert setup.store.size_of(STUDY, sha256(ONE)) is None
        assert (await setup.fetch(ONE)).data == ONE

    async def test_what_is_under_way_is_not_asked_for_again(self, setup: Setup) -> None:
        setup.upstream.go.clear()
        reader = tasks.spawn(setup.fetch(ONE), name="reader")
        await settle()
        assert await setup.fetcher.fetch_ahead(STUDY, [content(ONE)]) == 1
        setup.upstream.go.set()
        await reader
        assert setup.upstream.asked == Counter(content=1)


class TestPieces:
    """Contents that are larger than what the line takes at a time."""

    DATA = random.Random(3).randbytes(200_000)

    @pytest.fixture
    def big(self, setup: Setup) -> Setup:
        setup.upstream.contents_held[sha256(self.DATA)] = self.DATA
        setup.upstream.chunk_bytes = 10_000
        return setup

    async def fetch(self, setup: Setup, urgency: Urgency) -> None:
        assert await setup.fetcher.fetch(STUDY, content(self.DATA), urgency) == Fetched(None, stored=True)
        assert setup.store.read(STUDY, sha256(self.DATA)) == self.DATA

    @pytest.mark.parametrize(("urgency", "most"), [(Urgency.BULK, 31_250), (Urgency.ROUTINE, 82_000)])
    async def test_what_is_not_urgent_comes_in_pieces(self, big: Setup, urgency: Urgency, most: int) -> None:
        await self.fetch(big, urgency)
        ends = [len(self.DATA) if stop is None else stop for _, stop in big.upstream.ranges]
        assert [start for start, _ in big.upstream.ranges] == [0, *ends[:-1]]
        assert max(end - start for (start, _), end in zip(big.upstream.ranges, ends, strict=True)) <= most

    async def test_what_is_urgent_comes_whole(self, big: Setup) -> None:
        await self.fetch(big, Urgency.ACTIVE)
        assert big.upstream.ranges == [(0, None)]

    async def test_a_lost_connection_is_gone_on_with(self, big: Setup) -> None:
        big.upstream.cuts = [30_000, 100_000, 100_000]
        await self.fetch(big, Urgency.STAT)
        assert big.upstream.ranges == [(0, None), (30_000, None), (100_000, None), (100_000, None)]
        assert big.upstream.metrics.value(LINE_RESUMED) == 3

    async def test_three_times_nothing_is_the_end(self, big: Setup) -> None:
        big.upstream.cuts = [30_000] * 3
        with pytest.raises(UpstreamUnavailable):
            await big.fetcher.fetch(STUDY, content(self.DATA), Urgency.STAT)
        assert not big.fetcher.is_under_way(STUDY, sha256(self.DATA))

    async def test_somebody_urgent_makes_the_rest_come_at_once(self, big: Setup) -> None:
        big.upstream.flow.clear()
        bulk = tasks.spawn(self.fetch(big, Urgency.BULK), name="bulk")
        await until(lambda: len(big.upstream.ranges) > 1)
        assert all(stop is not None for _, stop in big.upstream.ranges)
        urgent = tasks.spawn(self.fetch(big, Urgency.STAT), name="urgent")
        await until(lambda: any(stop is None for _, stop in big.upstream.ranges))
        big.upstream.flow.set()
        await asyncio.gather(bulk, urgent)
        assert len(big.upstream.ranges) <= 5

    async def test_an_upstream_that_changes_its_mind_about_the_length(
        self, big: Setup, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = big.upstream.content

        @asynccontextmanager
        async def longer(*args: Any) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
            async with asked(*args) as (length, chunks):
                yield length + len(big.upstream.ranges), chunks

        monkeypatch.setattr(big.upstream, "content", longer)
        with pytest.raises(UpstreamError):
            await big.fetcher.fetch(STUDY, content(self.DATA), Urgency.BULK)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what threads and tasks do in their own time."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0)
