"""Sharing bytes: order, patience, and nothing lost when a taker gives up."""

from __future__ import annotations

import asyncio

import pytest

from nearframe.cache.budget import Budget
from nearframe.errors import Busy

LONG_S = 30.0


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_reserves_at_once_while_there_is_room() -> None:
    budget = Budget(100)
    await budget.reserve(60, 0)
    assert budget.try_reserve(40)
    assert not budget.try_reserve(1)
    assert budget.used_bytes == 100


async def test_waiters_are_served_in_order() -> None:
    budget = Budget(100)
    await budget.reserve(100, 0)
    served: list[int] = []

    async def take(size: int) -> None:
        await budget.reserve(size, LONG_S)
        served.append(size)

    takers = [asyncio.create_task(take(size)) for size in (80, 10, 30)]
    await settle()
    assert not budget.try_reserve(0), "nobody overtakes"
    budget.release(60)
    await settle()
    assert served == []
    budget.release(40)
    await settle()
    assert served == [80, 10]
    budget.release(80)
    await asyncio.gather(*takers)
    assert served == [80, 10, 30]


async def test_impatience_is_busy_and_lets_the_next_one_in() -> None:
    budget = Budget(100)
    await budget.reserve(90, 0)
    small = None

    async def take_small() -> None:
        await budget.reserve(10, LONG_S)

    big = asyncio.create_task(budget.reserve(50, 0.01))
    await settle()
    small = asyncio.create_task(take_small())
    with pytest.raises(Busy):
        await big
    await small
    assert budget.used_bytes == 100


async def test_a_cancelled_waiter_holds_nothing() -> None:
    budget = Budget(10)
    await budget.reserve(10, 0)
    waiting = asyncio.create_task(budget.reserve(5, LONG_S))
    granted = asyncio.create_task(budget.reserve(5, LONG_S))
    await settle()
    waiting.cancel()
    await settle()
    budget.release(10)  # grants the second one, which is cancelled before it runs
    granted.cancel()
    await asyncio.gather(waiting, granted, return_exceptions=True)
    assert budget.used_bytes == 0
