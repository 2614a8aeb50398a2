"""The outermost layers of an edge: what is held first, and what its answers say about caching and the line.

- ``Cache-Status`` (RFC 9211): whether the line was used. An answer whose contents are
  read while it is sent says nothing, since nobody knows yet; so does most of what a sync sends.
- ``Server-Timing``: how long the upstream took, and the wait for a turn on the line to it.
- ``Priority`` (RFC 9218): how urgent the request was taken to be.
- ``Nearframe-Upstream`` and ``Age``: that the upstream is away, and for how long what is
  shown has not been compared with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from nearframe.context import Urgency
from nearframe.dicomweb.fastframes import HeldFrame
from nearframe.edge import cachestatus
from nearframe.edge.cachestatus import Notes
from nearframe.edge.upstream import Upstreams, inbound_via
from nearframe.edge.urgency import is_of_images
from nearframe.wire.priority import HEADER, write_priority
from nearframe.wire.via import names_in_via

_NAME: Final = b"nearframe-edge"
_CACHE_STATUS: Final = b"cache-status"
_NO_CONTENT: Final = 204  # of a sync: what the caller holds is how it stands
_HIT: Final = (_CACHE_STATUS, _NAME + b"; hit")
#: What the answer with a held frame says, by the class of its request.
_HELD: Final = {urgency: (_HIT, (HEADER, write_priority(urgency))) for urgency in Urgency}
#: Routes answered from the catalogue alone.
_FROM_CATALOGUE: Final = ("search_", "capabilities", "openapi")


class Reach(Protocol):
    """How it stands with what is upstream."""

    @property
    def is_reachable(self) -> bool: ...
    @property
    def last_contact_s(self) -> float | None: ...


class HeldFirst:
    """Answers for frames that were planned and are held: nine of ten requests of a viewer pass no other layer.

    Parameters
    ----------
    held
        See `FastFrames.held`.
    """

    def __init__(self, app: ASGIApp, upstream: Upstreams, held: Callable[[Scope], HeldFrame | None]) -> None:
        self._app = app
        self._upstream = upstream
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = self._held(scope) if scope["type"] == "http" else None
        if held is None:
            await self._app(scope, receive, send)
            return
        self._upstream.make_ready()  # the next frame may not be here
        await held.answer(send, *_HELD[held.context.urgency], *_staleness(self._upstream))


class RemembersVia:
    """Remembers whom a request came through, for what is asked upstream on its behalf."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            inbound_via.set(_via(scope))
        await self._app(scope, receive, send)


class EdgeFront:
    """Writes the edge's headers.

    Parameters
    ----------
    requested
        Told the path of every request for something of a study.
    answered
        Told what happened during a request whose answer has ended.
    """

    def __init__(
        self,
        app: ASGIApp,
        upstream: Reach,
        requested: Callable[[str], Awaitable[None]],
        answered: Callable[[Notes], None],
    ) -> None:
        self._app = app
        self._upstream = upstream
        self._requested = requested
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_of_images(scope["path"]):
            await self._app(scope, receive, send)
            return
        noted = Notes()
        cachestatus.notes.set(noted)
        await self._requested(scope["path"])

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._headers(scope, message["status"], message["headers"], noted)}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._answered(noted)

    def _headers(
        self, scope: Scope, status: int, headers: list[tuple[bytes, bytes]], noted: Notes
    ) -> list[tuple[bytes, bytes]]:
        kept = [header for header in headers if header[0] != _CACHE_STATUS]
        if status < 400:
            known_to_be_read = len(kept) < len(headers) or status == _NO_CONTENT or _is_from_catalogue(scope)
            kept += _cache_status(noted, known_to_be_read)
            said = {name for name, _ in kept}
            kept += [(name, value) for name, value in _staleness(self._upstream) if name not in said]
            if noted.urgency is not None:
                kept.append((HEADER, write_priority(noted.urgency)))
        return kept


def _staleness(upstream: Reach) -> list[tuple[bytes, bytes]]:
    if upstream.is_reachable:
        return []
    contact_s = upstream.last_contact_s
    if contact_s is None:
        return [(b"nearframe-upstream", b"away")]
    return [(b"nearframe-upstream", b"away"), (b"age", b"%d" % contact_s)]


def _cache_status(noted: Notes, known_to_be_read: bool) -> list[tuple[bytes, bytes]]:
    if noted.fetched:
        value = _NAME + b"; fwd=miss"
        value += b"; stored" if noted.stored else b""
        value += b"; collapsed" if noted.collapsed else b""
        timing = b"upstream;dur=%.1f, queue;dur=%.1f" % (
            (noted.fetched_s - noted.queued_s) * 1000,
            noted.queued_s * 1000,
        )
        return [(_CACHE_STATUS, value), (b"server-timing", timing)]
    return [_HIT] if known_to_be_read else []


def _is_from_catalogue(scope: Scope) -> bool:
    name: str = scope.get("state", {}).get("route", "")
    return name.startswith(_FROM_CATALOGUE) or name.endswith("_metadata")


def _via(scope: Scope) -> tuple[str, ...]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"via"]
    return tuple(f"1.1 {name}" for name in names_in_via(values))
