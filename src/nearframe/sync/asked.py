"""What a request between nodes asks for, read with suspicion."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from nearframe.context import Context
from nearframe.errors import AccessError, LimitExceeded, MalformedRequest
from nearframe.ids import Digest, normalise_uid, parse_digest
from nearframe.storage.ports import StudyRef
from nearframe.units import MIB

MAX_BODY_BYTES = 2 * MIB  # ten thousand digests as text are 0.7 MB
MAX_UID_CHARS = 256


def study_of(context: Context, request: Request) -> StudyRef:
    """Return the study in the path, whether it exists or not.

    Raises
    ------
    AccessError
        If the caller may not reach it.
    """
    uid = normalise_uid(request.path_params["study"])
    if not 0 < len(uid) <= MAX_UID_CHARS:
        raise MalformedRequest(f"a UID has 1 to {MAX_UID_CHARS} characters")
    if not context.scope.admits(uid):
        raise AccessError("this study is outside what the session may reach")
    return StudyRef(context.tenant, uid)


def digest_of(text: object, what: str) -> Digest:
    """Read a digest; `what` names it in the error."""
    try:
        return parse_digest(text if isinstance(text, str) else "")
    except ValueError as error:
        raise MalformedRequest(f"{what} is a SHA-256 in hex") from error


def natural(text: str | None, default: int, most: int) -> int:
    """Read a whole number up to `most`; `default` where there is none."""
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise MalformedRequest("a limit or time is a whole number")
    return min(int(text), most)


async def json_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """Read a small JSON object."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise LimitExceeded("bytes of a request between nodes", max_bytes)
    try:
        document = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise MalformedRequest("the request's body is not JSON") from error
    if not isinstance(document, dict):
        raise MalformedRequest("the request's body is not a JSON object")
    return document
