"""Cross-origin access for pages of other sites, where the site allows it (Fetch standard)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, MutableMapping
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

#: Chromium caps it at two hours.
MAX_AGE_S: Final = 7200
METHODS: Final = b"GET, HEAD, POST, DELETE, OPTIONS"
READING: Final = b"GET, HEAD, OPTIONS"
#: Read by viewers: ranges and validators by name, a wildcard does not cover Authorization.
EXPOSED: Final = b"Content-Range, Content-Length, Content-Type, ETag, Warning, Server-Timing, Location"
ALLOWED_HEADERS: Final = (
    b"Accept, Authorization, Content-Type, If-None-Match, If-Range, Range, Priority, Idempotency-Key"
)


class CORS:
    """Adds the headers that let pages of `origins` read answers; answers preflight requests.

    Parameters
    ----------
    origins
        Web origins (``https://viewer.example``), or ``*`` for any.
    nodes
        Returns the origins of the nodes that are listed here: a page of one may read from another.
    methods
        What a page may do here once the browser has asked.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Iterable[str],
        nodes: Callable[[], Container[str]] = frozenset[str],
        methods: bytes = METHODS,
    ) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)
        self._nodes = nodes
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = _header(scope, b"origin") if scope["type"] == "http" else None
        if origin is None:
            await self._app(scope, receive, send)
            return
        allowed = self._allowed(origin)
        if scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None:
            await _send_preflight(send, allowed, self._methods)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *allowed, (b"vary", b"Origin")]}
                if allowed:
                    message["headers"].append((b"access-control-expose-headers", EXPOSED))
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _allowed(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        if b"*" in self._origins:
            return [(b"access-control-allow-origin", b"*")]
        if origin in self._origins or origin.decode("latin-1") in self._nodes():
            # Cookies may be sent along: the origin is named, not a wildcard.
            return [(b"access-control-allow-origin", origin), (b"access-control-allow-credentials", b"true")]
        return []


async def _send_preflight(send: Send, allowed: list[tuple[bytes, bytes]], methods: bytes) -> None:
    headers = [(b"vary", b"Origin"), (b"content-length", b"0"), *allowed]
    if allowed:
        headers += [
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", str(MAX_AGE_S).encode()),
        ]
    await send({"type": "http.response.start", "status": 204 if allowed else 403, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _header(scope: Scope, name: bytes) -> bytes | None:
    value: bytes | None = next((value for key, value in scope["headers"] if key == name), None)
    return value
