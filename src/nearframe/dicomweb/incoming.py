"""The body of a store request as a stream of parts (PS3.18 section 10.5.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass

from starlette.requests import ClientDisconnect

from nearframe.errors import MalformedRequest, UnsupportedMedia
from nearframe.storage.ports import Buffer
from nearframe.wire.mediatype import MediaType, parse_media_type
from nearframe.wire.multipart import End, Event, MultipartParser, PartData, PartEnd, PartStart


@dataclass(frozen=True, slots=True)
class Part:
    """One part; see `ports.IncomingPart`."""

    headers: Mapping[str, str]
    body: AsyncIterator[Buffer]


def incoming_parts(headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
    """Return the parts of a request: those of a multipart body, or the body as the only one.

    Raises
    ------
    UnsupportedMedia
        If there is no Content-Type.
    MalformedRequest
        If a multipart body has no boundary.
    """
    content_type = headers.get("content-type")
    if not content_type:
        raise UnsupportedMedia("a store request names its Content-Type: multipart/related or application/dicom")
    media_type = parse_media_type(content_type)
    if media_type.essence.startswith("multipart/"):
        return _parts(_parser(media_type), _guarded(chunks))
    return _single(headers, _guarded(chunks))


def _parser(media_type: MediaType) -> MultipartParser:
    if media_type.essence != "multipart/related":
        raise UnsupportedMedia("a store request is multipart/related")
    boundary = media_type.get("boundary")
    if boundary is None:
        raise MalformedRequest("the multipart Content-Type names no boundary")
    return MultipartParser(boundary)


async def _single(headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
    yield Part(headers, chunks)


async def _guarded(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in chunks:
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise MalformedRequest("the connection ended before the request did") from None


async def _parts(parser: MultipartParser, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Part, None]:
    events = _events(parser, chunks)
    async for event in events:
        if isinstance(event, PartStart):
            body = _body(events)
            yield Part(event.headers, body)
            # What the consumer did not want of it is read over.
            async for _ in body:
                pass


async def _events(parser: MultipartParser, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    queue: deque[Event] = deque()
    async for chunk in chunks:
        queue.extend(parser.feed(chunk))
        while queue:
            event = queue.popleft()
            yield event
            if isinstance(event, End):
                async for _ in chunks:  # the epilogue: read, so that the connection stays usable
                    pass
                return
    parser.close()


async def _body(events: AsyncIterator[Event]) -> AsyncGenerator[Buffer, None]:
    async for event in events:
        if isinstance(event, PartEnd):
            return
        if isinstance(event, PartData):
            yield event.data
