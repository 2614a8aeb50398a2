from __future__ import annotations

import asyncio
import threading

import pytest

from nearframe.errors import Busy
from nearframe.query.workers import Workers


async def test_calls_run_beside_the_loop() -> None:
    workers = Workers("test", 1)
    assert await workers.run(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 / 0)
    workers.close()


async def test_too_many_calls_are_refused_and_not_hoarded() -> None:
    workers, go = Workers("test", 1, waiting=1), threading.Event()
    held = [asyncio.create_task(workers.run(go.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await workers.run(lambda: None)
    go.set()
    await asyncio.gather(*held)
    await workers.run(lambda: None)
    workers.close()


async def test_a_call_whose_caller_left_counts_until_it_is_done() -> None:
    workers, go = Workers("test", 1, waiting=0), threading.Event()
    caller = asyncio.create_task(workers.run(go.wait))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    with pytest.raises(Busy):
        await workers.run(lambda: None)
    go.set()
    workers.close()


async def test_drained_when_calls_of_callers_that_left_are_done() -> None:
    workers, go = Workers("test", 1), threading.Event()
    await workers.drained()
    caller = asyncio.create_task(workers.run(go.wait))
    await asyncio.sleep(0)
    caller.cancel()
    drained = asyncio.create_task(workers.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    go.set()
    await drained
    workers.close()
