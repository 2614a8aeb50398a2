"""Ends of series, from the outbox and into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import Busy
from nearframe.intake.seriesend import LONGEST_IDLE_S, Reason
from nearframe.intake.serieswatch import CONSUMER, SeriesWatch
from nearframe.metrics import SERIES_ENDS, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue
from nearframe.storage.ports import OutboxEvent
from tests.unit.storage.catalogue.objects import identity, version


class Told:
    """Lists that a test makes up."""

    def __init__(self) -> None:
        self.instances: frozenset[str] = frozenset()

    def listed(self, event: OutboxEvent) -> frozenset[str]:
        return self.instances


class Scene:
    def __init__(self, catalogue: SQLCatalogue, workers: Workers) -> None:
        self.catalogue = catalogue
        self.clock = ManualClock()
        self.told = Told()
        self.metrics = Metrics()
        self.tellings = 0
        self.watch = SeriesWatch(catalogue, self.told, workers, self.clock, self.metrics, self._tell)

    def _tell(self) -> None:
        self.tellings += 1

    def store(self, *numbers: int) -> None:
        self.catalogue.record([version(identity(1, 1, number)) for number in numbers])

    async def look(self, after_s: float = 0.0) -> list[tuple[Reason, int, int]]:
        self.clock.advance(after_s)
        return [(end.reason, end.instances, end.take) for end in await self.watch.look()]

    def announced(self) -> list[OutboxEvent]:
        return [event for event in self.catalogue.outbox("analysis", 100) if event.kind == "series_end"]


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[SQLCatalogue]:
    opened = open_catalogue(tmp_path / "catalogue.sqlite", ManualClock())
    opened.outbox("analysis", 0)
    yield opened
    opened.close()


@asynccontextmanager
async def scene(catalogue: SQLCatalogue) -> AsyncIterator[Scene]:
    workers = Workers("sql", 1)
    try:
        yield Scene(catalogue, workers)
    finally:
        workers.close()


async def test_an_end_is_an_event(catalogue: SQLCatalogue) -> None:
    async with scene(catalogue) as this:
        this.store(1, 2)
        assert await this.look() == []
        assert this.tellings == 0
        assert await this.look(LONGEST_IDLE_S) == [(Reason.IDLE, 2, 1)]
        assert this.tellings == 1
        [event] = this.announced()
        assert event.identity is None
        assert event.detail == {
            "study": "1.2.1", "series": "1.2.1.1", "reason": "idle", "final": False,
            "instances": 2, "take": 1, "through": event.id - 1,
        }  # fmt: skip
        assert this.metrics.value(SERIES_ENDS, reason="idle") == 1
        assert await this.look(100) == []


async def test_the_end_of_an_association(catalogue: SQLCatalogue) -> None:
    async with scene(catalogue) as this:
        this.store(1, 2)
        this.watch.sending("association", "main", identity(1, 1, 1))
        this.watch.left("association", is_released=True)
        assert await this.look() == [(Reason.RELEASE, 2, 1)]


async def test_a_list_that_is_all_held(catalogue: SQLCatalogue) -> None:
    async with scene(catalogue) as this:
        this.store(1, 2)
        this.told.instances = frozenset(identity(1, 1, number).sop_instance_uid for number in (1, 2, 3))
        catalogue.announce("procedure_step", "main", None, {"step": "1.2.9"})
        assert await this.look() == []
        this.store(3)
        assert await this.look() == [(Reason.STEP, 3, 1)]


async def test_after_a_restart_open_series_end_and_ended_ones_do_not_again(catalogue: SQLCatalogue) -> None:
    async with scene(catalogue) as this:
        this.store(1, 2)
        await this.look()
        await this.look(LONGEST_IDLE_S)
        catalogue.record([version(identity(1, 2, 1))])
        await this.look()
    async with scene(catalogue) as this:
        assert await this.look() == []
        this.clock.advance(LONGEST_IDLE_S)
        assert [end.key.series for end in await this.watch.look()] == ["1.2.1.2"]


async def test_what_is_done_with_is_passed(catalogue: SQLCatalogue) -> None:
    async with scene(catalogue) as this:
        this.store(1, 2)
        await this.look(1)
        assert catalogue.passed(CONSUMER) == 0
        await this.look(LONGEST_IDLE_S)
        await this.look(LONGEST_IDLE_S)
        assert catalogue.passed(CONSUMER) == this.announced()[-1].id


async def test_what_an_upstream_has_opens_no_series(catalogue: SQLCatalogue) -> None:
    async with scene(catalogue) as this:
        catalogue.replicate([(version(), 1, True)], [])
        await this.look()
        assert await this.look(LONGEST_IDLE_S) == []


async def test_what_the_catalogue_could_not_take_is_told_later(
    catalogue: SQLCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> int:
        raise Busy("another time")

    async with scene(catalogue) as this:
        this.store(1, 2)
        this.watch.sending("association", "main", identity(1, 1, 1))
        this.watch.left("association", is_released=True)
        with monkeypatch.context() as patched:
            patched.setattr(catalogue, "outbox", fail)
            with pytest.raises(Busy):
                await this.look()
        with monkeypatch.context() as patched:
            patched.setattr(catalogue, "announce", fail)
            with pytest.raises(Busy):
                await this.look()
        assert await this.look() == [(Reason.RELEASE, 2, 1)]
        assert len(this.announced()) == 1
