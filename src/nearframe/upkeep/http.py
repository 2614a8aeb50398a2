"""The routes by which a scrub is asked for and followed."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nearframe.dicomweb.boundary import routes_of
from nearframe.dicomweb.call import Gate
from nearframe.upkeep.service import Upkeep

PATH = "/api/scrub"


def upkeep_routes(upkeep: Upkeep, gate: Gate) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is done.
    """

    async def state(request: Request) -> Response:
        gate(request.scope)
        return _answer(upkeep.scrub_state.as_json(), 200)

    async def begin(request: Request) -> Response:
        gate(request.scope)
        return _answer(upkeep.request_scrub().as_json(), 202)

    return routes_of([("scrub_state", "GET", PATH, state), ("scrub", "POST", PATH, begin)])


def _answer(state: dict[str, object], status: int) -> Response:
    return JSONResponse(state, status, {"Cache-Control": "no-store"})
