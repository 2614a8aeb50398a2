"""One at a time for each key."""

from __future__ import annotations

import asyncio

import pytest

from nearframe.cache.keyedlock import KeyedLock


async def test_a_newcomer_waits_for_whoever_was_let_in_by_the_one_before() -> None:
    lock: KeyedLock[str] = KeyedLock()
    inside: list[str] = []
    seen: list[tuple[str, ...]] = []

    async def visit(name: str, gate: asyncio.Event) -> None:
        async with lock.alone("a"):
            inside.append(name)
            seen.append(tuple(inside))
            await gate.wait()
            inside.remove(name)

    first, others = asyncio.Event(), asyncio.Event()
    one = asyncio.create_task(visit("one", first))
    await asyncio.sleep(0)
    two = asyncio.create_task(visit("two", others))
    await asyncio.sleep(0)
    first.set()
    await one  # the lock is free for a moment: *two* has been woken, and has not run
    three = asyncio.create_task(visit("three", others))
    others.set()
    await asyncio.gather(two, three)
    assert seen == [("one",), ("two",), ("three",)]
    assert len(lock) == 0


async def test_other_keys_do_not_wait_and_nothing_is_kept_of_one_that_failed() -> None:
    lock: KeyedLock[str] = KeyedLock()
    async with lock.alone("a"), lock.alone("b"):
        assert len(lock) == 2
    with pytest.raises(ValueError, match="no"):
        async with lock.alone("a"):
            raise ValueError("no")
    assert len(lock) == 0


async def test_a_waiter_that_is_cancelled_lets_go() -> None:
    lock: KeyedLock[str] = KeyedLock()
    async with lock.alone("a"):
        waiter = asyncio.create_task(lock.alone("a").__aenter__())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    assert len(lock) == 0
