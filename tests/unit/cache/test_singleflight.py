from __future__ import annotations

import asyncio

import pytest

from nearframe.cache.singleflight import SingleFlight


class Work:
    """Work that counts its runs and ends when told to."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.started += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return self.started


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def flights() -> SingleFlight[str, int]:
    return SingleFlight("test")


async def test_those_who_come_during_the_flight_share_it(flights: SingleFlight[str, int]) -> None:
    work = Work()
    waiters = [asyncio.create_task(flights.run("a", work)) for _ in range(10)]
    await settle()
    work.go.set()
    assert await asyncio.gather(*waiters) == [1] * 10
    assert len(flights) == 0
    assert await flights.run("a", work) == 2, "the next caller starts a new flight"


async def test_keys_do_not_wait_for_each_other(flights: SingleFlight[str, int]) -> None:
    slow, quick = Work(), Work()
    quick.go.set()
    waiter = asyncio.create_task(flights.run("slow", slow))
    assert await flights.run("quick", quick) == 1
    slow.go.set()
    await waiter


async def test_everyone_gets_the_failure_and_the_next_caller_tries_again(flights: SingleFlight[str, int]) -> None:
    work = Work()
    work.error = ValueError("no")
    waiters = [asyncio.create_task(flights.run("a", work)) for _ in range(3)]
    await settle()
    work.go.set()
    assert [type(error) for error in await asyncio.gather(*waiters, return_exceptions=True)] == [ValueError] * 3
    work.error = None
    assert await flights.run("a", work) == 2


async def test_a_caller_that_leaves_does_not_stop_the_others(flights: SingleFlight[str, int]) -> None:
    work = Work()
    first, second = (asyncio.create_task(flights.run("a", work)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert work.cancelled == 0
    work.go.set()
    assert await second == 1


async def test_the_last_caller_to_leave_takes_the_flight_down(flights: SingleFlight[str, int]) -> None:
    work = Work()
    waiters = [asyncio.create_task(flights.run("a", work)) for _ in range(2)]
    await settle()
    for waiter in waiters:
        waiter.cancel()
    await settle()
    assert work.cancelled == 1
    assert len(flights) == 0
