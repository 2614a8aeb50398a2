"""Reading the next contents while the last one is being sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from nearframe import tasks
from nearframe.errors import NearframeError


class Sized(Protocol):
    """Something to read, and how much that is."""

    @property
    def size(self) -> int: ...


Job = TypeVar("Job", bound=Sized)


async def read_ahead(
    jobs: Iterable[Job], read: Callable[[Job], Awaitable[bytes]], *, most_jobs: int, most_bytes: int
) -> AsyncGenerator[tuple[Job, bytes | NearframeError], None]:
    """Yield each job with what was read for it, in order; a few are read at once.

    What goes wrong with one is yielded in its place. Nothing is begun while nobody takes
    what was read, and what is under way ends with the generator.

    Parameters
    ----------
    most_jobs, most_bytes
        What may be under way or wait to be taken; a single job may be larger.
    """
    waiting: deque[tuple[Job, asyncio.Task[bytes | NearframeError]]] = deque()
    source = iter(jobs)
    upcoming = next(source, None)
    held = 0
    try:
        while waiting or upcoming is not None:
            while upcoming is not None and (
                not waiting or (len(waiting) < most_jobs and held + upcoming.size <= most_bytes)
            ):
                waiting.append((upcoming, tasks.spawn(_result(read, upcoming), name="read ahead")))
                held += upcoming.size
                upcoming = next(source, None)
            job, task = waiting[0]
            result = await task
            waiting.popleft()
            held -= job.size
            yield job, result
    finally:
        await tasks.cancel(task for _, task in waiting)


async def _result(read: Callable[[Job], Awaitable[bytes]], job: Job) -> bytes | NearframeError:
    try:
        return await read(job)
    except NearframeError as error:
        return error
