"""One at a time for each key, and nothing kept of a key that nobody uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Door:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class KeyedLock(Generic[K]):
    """A lock for each key. For one event loop."""

    def __init__(self) -> None:
        self._doors: dict[K, _Door] = {}

    def __len__(self) -> int:
        return len(self._doors)

    @asynccontextmanager
    async def alone(self, key: K) -> AsyncIterator[None]:
        """Run the block while no other block of the same key runs; first come, first served."""
        door = self._doors.setdefault(key, _Door())
        # Counted, not asked whether it is locked: between two users it is free for a moment.
        door.users += 1
        try:
            async with door.lock:
                yield
        finally:
            door.users -= 1
            if not door.users:
                del self._doors[key]
