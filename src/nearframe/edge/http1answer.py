"""Answers as they come over a connection (RFC 9112), read with suspicion.

Heads are bounded, lengths and chunks are checked, a body that ends early is an error, and
what comes unasked is noticed. An answer in crumbs costs its sender's own time: whoever reads
it lets others run in between.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Final, SupportsIndex

from nearframe.units import KIB

MAX_HEAD_BYTES: Final = 64 * KIB
READ_BYTES: Final = 64 * KIB
SKIPPED_BYTES: Final = 16 * KIB
_SKIPPED_S: Final = 0.5
#: Nodes send none after a body, and proxies a few.
_MAX_TRAILERS: Final = 100
#: Lines that may come out of the buffer before others run: some milliseconds of work.
_LINES_AT_ONCE: Final = 100
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: .*)?")
#: A line's spaces are stripped elsewhere: a pattern that does it takes time by their square.
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)")
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})(?:[ \t]*;.*)?")
_BODILESS: Final = (204, 304)


class Broken(ConnectionError):
    """The connection ended in the middle of something, or what came over it is no HTTP."""


class AnswerReader(asyncio.StreamReader):
    """What came over a connection; tells whether anything came that nobody asked for."""

    def __init__(self) -> None:
        super().__init__(limit=MAX_HEAD_BYTES, loop=asyncio.get_running_loop())
        self._unread = 0
        self._lines = 0

    @property
    def is_at_rest(self) -> bool:
        """Whether the connection stands, and all that came over it was read."""
        return not self._unread and not self.at_eof()

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        came = bytes(data)
        self._unread += len(came)
        super().feed_data(came)

    async def some(self, most: int) -> bytes:
        """Return what is there, or the next that comes; raises EOFError."""
        data = await self.read(min(most, READ_BYTES))
        if not data:
            raise EOFError
        self._unread -= len(data)
        return data

    async def head(self) -> bytes:
        """Return the next head; raises EOFError, or `Broken` if it is too long."""
        return await self._until(b"\r\n\r\n")

    async def line(self) -> bytes:
        """Return the next line without its end; raises EOFError, or `Broken` if it is too long."""
        self._lines += 1
        if not self._lines % _LINES_AT_ONCE:
            await asyncio.sleep(0)
        return (await self._until(b"\r\n"))[:-2]

    async def _until(self, end: bytes) -> bytes:
        try:
            data = await self.readuntil(end)
        except asyncio.LimitOverrunError as error:
            raise Broken("a head or a line of the answer is too long") from error
        self._unread -= len(data)
        return data


class StreamedAnswer:
    """An answer on a connection of which it has the use until it is closed.

    Parameters
    ----------
    done
        Told at the end whether all of it was read.
    """

    def __init__(
        self, status: int, headers: dict[str, str], reader: AnswerReader, done: Callable[[bool], None]
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
            data = await self._reader.some(left)
            left -= len(data)
            yield data

    async def _chunked(self) -> AsyncGenerator[bytes, None]:
        while size := _chunk_size(await self._reader.line()):
            async for data in self._counted(size):
                yield data
            if await self._reader.line():
                raise Broken("a chunk is longer than it says")
        for _ in range(_MAX_TRAILERS):
            if not await self._reader.line():
                return  # trailers say nothing to us
        raise Broken("the answer's trailers do not end")


def parsed(raw: bytes) -> tuple[int, dict[str, str], bool]:
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
        name, value = field[1].decode("ascii").lower(), field[2].strip(b" \t").decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    is_last = "close" in headers.get("connection", "").lower() or lines[0].startswith(b"HTTP/1.0")
    return int(status[1]), headers, is_last


def _chunk_size(line: bytes) -> int:
    size = _CHUNK_SIZE.fullmatch(line)
    if size is None:
        raise Broken("the answer's chunks cannot be read")
    return int(size[1], 16)
