"""Work that one of several processes does: taken, handed over, lost and stolen."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from nearframe.clock import ManualClock
from nearframe.errors import BackendFailed, DatabaseAway, LeaseLost
from nearframe.query.health import State
from nearframe.query.workers import Workers
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue, schema
from nearframe.upkeep.duties import Duties, duties_check
from tests.postgres import create_schema

_numbers = itertools.count(1)
WORK = "sweeping"


class Sweeper:
    """A process that sweeps when it may."""

    def __init__(self, catalogue: SQLCatalogue, workers: Workers, name: str) -> None:
        self.clock = ManualClock()
        self.duties = Duties(catalogue, name, workers, self.clock)
        self.duties.add(WORK, self.sweeping)
        self.catalogue: SQLCatalogue | None = None
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        self.problem: Exception | None = None

    @asynccontextmanager
    async def sweeping(self, catalogue: SQLCatalogue) -> AsyncIterator[None]:
        if self.problem is not None:
            raise self.problem
        self.catalogue = catalogue
        self.begun.set()
        try:
            yield
        finally:
            self.begun.clear()
            self.ended.set()

    async def looks(self) -> None:
        """Have it look for once, to the end."""
        assert self.duties._leases is not None
        await self.duties._look(self.duties._leases)


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers("sql", 2)
    yield workers
    workers.close()


@pytest.fixture
async def shared(postgres_server: str, workers: Workers) -> AsyncIterator[SQLCatalogue]:
    catalogue = open_catalogue(create_schema(postgres_server, f"duties{next(_numbers)}"))
    yield catalogue
    await workers.drained()
    catalogue.close()


def expire(catalogue: SQLCatalogue, ago_s: float = 0.0) -> None:
    until = sa.select(catalogue.database.now - int(ago_s * 1e6)).scalar_subquery()
    with catalogue.database.write() as connection:
        connection.execute(sa.update(schema.lease).values(expires_at=until))


async def test_alone_a_process_does_everything(tmp_path: Path, workers: Workers) -> None:
    catalogue = open_catalogue(tmp_path / "catalogue.sqlite")
    only = Sweeper(catalogue, workers, "only")
    await only.duties.start()
    assert only.begun.is_set()
    assert only.duties.does(WORK)
    assert only.duties.as_json() == {}
    await only.duties.stop()
    assert only.ended.is_set()
    catalogue.close()


@pytest.mark.postgresql
async def test_one_does_it_and_the_next_follows_at_once(shared: SQLCatalogue, workers: Workers) -> None:
    first, second = Sweeper(shared, workers, "first"), Sweeper(shared, workers, "second")
    await first.duties.start()
    await asyncio.wait_for(first.begun.wait(), 10)
    await second.duties.start()
    await second.looks()
    assert not second.begun.is_set()
    shown = second.duties.as_json()[WORK]
    assert (shown["holder"], shown["here"]) == ("first", False)
    assert first.duties.as_json()[WORK]["here"]
    await first.duties.stop()
    assert first.ended.is_set()
    second.duties.wake()  # as the database's news do
    await asyncio.wait_for(second.begun.wait(), 10)
    await second.duties.stop()


@pytest.mark.postgresql
async def test_who_stood_still_finds_its_work_gone(shared: SQLCatalogue, workers: Workers) -> None:
    slow, quick = Sweeper(shared, workers, "slow"), Sweeper(shared, workers, "quick")
    await slow.duties.start()
    await asyncio.wait_for(slow.begun.wait(), 10)
    expire(shared)
    await quick.duties.start()
    await asyncio.wait_for(quick.begun.wait(), 10)
    assert slow.begun.is_set()  # it does not know
    assert slow.catalogue is not None
    with pytest.raises(LeaseLost):
        slow.catalogue.acknowledge("sweeper", 1)
    slow.clock.advance(5)
    slow.duties.wake()
    await asyncio.wait_for(slow.ended.wait(), 10)
    assert not slow.duties.does(WORK)
    assert quick.duties.does(WORK)
    await slow.duties.stop()  # and takes nothing from the other
    assert quick.duties.as_json()[WORK]["holder"] == "quick"
    await quick.duties.stop()


@pytest.mark.postgresql
async def test_while_the_database_is_away_work_ends_in_time(
    shared: SQLCatalogue, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Sweeper(shared, workers, "one")
    await one.duties.start()
    await asyncio.wait_for(one.begun.wait(), 10)

    def away(*_: object) -> list[object]:
        raise DatabaseAway("away")

    assert one.duties._leases is not None
    monkeypatch.setattr(one.duties._leases, "renew", away)
    await one.looks()
    assert one.begun.is_set()  # there is time yet
    one.clock.advance(19)
    await one.looks()
    assert one.begun.is_set()
    async with asyncio.timeout(3):  # the next look is not a quarter of the whole time away
        await one.duties._pause()
    one.clock.advance(1)
    one.duties.wake()
    await asyncio.wait_for(one.ended.wait(), 10)
    monkeypatch.undo()
    expire(shared)
    one.duties.wake()
    await asyncio.wait_for(one.begun.wait(), 10)
    await one.duties.stop()


@pytest.mark.postgresql
async def test_work_that_cannot_begin_is_told_of(shared: SQLCatalogue, workers: Workers) -> None:
    one = Sweeper(shared, workers, "one")
    one.problem = BackendFailed("no broom")
    await one.duties.start()
    while not shared.database.is_shared or not one.duties.standing():
        await asyncio.sleep(0.01)
    assert not one.duties.does(WORK)
    check = duties_check(one.duties, workers)
    assert (await check()).state is State.OK
    await one.duties.stop()
    expire(shared, ago_s=100)
    found = await check()
    assert found.state is State.DEGRADED
    assert WORK in found.reason
