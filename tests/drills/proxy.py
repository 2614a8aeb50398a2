"""A line that can be cut, and that spoils what it carries: a TCP relay before a node."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from nearframe import tasks

#: Bytes that are no ASCII, so far to both sides, are contents, which are proved by their digest. What
#: proves the rest, documents and what HTTP says, is TLS; this line has none, so that there is something to flip.
_AROUND_BYTES: Final = 32
_SPOILED_BYTES: Final = 512


class Relay:
    """Passes bytes on to a port of this machine while it is whole."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._whole = True
        self._open: set[asyncio.StreamWriter] = set()
        self._carried: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._spoil: float | None = None
        self._spoiled = asyncio.Event()

    async def start(self) -> int:
        """Begin to listen; return the port."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def stop(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._carried:
            await asyncio.wait(self._carried)

    def cut(self) -> None:
        """Break every connection, whatever is on its way, and refuse new ones."""
        self._whole = False
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        """Be whole again."""
        self._whole = True

    async def flip_a_bit(self, place: float, patience_s: float) -> bool:
        """Spoil the next contents that pass; return whether there were any in time.

        Parameters
        ----------
        place
            Which of their bytes, as a share of them.
        """
        self._spoil = place
        self._spoiled.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._spoiled.wait(), patience_s)
        self._spoil = None
        return self._spoiled.is_set()

    def _passed(self, data: bytes) -> bytes:
        if self._spoil is None or len(data) < _SPOILED_BYTES:
            return data
        at = int(self._spoil * len(data))
        if data[max(at - _AROUND_BYTES, 0) : at + _AROUND_BYTES].isascii():
            return data
        changed = bytearray(data)
        changed[at] ^= 1
        self._spoil = None
        self._spoiled.set()
        return bytes(changed)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carried = tasks.spawn(self._carry(reader, writer), name="relay")
        self._carried.add(carried)
        carried.add_done_callback(self._carried.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        ways = [
            tasks.spawn(self._pump(reader, back), name="relay"),
            tasks.spawn(self._pump(there, writer), name="relay"),
        ]
        await asyncio.wait(ways)
        self._open -= {writer, back}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(self._passed(data))
                await writer.drain()
        writer.transport.abort() if reader.exception() else writer.close()
        with suppress(OSError):
            await writer.wait_closed()
