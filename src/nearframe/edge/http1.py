"""A small HTTP/1.1 client (RFC 9112) for one host: what nodes say to each other, and no more.

An edge fetches thousands of small ranges; a general client costs it ten times the processor
time that their bytes do (decision 8). Answers are read with suspicion: heads are bounded,
lengths and chunks are checked, and a body that ends early is an error.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from nearframe.edge.standby import Standby
from nearframe.units import KIB

RequestBody: TypeAlias = bytes | AsyncIterator[bytes]

READ_BYTES: Final = 64 * KIB
SKIPPED_BYTES: Final = 16 * KIB
_SKIPPED_S: Final = 0.5
MAX_HEAD_BYTES: Final = 64 * KIB
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: .*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_TARGET: Final = re.compile(r"/[!-~]*")
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})(?:[ \t]*;.*)?")
_BODILESS: Final = (204, 304)


class Broken(ConnectionError):
    """The connection ended in the middle of something, or what came over it is no HTTP."""


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
    """

    def __init__(self, url: str, *, connect_s: float, max_connections: int, ca: str | None = None) -> None:
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
            reader, writer = await asyncio.open_connection(
                place.host,
                place.port,
                ssl=place.tls,
                server_hostname=place.host if place.tls else None,
                limit=MAX_HEAD_BYTES,
            )
        return _Connection(reader, writer, self._done)

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

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, done: _Done) -> None:
        self._reader = reader
        self._writer = writer
        self._done = done
        self.has_heard = False

    @property
    def is_usable(self) -> bool:
        return not (self._reader.at_eof() or self._writer.is_closing())

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
        else:
            with suppress(ConnectionError):  # it may have answered before it had everything
                await self._upload(head, body)
                await self._writer.drain()
        status = 100
        while 100 <= status < 200:
            try:
                raw = await self._reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError as error:
                raise Broken("the head of the answer is too long") from error
            self.has_heard = True
            status, headers, is_last = _parsed(raw)
        answer = _Answer(
            status, headers, self._reader, lambda whole: self._done(self, is_reusable=whole and not is_last)
        )
        answer.took_s = time.monotonic() - sent_at
        return answer

    async def _upload(self, head: bytes, body: AsyncIterator[bytes]) -> None:
        self._writer.write(head)
        is_chunked = head.endswith(b"\r\ntransfer-encoding: chunked\r\n\r\n")
        async for data in body:
            if data:
                self._writer.write(b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data)
                await self._writer.drain()
        if is_chunked:
            self._writer.write(b"0\r\n\r\n")


class _Done(Protocol):
    def __call__(self, connection: _Connection, *, is_reusable: bool) -> None: ...


class _Answer:
    """An answer on a connection of which it has the use until it is closed."""

    def __init__(
        self, status: int, headers: dict[str, str], reader: asyncio.StreamReader, done: Callable[[bool], None]
    ) -> None:
        self.status = status
        self.headers = headers
        self._reader = reader
        self._done: Callable[[bool], None] | None = done
        self._is_begun = self._is_read = False
        self.took_s = 0.0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        self._is_begun = True
        try:
            async with aclosing(self._body()) as body:
                async for chunk in body:
                    yield chunk
        except EOFError as error:
            raise Broken("the connection was closed in the middle of the answer") from error
        self._is_read = True

    async def close(self) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        try:
            if not self._is_begun:
                await self._skip()
        finally:
            done(self._is_read)

    async def _skip(self) -> None:
        """Read a short body that nobody wants, such as the words of a refusal: cheaper than another connection."""
        length = self.headers.get("content-length", "0" if self.status in _BODILESS else "")
        if _LENGTH.fullmatch(length) and int(length) <= SKIPPED_BYTES:
            with suppress(OSError):
                async with asyncio.timeout(_SKIPPED_S):
                    async for _ in self.chunks():
                        pass

    def _body(self) -> AsyncGenerator[bytes, None]:
        if self.status in _BODILESS:
            return self._counted(0)
        coding = self.headers.get("transfer-encoding")
        if coding is not None:
            if coding.lower() != "chunked" or "content-length" in self.headers:
                raise Broken("the length of the answer is not clear")
            return self._chunked()
        length = self.headers.get("content-length")
        if length is None or not _LENGTH.fullmatch(length):
            # Nodes always say where their answers end; one that ends with its connection may have been cut.
            raise Broken("the answer does not say how long it is")
        return self._counted(int(length))

    async def _counted(self, left: int) -> AsyncGenerator[bytes, None]:
        while left:
            data = await self._reader.read(min(left, READ_BYTES))
            if not data:
                raise EOFError
            left -= len(data)
            yield data

    async def _chunked(self) -> AsyncGenerator[bytes, None]:
        while size := _chunk_size(await self._line()):
            async for data in self._counted(size):
                yield data
            if await self._line():
                raise Broken("a chunk is longer than it says")
        while await self._line():
            pass  # trailers say nothing to us

    async def _line(self) -> bytes:
        try:
            return (await self._reader.readuntil(b"\r\n"))[:-2]
        except asyncio.LimitOverrunError as error:
            raise Broken("a line of the answer is too long") from error


def _parsed(raw: bytes) -> tuple[int, dict[str, str], bool]:
    """Return status and fields of a head, and whether the connection ends with the answer."""
    lines = raw[:-4].split(b"\r\n")
    status = _STATUS.fullmatch(lines[0])
    if status is None:
        raise Broken("what answered does not speak HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Broken("a field of the answer's head cannot be read")
        name, value = field[1].decode("ascii").lower(), field[2].decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    is_last = "close" in headers.get("connection", "").lower() or lines[0].startswith(b"HTTP/1.0")
    return int(status[1]), headers, is_last


def _chunk_size(line: bytes) -> int:
    size = _CHUNK_SIZE.fullmatch(line)
    if size is None:
        raise Broken("the answer's chunks cannot be read")
    return int(size[1], 16)
