"""Something between a browser and a node that damages what passes, or breaks it off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from nearframe import tasks

_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass
class Middleman:
    """Passes requests to a node, one to a connection.

    Attributes
    ----------
    change
        Returns what becomes of an answer's body, given its path and the body.
    stop_after
        Returns after how many bytes of the body the connection breaks; None for never.
    """

    target: str
    port: int
    change: Callable[[str, bytes], bytes] = lambda path, body: body
    stop_after: Callable[[str], int | None] = lambda path: None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Stop; connections break."""
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._kept(writer), suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            method, path, _ = first.split(" ")
            headers = dict(line.split(": ", 1) for line in lines)
            async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
                request = client.build_request(method, self.target + path, headers=headers)
                answer = await client.send(request, stream=True)
                body = b"".join([chunk async for chunk in answer.aiter_raw()])
            body = self.change(urlsplit(path).path, body)
            told = [f"{name}: {value}" for name, value in answer.headers.items() if name not in _HOP_BY_HOP]
            status = f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}"
            writer.write("\r\n".join([status, *told, "Connection: close", "", ""]).encode("latin-1"))
            stop = self.stop_after(urlsplit(path).path)
            writer.write(body[:stop])
            await writer.drain()
            if stop is not None:
                await tasks.spawn(asyncio.sleep(0.2), name="let what was sent arrive")
                writer.transport.abort()

    @contextmanager
    def _kept(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._open.add(writer)
        try:
            yield
        finally:
            self._open.discard(writer)
            writer.close()
