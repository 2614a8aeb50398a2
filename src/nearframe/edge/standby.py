"""Connections that stand open: those that idle, and some that are opened before anybody needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from nearframe import tasks


class Connection(Protocol):
    """What stands by."""

    @property
    def is_usable(self) -> bool: ...

    def cut(self) -> None:
        """Close it at once."""
        ...


C = TypeVar("C", bound=Connection)


class Standby(Generic[C]):
    """Idle connections, taken last in, first out, so that those in use are the warm ones. For one event loop.

    Parameters
    ----------
    connect
        Opens one; may raise OSError, time-outs included.
    """

    def __init__(self, connect: Callable[[], Awaitable[C]]) -> None:
        self._connect = connect
        self._idle: list[C] = []
        self._opening: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._idle)

    def put(self, connection: C) -> None:
        """Keep a connection that is not in use any more."""
        self._idle.append(connection)

    def pop(self) -> C | None:
        """Take one that can be used, or None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.cut()
        return None

    def fill(self, count: int) -> None:
        """See to it that so many are here shortly; none more if they cannot be opened."""
        usable = [connection for connection in self._idle if connection.is_usable]
        for connection in self._idle:
            if not connection.is_usable:
                connection.cut()
        self._idle = usable
        for _ in range(count - len(self._idle) - len(self._opening)):
            task = tasks.spawn(self._open(), name="connect")
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def filled(self, count: int) -> None:
        """See to it that so many are here, and return when they are, or when no more can be opened."""
        self.fill(count)
        while len(self._idle) < count and self._opening:
            await asyncio.wait(self._opening, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Close what idles, and open no more."""
        await tasks.cancel(list(self._opening))
        while connection := self.pop():
            connection.cut()

    async def _open(self) -> None:
        with suppress(OSError):  # who needs one finds out, and says so
            connection = await self._connect()
            self._idle.insert(0, connection)  # behind those that were in use: they are warmer
