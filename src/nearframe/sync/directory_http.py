"""The routes by which clients find a node to ask, and edges make themselves known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nearframe.config import Settings
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.boundary import routes_of
from nearframe.dicomweb.call import Gate
from nearframe.dicomweb.endpoint import Beside
from nearframe.errors import LoopDetected, UnsupportedMedia
from nearframe.sync.asked import json_body
from nearframe.sync.directory import Directory, Listed, Role, ranked, read_listed
from nearframe.sync.directory_health import FRESH_S, NodeHealth
from nearframe.wire.via import names_in_via

#: An answer depends on who asks, and on how things stand.
_CACHING: Final = {"Cache-Control": f"private, max-age={FRESH_S:.0f}"}
_MAX_BODY_BYTES: Final = 64 * 1024


DESCRIBED: Final = (
    Beside("edges", "GET", "/api/edges", "The nodes that a client may ask, in its order."),
    Beside(
        "edges_announce", "POST", "/api/edges",
        "An edge makes itself known, or `{}`; the answer is every node that is known here.",
        consumes=("application/json",),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """What a node's list is made of.

    Attributes
    ----------
    via
        What this node writes into ``Via``.
    """

    settings: Settings
    role: Role
    via: str
    directory: Directory
    health: NodeHealth

    @property
    def name(self) -> str:
        return self.settings.name or self.via

    def itself(self, request: Request) -> Listed:
        """Return this node as an entry, under the URL at which whoever asks reaches it."""
        url = Addresses(self.settings).base(request)
        return Listed(self.name, url, self.settings.networks, 0, self.role)


def directory_routes(listing: Listing, gate: Gate) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    """

    async def show(request: Request) -> Response:
        gate(request.scope)
        own = listing.itself(request)
        others = listing.directory.known(besides=own)
        healthy = await listing.health.healthy(node.url for node in others) | {own.url}
        address = request.client.host if request.client else ""
        nodes = [
            {"name": node.name, "url": node.url, "rank": rank, "healthy": node.url in healthy, "role": node.role}
            for rank, node in enumerate(ranked([own, *others], address))
        ]
        return JSONResponse({"edges": nodes, "self": own.name}, headers=_CACHING)

    async def announce(request: Request) -> Response:
        gate(request.scope)
        if listing.via in names_in_via(request.headers.getlist("via")):
            raise LoopDetected("this node would announce itself to itself: correct the upstream of one of the nodes")
        # A page of any site may post text or a form here without the browser asking us first; JSON it may not.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMedia("a request here is application/json")
        document = await json_body(request, _MAX_BODY_BYTES)
        announced = read_listed({**document, "role": "edge"}) if document else None
        if announced is not None:
            listing.directory.announced(announced)
        return _table([listing.itself(request), *listing.directory.known(besides=announced)])

    return routes_of([("edges", "GET", "/api/edges", show), ("edges_announce", "POST", "/api/edges", announce)])


def _table(nodes: Sequence[Listed]) -> Response:
    return JSONResponse({"nodes": [node.as_json() for node in nodes]}, headers={"Cache-Control": "no-store"})
