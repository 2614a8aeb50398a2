"""A number of bytes that several takers share."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from nearframe.errors import Busy


@dataclass(slots=True, eq=False)
class _Waiter:
    size_bytes: int
    turn: asyncio.Future[None]


class Budget:
    """Bytes to reserve and release, first come first served. For one event loop."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.used_bytes = 0
        self._waiting: deque[_Waiter] = deque()

    def try_reserve(self, size_bytes: int) -> bool:
        """Reserve at once, if there is room and nobody waits for it already."""
        if self._waiting or self.used_bytes + size_bytes > self.total_bytes:
            return False
        self.used_bytes += size_bytes
        return True

    async def reserve(self, size_bytes: int, patience_s: float) -> None:
        """Reserve, waiting for others to release.

        Raises
        ------
        Busy
            If there is no room after `patience_s`.
        """
        if self.try_reserve(size_bytes):
            return
        waiter = _Waiter(size_bytes, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await asyncio.wait({waiter.turn}, timeout=patience_s)
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise
        if not waiter.turn.done():
            self._abandon(waiter)
            raise Busy("no room for more incoming data now; try again shortly")

    def release(self, size_bytes: int) -> None:
        """Give back what was reserved."""
        self.used_bytes -= size_bytes
        self._admit()

    def _abandon(self, waiter: _Waiter) -> None:
        if waiter.turn.done():  # its turn came in the moment it gave up
            self.used_bytes -= waiter.size_bytes
        else:
            self._waiting.remove(waiter)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.used_bytes + self._waiting[0].size_bytes <= self.total_bytes:
            waiter = self._waiting.popleft()
            self.used_bytes += waiter.size_bytes
            waiter.turn.set_result(None)
