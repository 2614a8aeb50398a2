"""Accepts connections of a protocol of its own: how many, and who goes where there are too many.

A silent socket costs its descriptor and a small buffer. Sockets are counted for each address, so that
one peer's do not keep another out; and where there are too many, who has been idle longest goes, so
that silence keeps nobody out who speaks.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from nearframe import log, tasks
from nearframe.listener.address import bind
from nearframe.settingkinds import Address

_log = log.logger(__name__)
#: When descriptors have run out: until some are free again.
_ACCEPT_AGAIN_S: Final = 0.1


class Reception:
    """Listens on one address. For one event loop.

    Parameters
    ----------
    name
        Of its tasks.
    attend
        Looks after one connection, from an address, to its end.
    on_full
        Called when a connection goes, or is not taken, because there are too many.
    sockets, sockets_per_address
        How many there may be at once.
    """

    def __init__(
        self,
        name: str,
        attend: Callable[[socket.socket, str], Awaitable[None]],
        on_full: Callable[[], None],
        *,
        sockets: int,
        sockets_per_address: int,
    ) -> None:
        self._name = name
        self._attend = attend
        self._on_full = on_full
        self._most = sockets
        self._most_per_address = sockets_per_address
        self._sockets: Counter[str] = Counter()
        #: Connections on which nothing is under way, and from where: the longest idle first.
        self._idle: dict[asyncio.Task[Any] | None, str] = {}
        self._attending: dict[asyncio.Task[Any], str] = {}
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.address: Address | None = None

    async def start(self, address: Address) -> None:
        """Begin to accept.

        Raises
        ------
        ConfigurationError
            If the address cannot be listened on.
        """
        self._listening = bind(address)
        self._listening.setblocking(False)
        host, port = self._listening.getsockname()[:2]
        self.address = Address(host, port)
        self._accepting = tasks.spawn(self._accept(self._listening), name=f"{self._name} {port}")

    async def close(self) -> None:
        """Accept no more."""
        if self._accepting is not None:
            await tasks.cancel([self._accepting])
        if self._listening is not None:
            self._listening.close()

    async def close_idle(self) -> None:
        """Close the connections on which nothing is under way."""
        await tasks.cancel([task for task in self._idle if task is not None])

    async def finish(self, grace_s: float) -> None:
        """Let every connection come to its end, for a while."""
        if self._attending:
            await asyncio.wait(self._attending, timeout=grace_s)

    async def cut(self) -> None:
        """Close every connection."""
        await tasks.cancel(self._attending)

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """Count the connection of this task as in use meanwhile; idle again, it is the last to go."""
        task = asyncio.current_task()
        self._idle.pop(task, None)
        try:
            yield
        finally:
            if task in self._attending:
                self._idle[task] = self._attending[task]

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError as error:  # the peer is gone already, or descriptors have run out
                _log.warning("connection_not_accepted", error=error)
                await asyncio.sleep(_ACCEPT_AGAIN_S)
                continue
            if self._has_room(peer[0]):
                await self._begin(connection, peer[0])
            else:
                connection.close()

    def _has_room(self, address: str) -> bool:
        """Return whether one more connection may come; the one that was idle longest goes for it."""
        if self._sockets[address] >= self._most_per_address:
            longest = next((task for task, of in self._idle.items() if of == address), None)
        elif self._sockets.total() >= self._most:
            longest = next(iter(self._idle), None)
        else:
            return True
        self._on_full()
        if longest is None:
            return False
        del self._idle[longest]
        longest.cancel()
        return True

    async def _begin(self, connection: socket.socket, address: str) -> None:
        self._sockets[address] += 1
        task = tasks.spawn(self._look_after(connection, address), name=self._name)
        self._attending[task] = self._idle[task] = address
        task.add_done_callback(self._attending.pop)
        await asyncio.sleep(0)  # it has begun, and so cleans up, before anybody may cancel it

    async def _look_after(self, connection: socket.socket, address: str) -> None:
        try:
            await self._attend(connection, address)
        finally:
            self._idle.pop(asyncio.current_task(), None)
            self._sockets[address] -= 1
            if not self._sockets[address]:
                del self._sockets[address]
