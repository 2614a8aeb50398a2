"""A small HTTP/1.1 client (RFC 9112) for one host: what nodes say to each other, and no more.

An edge fetches thousands of small ranges; a general client costs it ten times the processor
time that their bytes do (decision 8). `http1answer` reads what comes.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from nearframe.edge.http1answer import AnswerReader, Broken, StreamedAnswer, parsed
from nearframe.edge.standby import Standby

RequestBody: TypeAlias = bytes | AsyncIterator[bytes]

_TARGET: Final = re.compile(r"/[!-~]*")
#: Interim answers (RFC 9110 section 15.2) before one that counts: a hint or two.
_MAX_INTERIM: Final = 10
_SWITCHING_PROTOCOLS: Final = 101


class Answer(Protocol):
    """An answer whose head has come."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Fields by name in lower case; several of the same name are joined by commas."""
        ...

    @property
    def took_s(self) -> float:
        """From the sending of the request, over a connection that stood, to the head."""
        ...

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it comes. Once."""
        ...

    async def close(self) -> None:
        """Let the connection go: to the next request if the body was read to its end, else for good."""
        ...


class Requester(Protocol):
    """What carries requests; may raise OSError, time-outs included."""

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: RequestBody = b"") -> Answer:
        """Send a request and return when the head of its answer has come."""
        ...

    @property
    def at_hand(self) -> int:
        """How many requests could be sent without connecting first."""
        ...

    def have_at_hand(self, count: int) -> None:
        """Connect, so that so many requests can be sent at once before long."""
        ...

    async def until_at_hand(self, count: int) -> None:
        """Connect, and return when so many requests can be sent at once, or no more connections can be had."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Place:
    host: str
    port: int
    tls: ssl.SSLContext | None
    authority: str
    prefix: str


class Client:
    """Sends requests to one host, each over a connection of its own while it lasts. For one event loop.

    Parameters
    ----------
    url
        ``http`` or ``https``, with a path that goes before every target.
    connect_s
        Longest time to connect, TLS included.
    stall_s, answer_s
        Where a body is streamed, longest time until the other side takes more of it; and from its end to the
        answer. The time until there is more of it is the caller's.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_s: float,
        max_connections: int,
        stall_s: float = 10.0,
        answer_s: float = 600.0,
        ca: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        self._place = _Place(
            host=parts.hostname or "",
            port=parts.port or (443 if is_tls else 80),
            tls=ssl.create_default_context(cafile=ca) if is_tls else None,
            authority=parts.netloc.rpartition("@")[2],
            prefix=parts.path.rstrip("/"),
        )
        self._connect_s = connect_s
        self._stall_s, self._answer_s = stall_s, answer_s
        self._slots = asyncio.Semaphore(max_connections)
        self._standby = Standby(self._connect)

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: RequestBody = b"") -> Answer:
        """Send a request; see `Requester`.

        If a connection that idled turns out to be closed it is sent again over a new one, unless
        its body is a stream: everything else that nodes ask may be asked twice.
        """
        head = self._head(method, target, headers, body)
        await self._slots.acquire()
        connection = self._standby.pop()
        try:
            if connection is not None:
                try:
                    return await connection.exchange(head, body)
                except (OSError, EOFError):
                    connection.cut()
                    if connection.has_heard or not isinstance(body, bytes):
                        raise
            connection = await self._connect()
            return await connection.exchange(head, body)
        except EOFError as error:
            self._give_up(connection)
            raise Broken("the connection was closed before the answer") from error
        except BaseException:
            self._give_up(connection)
            raise

    @property
    def at_hand(self) -> int:
        return len(self._standby)

    def have_at_hand(self, count: int) -> None:
        self._standby.fill(count)

    async def until_at_hand(self, count: int) -> None:
        await self._standby.filled(count)

    async def close(self) -> None:
        """Close the connections that idle; the others close with their answers."""
        await self._standby.close()

    def _give_up(self, connection: _Connection | None) -> None:
        if connection is not None:
            connection.cut()
        self._slots.release()

    def _done(self, connection: _Connection, *, is_reusable: bool) -> None:
        if is_reusable:
            self._standby.put(connection)
        else:
            connection.cut()
        self._slots.release()

    async def _connect(self) -> _Connection:
        place = self._place
        async with asyncio.timeout(self._connect_s):
            loop, reader = asyncio.get_running_loop(), AnswerReader()
            protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
            transport, _ = await loop.create_connection(
                lambda: protocol,
                place.host,
                place.port,
                ssl=place.tls,
                server_hostname=place.host if place.tls else None,
            )
        return _Connection(
            reader, asyncio.StreamWriter(transport, protocol, reader, loop), self._done, self._stall_s, self._answer_s
        )

    def _head(self, method: str, target: str, headers: Mapping[str, str], body: RequestBody) -> bytes:
        if not _TARGET.fullmatch(target):
            raise ValueError("a request's target has other characters than a URL may have")
        lines = [f"{method} {self._place.prefix}{target} HTTP/1.1", f"host: {self._place.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        names = {name.lower() for name in headers}
        if not isinstance(body, bytes):
            if "content-length" not in names:
                lines.append("transfer-encoding: chunked")
        elif body or method == "POST":
            lines.append(f"content-length: {len(body)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header's value goes over two lines")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class _Connection:
    """One connection, used by one request after the other."""

    def __init__(
        self, reader: AnswerReader, writer: asyncio.StreamWriter, done: _Done, stall_s: float, answer_s: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._done = done
        self._stall_s, self._answer_s = stall_s, answer_s
        self.has_heard = False

    @property
    def is_usable(self) -> bool:
        return self._reader.is_at_rest and not self._writer.is_closing()

    def cut(self) -> None:
        """Close it at once."""
        self._writer.transport.abort()

    async def exchange(self, head: bytes, body: RequestBody) -> Answer:
        """Send a request, return its answer; raises OSError or EOFError."""
        self.has_heard = False
        sent_at = time.monotonic()
        if isinstance(body, bytes):
            self._writer.write(head + body)
            await self._writer.drain()
            status, headers, is_last = await self._head()
        else:
            with suppress(ConnectionError):  # it may have answered before it had everything
                await self._upload(head, body)
            async with asyncio.timeout(self._answer_s):
                status, headers, is_last = await self._head()
        answer = StreamedAnswer(
            status, headers, self._reader, lambda whole: self._done(self, is_reusable=whole and not is_last)
        )
        answer.took_s = time.monotonic() - sent_at
        return answer

    async def _head(self) -> tuple[int, dict[str, str], bool]:
        """Return the head of the answer as `parsed` does, interim ones passed over."""
        for _ in range(_MAX_INTERIM):
            raw = await self._reader.head()
            self.has_heard = True
            head = parsed(raw)
            if head[0] == _SWITCHING_PROTOCOLS:
                raise Broken("the other side speaks another protocol now")
            if head[0] >= 200:
                return head
        raise Broken("interim answers do not end")

    async def _upload(self, head: bytes, body: AsyncIterator[bytes]) -> None:
        await self._put(head)
        is_chunked = head.endswith(b"\r\ntransfer-encoding: chunked\r\n\r\n")
        async for data in body:
            if data:
                await self._put(b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data)
        if is_chunked:
            await self._put(b"0\r\n\r\n")

    async def _put(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(self._stall_s):
            await self._writer.drain()


class _Done(Protocol):
    def __call__(self, connection: _Connection, *, is_reusable: bool) -> None: ...
