"""One flight per key: callers that want the same thing at the same time share the work.

As in groupcache's singleflight, with cancellation: a caller that goes away leaves the
flight to the others, and the last one to go takes it down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from nearframe import tasks

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


@dataclass(slots=True)
class _Flight(Generic[R]):
    task: asyncio.Task[_Outcome[R]]
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[R]):
    """A result, or an exception that each waiter raises: for the flight both are normal ends."""

    result: R | None
    error: Exception | None = None


class SingleFlight(Generic[K, R]):
    """Runs at most one piece of work per key. For one event loop."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._flights: dict[K, _Flight[R]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, key: K) -> bool:
        return key in self._flights

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Return the result of `work`, or that of the flight under way for `key`.

        Every waiter gets the same result, or the same exception.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(tasks.spawn(_outcome(work), name=self._name))
            # 1. The task ends. 2. This callback removes the flight before any waiter wakes,
            # so that a waiter that calls again starts a new one.
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        flight.waiting += 1
        try:
            outcome = await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done():
                flight.task.cancel()
                self._land(key, flight)
        if outcome.error is not None:
            raise outcome.error
        return cast("R", outcome.result)

    def _land(self, key: K, flight: _Flight[R]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _outcome(work: Callable[[], Coroutine[Any, Any, R]]) -> _Outcome[R]:
    try:
        return _Outcome(await work())
    except Exception as error:  # noqa: BLE001 - every waiter raises it
        return _Outcome(None, error)
