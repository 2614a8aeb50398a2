"""What the body of a server's reply says, where it says anything."""

from __future__ import annotations

from collections.abc import Mapping

import httpx


def json_of(reply: httpx.Response) -> object:
    """Return the JSON of a reply, None where it is none."""
    try:
        return reply.json()
    except ValueError:
        return None


def detail_of(reply: httpx.Response) -> str:
    """Return what an application/problem+json says (RFC 9457), after a colon."""
    body = json_of(reply)
    detail = body.get("detail") or body.get("title") if isinstance(body, Mapping) else None
    return f": {detail}" if isinstance(detail, str) else ""
