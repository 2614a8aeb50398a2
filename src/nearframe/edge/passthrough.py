"""Storing at an edge that keeps nothing for itself (``stores = forward``): it goes straight on, as it comes in.

The sender's answer is the upstream's, so nothing is acknowledged that the archive does not
have. While the upstream is away there is a clear 503.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from nearframe.dicomweb.address import ROOT, Addresses
from nearframe.dicomweb.boundary import guarded, name_route
from nearframe.edge.upstream import Upstreams
from nearframe.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from nearframe.units import MIB

# The answer to a store of ten thousand instances is some 5 MB.
MAX_ANSWER_BYTES: Final = 64 * MIB
_AWAY: Final = (
    "this edge passes what it is sent on to its upstream, which is away: nothing was stored, send again when it is back"
)
#: Headers of a request that mean the same to the upstream.
_PASSED_ON: Final = ("content-type", "content-length", "accept", "authorization", "nearframe-tenant", "idempotency-key")
#: Headers of an answer that mean the same to the sender.
_PASSED_BACK: Final = ("content-type", "warning", "retry-after")


class PassStoresOn:
    """Passes Store requests on; leaves everything else to `app`."""

    def __init__(self, app: ASGIApp, upstreams: Upstreams, addresses: Addresses) -> None:
        self._app = app
        self._upstreams = upstreams
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not _is_store(scope["path"]):
            await self._app(scope, receive, send)
            return
        name_route(scope, "store_forwarded")
        request = Request(scope, receive)
        response = await guarded(request, "store_forwarded", self._forward)
        await response(scope, receive, send)

    async def _forward(self, request: Request) -> Response:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        headers["accept-encoding"] = "identity"  # links in the answer are rewritten
        target, upstream = quote(request.scope["path"]), self._upstreams.current
        try:
            async with upstream.forward("POST", target, headers, request.stream()) as (status, answered, chunks):
                body = await _whole(chunks)
        except (UpstreamUnavailable, UpstreamTimeout) as error:
            raise UpstreamUnavailable(_AWAY) from error
        theirs, ours = (upstream.url + ROOT).encode(), self._addresses.service(request).encode()
        back = {name: answered[name] for name in _PASSED_BACK if name in answered}
        return Response(body.replace(theirs, ours), status, {**back, "Cache-Control": "no-store"})


def _is_store(path: str) -> bool:
    return path == f"{ROOT}/studies" or (path.startswith(f"{ROOT}/studies/") and path.count("/") == 3)


async def _whole(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise UpstreamError("the upstream's answer is longer than any should be")
    return bytes(body)
