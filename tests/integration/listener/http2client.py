"""A bare HTTP/2 client that reads only what it is told to: for what well-behaved clients do not do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection


class HTTP2Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._stream_id = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str) -> AsyncIterator[HTTP2Client]:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        trust.set_alpn_protocols(["h2"])
        parts = urlsplit(url)
        client = cls(*await asyncio.open_connection(parts.hostname, parts.port, ssl=trust))
        client._connection.initiate_connection()
        await client._flush()
        try:
            yield client
        finally:
            client.abort()

    async def get(self, path: str) -> None:
        """Ask, and read nothing."""
        self._ask("GET", path, end=True)
        await self._flush()

    async def post(self, path: str, data: bytes) -> None:
        """Begin an upload and leave it open."""
        self._ask("POST", path, end=False)
        self._connection.send_data(self._stream_id, data)
        await self._flush()

    async def reset(self) -> None:
        """Give up the request and keep the connection."""
        self._connection.reset_stream(self._stream_id)
        await self._flush()

    async def read_raw_until(self, data: bytes) -> bytes:
        """Read frames as they come, without looking into them, until `data` has passed."""
        await asyncio.wait_for(self._reader.readuntil(data), 5)
        return data

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._writer.transport.abort()

    def _ask(self, method: str, path: str, *, end: bool) -> None:
        self._stream_id = self._connection.get_next_available_stream_id()
        headers = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self._connection.send_headers(self._stream_id, headers, end_stream=end)

    async def _flush(self) -> None:
        self._writer.write(self._connection.data_to_send())
        await self._writer.drain()
