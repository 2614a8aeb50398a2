from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from nearframe import tasks


async def test_a_task_nobody_keeps_survives_collection() -> None:
    done, go = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    tasks.spawn(work(), name="kept")
    await asyncio.sleep(0)
    gc.collect()
    go.set()
    await done.wait()


async def test_failure_is_logged_with_the_name_of_the_task(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("broken")

    with caplog.at_level(logging.ERROR):
        await asyncio.wait([tasks.spawn(work(), name="doomed")])
        await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.message == "task_failed"
    assert record.__dict__["nearframe_fields"]["task"] == "doomed"


async def test_cancel_waits_for_the_end_and_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    task = tasks.spawn(work(), name="waiting")
    await asyncio.sleep(0)
    await tasks.cancel([task])
    assert cleaned == [True]
    assert task.cancelled()
    assert not caplog.records
