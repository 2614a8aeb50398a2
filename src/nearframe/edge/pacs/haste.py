"""How urgent it is to bring something: as urgent as the most urgent who waits for it wants it.

::

    reader ──┬── study ──┬── instance ── transfer
    reader ──┘           ├── instance ── transfer
    reader ──────────────┘

Who joins raises all to the right of it, on the line too. Nothing becomes less urgent again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from nearframe.cache.singleflight import SingleFlight
from nearframe.context import Urgency

K = TypeVar("K", bound=Hashable)


class Raisable(Protocol):
    """What can become more urgent: a transfer, or the haste of something larger."""

    def raise_to(self, urgency: Urgency) -> None: ...


class Haste:
    """The urgency of one thing that is wanted. For one event loop.

    Attributes
    ----------
    queued_s
        How long it waited for turns on the line so far.
    """

    def __init__(self, urgency: Urgency = Urgency.ARCHIVE) -> None:
        self.urgency = urgency
        self.queued_s = 0.0
        self._driven: set[Raisable] = set()

    def raise_to(self, urgency: Urgency) -> None:
        """Make it, and what is done for it, as urgent as somebody who wants it too."""
        if urgency < self.urgency:
            self.urgency = urgency
            for one in list(self._driven):
                one.raise_to(urgency)

    @contextmanager
    def driving(self, what: Raisable) -> Iterator[None]:
        """While the block runs something is done for it, no less urgently."""
        what.raise_to(self.urgency)
        self._driven.add(what)
        try:
            yield
        finally:
            self._driven.discard(what)


class HastyFlights(Generic[K]):
    """Single flights, each as urgent as the most urgent who waits for it. For one event loop."""

    def __init__(self, name: str) -> None:
        self._flights: SingleFlight[K, None] = SingleFlight(name)
        self._hastes: dict[K, Haste] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._flights

    async def run(self, key: K, wanted: Haste, work: Callable[[Haste], Coroutine[Any, Any, None]]) -> None:
        """Do some work, or wait for the flight under way for `key`, which is raised to what is wanted."""
        haste = self._hastes.setdefault(key, Haste(wanted.urgency))
        try:
            with wanted.driving(haste):
                await self._flights.run(key, lambda: work(haste))
        finally:
            wanted.queued_s += haste.queued_s
            if key not in self._flights:
                self._hastes.pop(key, None)
