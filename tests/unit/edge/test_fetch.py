"""Fetching: once, proved, bounded; failures are retried, spoiled contents never handed on."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from nearframe import tasks
from nearframe.edge.fetch import Fetched, Fetcher, FetchLimits
from nearframe.edge.studyindex import Content
from nearframe.edge.upstream import Upstream
from nearframe.errors import Busy, IntegrityError, NoSpace, NotFound, UpstreamTimeout, UpstreamUnavailable
from nearframe.ids import sha256
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_NOT_KEPT, Metrics
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
        self.fetcher = Fetcher(cast("Upstream", self.upstream), edge.store, self.workers, self.metrics, scratch, limits)

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
    setup.upstream.breaker.is_open = True
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
