"""JSON in the body of a request."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any

from starlette.requests import Request

from nearframe.errors import LimitExceeded, MalformedRequest, UnsupportedMedia


async def json_body(request: Request, media_types: Container[str], max_bytes: int) -> Any:
    """Read a body.

    Raises
    ------
    UnsupportedMedia
        If it is of another media type. A page of any site may post text or a form without the browser
        asking us first; JSON it may not.
    LimitExceeded
        If it is longer.
    MalformedRequest
        If it is not JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in media_types:
        raise UnsupportedMedia("a request here is application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise LimitExceeded("bytes of a request here", max_bytes)
    try:
        return json.loads(bytes(body), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("the request's body is not JSON") from error


def _refuse_constant(name: str) -> None:
    raise ValueError("JSON has no NaN and no infinity")
