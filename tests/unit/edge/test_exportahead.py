"""Ahead of an export: what comes next is on its way, held until it is read, and bounded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import pytest

from nearframe.context import Urgency
from nearframe.edge import exportahead
from nearframe.edge.exportahead import ExportAhead
from nearframe.edge.fetch import Fetcher, FetchLimits
from nearframe.edge.line import Line
from nearframe.edge.studyindex import Content, StudyIndex
from nearframe.edge.turns import User
from nearframe.edge.upstream import Upstreams
from nearframe.errors import NotAdmitted, UpstreamUnavailable
from nearframe.ids import Digest
from nearframe.metrics import Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import Buffer, ContentKind, StudyRef
from nearframe.storage.scratch import ScratchFolder
from tests.syncing import STUDY_UID, Shelves, ct_series, shelves
from tests.unit.edge.fakes import FakeUpstream

STUDY = StudyRef("main", STUDY_UID)
FRAMES = 12
FRAME_BYTES = 512


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path / "edge")


class Setup:
    """An edge that keeps nothing of what it fetches, and an export of a study of two series."""

    def __init__(self, edge: Shelves, scratch: ScratchFolder) -> None:
        edge.put([*ct_series(FRAMES), *ct_series(2, series=2, seed=99)])
        records = edge.catalogue.list_instances(STUDY)
        self.index = StudyIndex(records, edge.catalogue)
        self.frames = [record.frames.enc for record in records]
        data = [edge.store.read(STUDY, digest) for digest in self.frames]
        edge.store.release(STUDY, self.frames)
        self.store = edge.store
        self.upstream = FakeUpstream(*data)
        self.workers = Workers("test", 2)
        limits = FetchLimits(attempts=1)
        self.fetcher = Fetcher(cast("Upstreams", self.upstream), self, self.workers, Metrics(), scratch, limits)
        self.ahead = ExportAhead(self.fetcher, edge.store, self.workers)
        self.keeps = False

    def append(self, study: StudyRef, kind: ContentKind, digest: Digest, size: int, chunks: Iterable[Buffer]) -> bool:
        if not self.keeps:
            raise NotAdmitted(size)
        return self.store.append(study, kind, digest, size, chunks)

    def content(self, number: int) -> Content:
        content = self.index.find(self.frames[number])
        assert content is not None
        return content

    async def read(self, number: int) -> None:
        """Read a frame as an export does."""
        async with self.fetcher.following(STUDY, self.content(number), Urgency.BULK, User.EXPORT) as flight:
            self.ahead.read(STUDY, self.index, self.content(number))
            await flight.landed()

    def under_way(self) -> list[int]:
        """Return which frames are on their way, or held."""
        return [at for at, digest in enumerate(self.frames) if self.fetcher.is_under_way(STUDY, digest)]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.fixture
async def setup(edge: Shelves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    monkeypatch.setattr(Line, "window_bytes", lambda *_: 3 * FRAME_BYTES)
    made = Setup(edge, ScratchFolder(tmp_path / "scratch"))
    yield made
    await made.ahead.stop()
    made.workers.close()


async def test_two_frames_in_order_bring_the_next_ones(setup: Setup) -> None:
    await setup.read(0)
    assert setup.upstream.asked == Counter(content=1), "one frame is no export"
    await setup.read(1)
    await until(lambda: setup.upstream.asked == Counter(content=5))
    assert setup.under_way() == [2, 3, 4], "no more than the line holds, and held until they are read"


async def test_each_frame_is_fetched_once_and_the_last_ends_it(setup: Setup) -> None:
    for number in range(FRAMES):
        await setup.read(number)
    assert setup.upstream.asked == Counter(content=FRAMES)
    await until(lambda: setup.under_way() == [])


async def test_several_connections_read_side_by_side(setup: Setup) -> None:
    left = list(reversed(range(FRAMES)))

    async def connection() -> None:
        while left:
            await setup.read(left.pop())

    await asyncio.gather(*(connection() for _ in range(4)))
    assert setup.upstream.asked == Counter(content=FRAMES)


async def test_frames_here_and_there_bring_nothing(setup: Setup) -> None:
    for number in (0, 5, 3, 9, 12, 1):
        await setup.read(number)
    assert setup.upstream.asked == Counter(content=6)


async def test_what_the_store_keeps_is_not_held(setup: Setup) -> None:
    setup.keeps = True
    await setup.read(0)
    await setup.read(1)
    await until(lambda: setup.upstream.asked == Counter(content=FRAMES))
    await until(lambda: setup.under_way() == [])
    assert setup.store.missing(STUDY, setup.frames[:FRAMES]) == []


async def test_what_is_held_is_not_fetched(setup: Setup) -> None:
    setup.keeps = True
    await setup.fetcher.fetch(STUDY, setup.content(2))
    setup.keeps = False
    await setup.read(0)
    await setup.read(1)
    await until(lambda: setup.under_way() == [3, 4, 5])


async def test_an_export_that_ends_early_is_not_waited_for(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exportahead, "PATIENCE_S", 0.01)
    await setup.read(0)
    await setup.read(1)
    await until(lambda: setup.upstream.asked == Counter(content=5) and setup.under_way() == [])


async def test_a_line_that_breaks_ends_it(setup: Setup) -> None:
    await setup.read(0)
    await setup.read(1)
    await until(lambda: setup.upstream.asked == Counter(content=5))
    setup.upstream.errors = [UpstreamUnavailable("away")]
    await setup.read(2)
    await until(lambda: setup.upstream.asked == Counter(content=6))
    for number in (3, 4):
        await setup.read(number)
    await until(lambda: setup.under_way() == [])
    assert setup.upstream.asked == Counter(content=6), "the one that failed, and none after it"


async def test_what_is_no_frame_of_a_series_brings_nothing(setup: Setup) -> None:
    setup.ahead.read(STUDY, StudyIndex([], None), setup.content(0))  # type: ignore[arg-type]
    assert setup.under_way() == []


async def test_too_many_series_push_out_the_one_read_least_lately(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exportahead, "SERIES_AT_ONCE", 1)
    await setup.read(0)
    await setup.read(FRAMES)
    await setup.read(1)
    assert setup.upstream.asked == Counter(content=3)
