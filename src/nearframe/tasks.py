"""Background tasks that are neither lost nor silent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from nearframe import log

T = TypeVar("T")

_log = log.logger(__name__)
# The loop keeps weak references only: without this set a task may vanish while it waits.
_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start `work` in the background, keep a reference, and log it if it fails.

    The only place that may call `asyncio.create_task`: a linter rule says so.
    """
    task = asyncio.create_task(work, name=name)  # noqa: TID251
    _running.add(task)
    task.add_done_callback(_finished)
    return task


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait until each has ended; their failures were logged when they happened."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _finished(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task_failed", task=task.get_name(), error=error)
