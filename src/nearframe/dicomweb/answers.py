"""Answers with validators, ranges and lengths: what RFC 9110 asks of every resource here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nearframe.query.body import Body
from nearframe.wire import multipart
from nearframe.wire.byterange import ByteRange, requested_ranges

#: UID URLs show the current version: a copy must be checked before each use.
REVALIDATE = "private, no-cache"
#: URLs that name a digest never show anything else.
IMMUTABLE = "private, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Resource:
    """A representation that is ready to be sent, or not, as the request's conditions say.

    Attributes
    ----------
    etag
        Strong validator with its quotes, of this representation in this coding; "" if it has none.
    open
        Gets the body; called only if it is sent.
    """

    etag: str
    content_type: str
    open: Callable[[], Awaitable[Body]]
    headers: dict[str, str] = field(default_factory=dict)
    cache_control: str = REVALIDATE
    vary: str = "Accept"
    ranges: bool = True


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Return True if a client holds this representation (weak comparison, RFC 9110 section 13.1.2)."""
    if if_none_match is None or not etag:
        return False
    if if_none_match.strip() == "*":
        return True
    return any(candidate.strip().removeprefix("W/") == etag for candidate in if_none_match.split(","))


async def answer(request: Request, resource: Resource) -> Response:
    """Return 200, 206 or 304 with the resource.

    Raises
    ------
    RangeNotSatisfiable
        If a Range was asked for that lies outside.
    """
    headers = {"Cache-Control": resource.cache_control, "Vary": resource.vary, **resource.headers}
    if resource.etag:
        headers["ETag"] = resource.etag
    if etag_matches(request.headers.get("if-none-match"), resource.etag):
        return Response(status_code=304, headers=headers)
    body = await resource.open()
    size = body.size
    headers["Content-Type"] = resource.content_type
    if size is None or not resource.ranges:
        return BodyResponse(body, 200, headers, size)
    headers["Accept-Ranges"] = "bytes"
    ranges = requested_ranges(
        request.headers.get("range"), size, if_range=request.headers.get("if-range"), etag=resource.etag or None
    )
    if not ranges:
        return BodyResponse(body, 200, headers, size)
    return _partial(body, size, ranges, headers)


def _partial(body: Body, size: int, ranges: Sequence[ByteRange], headers: dict[str, str]) -> Response:
    if len(ranges) == 1:
        wanted = ranges[0]
        headers["Content-Range"] = wanted.content_range(size)
        return BodyResponse(body, 206, headers, len(wanted), pieces=[wanted])
    boundary = multipart.boundary_for(headers.get("ETag", "").encode(), repr(ranges).encode())
    pieces: list[bytes | ByteRange] = []
    for index, wanted in enumerate(ranges):
        head = f"--{boundary}\r\nContent-Type: {headers['Content-Type']}\r\n"
        head += f"Content-Range: {wanted.content_range(size)}\r\n\r\n"
        pieces += [(head if index == 0 else "\r\n" + head).encode("latin-1"), wanted]
    pieces.append(multipart.closing(boundary))
    headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    return BodyResponse(body, 206, headers, sum(map(len, pieces)), pieces=pieces)


class BodyResponse(Response):
    """Sends a body, or ranges of it, without holding it."""

    def __init__(
        self,
        body: Body,
        status: int,
        headers: dict[str, str],
        length: int | None,
        pieces: Sequence[bytes | ByteRange] | None = None,
    ) -> None:
        super().__init__(None, status, headers)
        # Starlette fills in the length of an empty body.
        del self.headers["content-length"]
        if length is not None:
            self.headers["content-length"] = str(length)
        self.content = body
        self.length = length
        self.pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            # The last chunk says that it is the last where we know: one write less.
            left = self.length
            async with aclosing(self._chunks()) as chunks:
                async for chunk in chunks:
                    left = None if left is None else left - len(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": left != 0})
            if left == 0 and self.length:
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        if self.pieces is None:
            async for chunk in self.content.open():
                yield chunk
            return
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            async for chunk in self.content.open(piece.start, piece.stop):
                yield chunk
