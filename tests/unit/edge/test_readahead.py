"""Reading ahead: the rest of a series, in order, in batches, after the readers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from nearframe.context import Urgency
from nearframe.edge import readahead
from nearframe.edge.fetch import Fetcher
from nearframe.edge.readahead import ReadAhead
from nearframe.edge.studyindex import Content, StudyIndex
from nearframe.errors import UpstreamUnavailable
from nearframe.ids import Digest
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.units import KIB
from tests.syncing import STUDY_UID, Shelves, ct_series, shelves

STUDY = StudyRef("main", STUDY_UID)


class FakeFetcher:
    """Notes the batches."""

    def __init__(self) -> None:
        self.batch_bytes = 64 * KIB
        self.line = SimpleNamespace(piece_bytes=lambda _: self.batch_bytes)
        self.batches: list[list[Digest]] = []
        self.error: Exception | None = None
        self.bring = True

    async def fetch_ahead(self, study: StudyRef, contents: Sequence[Content], urgency: Urgency) -> int:
        assert urgency is Urgency.ARCHIVE
        self.batches.append([content.digest for content in contents])
        if self.error is not None:
            raise self.error
        return len(contents) if self.bring else 0


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path / "origin")


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path / "edge")


class Setup:
    def __init__(self, origin: Shelves, edge: Shelves) -> None:
        origin.put([*ct_series(6), *ct_series(4, series=2, seed=2)])
        records = origin.catalogue.list_instances(STUDY)
        self.frames = [record.frames.enc for record in records]
        self.index = StudyIndex(records, origin.catalogue)
        self.fetcher = FakeFetcher()
        self.store = edge.store
        self.workers = Workers("test", 2)
        self.read_ahead = ReadAhead(cast("Fetcher", self.fetcher), edge.store, self.workers)

    def open(self, number: int) -> None:
        content = self.index.find(self.frames[number])
        assert content is not None
        self.read_ahead.opened(STUDY, self.index, content)

    def numbers(self) -> list[list[int]]:
        """Return the batches as numbers of frames."""
        return [[self.frames.index(digest) for digest in batch] for batch in self.fetcher.batches]


@pytest.fixture
async def setup(origin: Shelves, edge: Shelves, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setup]:
    monkeypatch.setattr(readahead, "REQUESTS_AT_ONCE", 1)
    made = Setup(origin, edge)
    yield made
    await made.read_ahead.stop()
    made.workers.close()


async def test_from_the_frame_outwards(setup: Setup) -> None:
    setup.open(2)
    await setup.read_ahead.finished()
    assert setup.numbers() == [[3, 1, 4, 0, 5]]


async def test_batches_are_small_and_series_take_turns(setup: Setup) -> None:
    setup.fetcher.batch_bytes = 1024  # two frames
    setup.open(0)
    setup.open(6)
    setup.open(0)
    await setup.read_ahead.finished()
    assert setup.numbers() == [[1, 2], [7, 8], [3, 4], [9], [5]]


async def test_what_is_held_is_passed_over(setup: Setup, origin: Shelves) -> None:
    held = setup.frames[3]
    data = origin.store.read(STUDY, held)
    setup.store.append(STUDY, ContentKind.FRAME, held, len(data), [data])
    setup.open(2)
    await setup.read_ahead.finished()
    assert setup.numbers() == [[1, 4, 0, 5]]


@pytest.mark.parametrize("broken", [True, False])
async def test_a_line_that_breaks_or_a_full_disk_ends_it(setup: Setup, broken: bool) -> None:
    setup.fetcher.batch_bytes = 512
    setup.fetcher.error = UpstreamUnavailable("away") if broken else None
    setup.fetcher.bring = False
    setup.open(0)
    await setup.read_ahead.finished()
    assert setup.numbers() == [[1]]
    setup.fetcher.error, setup.fetcher.bring = None, True
    setup.open(0)
    await setup.read_ahead.finished()
    assert setup.numbers() == [[1], [1], [2], [3], [4], [5]]


async def test_too_many_series_push_out_the_first(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readahead, "SERIES_AT_ONCE", 1)
    setup.open(0)
    setup.open(6)
    await setup.read_ahead.finished()
    assert setup.numbers() == [[7, 8, 9]]


async def test_a_frame_asked_for_elsewhere_moves_the_centre(setup: Setup) -> None:
    setup.open(0)
    setup.open(4)
    await setup.read_ahead.finished()
    assert setup.numbers() == [[5, 3, 2, 1, 0]]
