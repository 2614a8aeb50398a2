"""Errors as answers: one shape, RFC 9457 problem details."""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.responses import Response

from nearframe.errors import (
    Busy,
    DatabaseAway,
    NearframeError,
    NotAcceptable,
    OnHold,
    RangeNotSatisfiable,
    UpstreamUnavailable,
)
from nearframe.wire.byterange import unsatisfied_content_range

PROBLEM_JSON = "application/problem+json"
#: Seconds after which a client may try again when something is busy or away.
RETRY_AFTER_S = 2


def problem(
    status: int, title: str, detail: str = "", headers: dict[str, str] | None = None, **more: object
) -> Response:
    """Return a problem document.

    Parameters
    ----------
    title
        What kind of problem; the same for every occurrence.
    detail
        What was found and what to do.
    """
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        **({"detail": detail} if detail else {}),
        **more,
    }
    body = json.dumps(document, ensure_ascii=False).encode()
    # "no-store": a proxy must not keep an error that the next request may not meet.
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, media_type=PROBLEM_JSON)


def problem_of(error: NearframeError) -> Response:
    """Return the answer to an error raised on purpose."""
    status = error.http_status
    title = HTTPStatus(status).phrase
    headers: dict[str, str] = {}
    more: dict[str, object] = {"code": type(error).__name__}
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = unsatisfied_content_range(error.size)
    if isinstance(error, Busy | DatabaseAway | UpstreamUnavailable):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, NotAcceptable):
        more["available"] = list(error.available)
    if isinstance(error, OnHold):
        more["holds"] = list(error.holds)
    return problem(status, title, str(error), headers, **more)
