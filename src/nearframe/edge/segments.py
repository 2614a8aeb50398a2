"""The routes of timed segments: ``/api/segments/{stream}/{sequence}``. Live media rides on them."""

from __future__ import annotations

import base64
import re
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nearframe.cache.segments import Segment, Segments
from nearframe.context import Urgency
from nearframe.dicomweb.answers import etag_matches
from nearframe.dicomweb.boundary import routes_of
from nearframe.dicomweb.call import Gate
from nearframe.errors import LimitExceeded, MalformedRequest
from nearframe.ids import Digest, sha256
from nearframe.sync.asked import natural
from nearframe.wire.priority import write_priority

#: Tenant and name.
Stream: TypeAlias = tuple[str, str]

_PATH: Final = "/api/segments/{stream}"
#: What the reference says of the routes.
DESCRIBED: Final = (
    ("PUT", _PATH + "/{sequence}", "Take in a segment of a live stream; `ttl` seconds it is good for."),
    ("GET", _PATH + "/{sequence}", "Answer with a segment; `wait` up to so many seconds for the next to come."),
    ("GET", _PATH, "Answer with the first and last segment of a stream that are here."),
)
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MEDIA_TYPE: Final = re.compile(r"[\x20-\x7e]{1,128}")
_MAX_SEQUENCE_DIGITS: Final = 15
_MAX_WAIT_S: Final = 30
_TTL_S: Final = 10
#: RFC 9530: the digest of the body, which both sides check.
_DIGEST: Final = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")


def segment_routes(segments: Segments[Stream], gate: Gate) -> list[Route]:
    """Return the routes, to be put into an edge's application."""

    async def put(request: Request) -> Response:
        stream, sequence = _named(gate, request)
        data = await _body(request, segments.limits.segment_bytes)
        _check_digest(request, sha256(data))
        media_type = request.headers.get("content-type", "application/octet-stream")
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise MalformedRequest("a media type is at most 128 ASCII characters")
        ttl_s = natural(request.query_params.get("ttl"), _TTL_S, int(segments.limits.ttl_s)) or 1
        segment = segments.put(stream, sequence, data, media_type, ttl_s)
        return Response(status_code=201, headers=_headers(segments, stream, segment))

    async def get(request: Request) -> Response:
        stream, sequence = _named(gate, request)
        wait_s = natural(request.query_params.get("wait"), 0, _MAX_WAIT_S)
        segment = await segments.wait(stream, sequence, wait_s) if wait_s else segments.get(stream, sequence)
        headers = _headers(segments, stream, segment)
        if etag_matches(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(segment.data, headers=headers, media_type=segment.media_type)

    async def numbers(request: Request) -> Response:
        first, last = segments.numbers(_stream(gate, request))
        return JSONResponse({"first": first, "last": last}, headers={"Cache-Control": "no-store"})

    one = _PATH + "/{sequence}"
    return routes_of(
        [("list_segments", "GET", _PATH, numbers), ("put_segment", "PUT", one, put), ("get_segment", "GET", one, get)]
    )


def _stream(gate: Gate, request: Request) -> Stream:
    context = gate(request.scope)
    name = request.path_params["stream"]
    if not _NAME.fullmatch(name):
        raise MalformedRequest("a stream is named by at most 64 letters, digits, dots, dashes and underscores")
    return context.tenant, name


def _named(gate: Gate, request: Request) -> tuple[Stream, int]:
    stream, text = _stream(gate, request), request.path_params["sequence"]
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_SEQUENCE_DIGITS):
        raise MalformedRequest("a segment is named by its number")
    return stream, int(text)


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise LimitExceeded("bytes of a segment", limit)
    return bytes(body)


def _check_digest(request: Request, digest: Digest) -> None:
    found = _DIGEST.search(request.headers.get("content-digest", ""))
    if found is not None and base64.b64decode(found[1]) != digest:
        raise MalformedRequest("the segment does not match its Content-Digest: send it again")


def _headers(segments: Segments[Stream], stream: Stream, segment: Segment) -> dict[str, str]:
    first, last = segments.numbers(stream)
    return {
        "ETag": f'"{segment.digest.hex()}"',
        "Content-Digest": f"sha-256=:{base64.b64encode(segment.digest).decode()}:",
        "Cache-Control": "no-store",
        "Nearframe-Segments": f"{first}-{last}",
        "Priority": write_priority(Urgency.STAT).decode(),
    }
