"""A TCP proxy on the way to a node: it counts, holds back, spoils and cuts what the node sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nearframe import tasks

_READ_BYTES = 4096


class Proxy:
    """Passes bytes on as it is told; offsets count what the node has sent since `expect`.

    Attributes
    ----------
    sent
        Bytes the node sent through it since then.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent = 0
        self._marker = b""
        self._cuts: list[int] = []
        self._spoil_at = -1
        self._hold_at = -1
        self._go = asyncio.Event()
        self.held = asyncio.Event()
        self._is_dead = False
        self._open: set[asyncio.Task[None]] = set()

    async def kill(self) -> None:
        """Be as a node whose process is killed: everything is cut, nobody answers."""
        self._is_dead = True
        await tasks.cancel(list(self._open))

    def revive(self) -> None:
        self._is_dead = False

    def expect(self, marker: bytes, *, cuts: list[int] | None = None, spoil_at: int = -1, hold_at: int = -1) -> None:
        """Begin to count with the next request whose bytes hold `marker`.

        Parameters
        ----------
        cuts
            The connection is closed each time so many bytes were sent.
        spoil_at
            One bit of this byte is turned over.
        hold_at
            From here on nothing passes before `go_on`; `held` says when it has come to that.
        """
        self._marker, self.sent = marker, 0
        self._cuts, self._spoil_at, self._hold_at = sorted(cuts or []), spoil_at, hold_at
        self._go.clear()
        self.held.clear()

    def go_on(self) -> None:
        self._hold_at = -1
        self._go.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        if self._is_dead:
            writer.transport.abort()
            return
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            connection = _Connection(self)
            ways = [
                tasks.spawn(connection.asking(reader, back), name="proxy"),
                tasks.spawn(connection.answering(there, writer), name="proxy"),
            ]
            self._open.update(ways)
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._open.difference_update(ways)
                await tasks.cancel(ways)
                for one in (writer, back):
                    one.close()

    async def passed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what of some bytes to pass on, and whether to close the connection then."""
        begin, self.sent = self.sent, self.sent + len(data)
        if begin <= self._spoil_at < self.sent:
            at = self._spoil_at - begin
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            self._spoil_at = -1
        if 0 <= self._hold_at < self.sent:
            self.held.set()
            await self._go.wait()
        if self._cuts and self._cuts[0] < self.sent:
            return data[: max(0, self._cuts.pop(0) - begin)], True
        return data, False


class _Connection:
    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._counts = False

    async def asking(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ_BYTES):
            marker = self._proxy._marker
            self._counts = bool(marker) and marker in data
            back.write(data)

    async def answering(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await there.read(_READ_BYTES):
                cut = False
                if self._counts:
                    data, cut = await self._proxy.passed(data)
                writer.write(data)
                await writer.drain()
                if cut:
                    return


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[tuple[str, Proxy]]:
    """Open a proxy to a node; the value is its URL, and itself."""
    proxy = Proxy(int(url.rpartition(":")[2]))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", proxy
    finally:
        server.close()
