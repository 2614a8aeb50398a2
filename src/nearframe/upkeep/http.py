"""The routes by which a scrub is asked for and followed."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nearframe.dicomweb.boundary import routes_of
from nearframe.dicomweb.call import Gate
from nearframe.upkeep.service import Upkeep

PATH: Final = "/api/scrub"
DAMAGED_PATH: Final = f"{PATH}/damaged"
#: Of one answer: who mends them asks again for the rest.
MAX_DAMAGED: Final = 10_000


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

    async def damaged(request: Request) -> Response:
        found = await upkeep.damaged(gate(request.scope).tenant, MAX_DAMAGED)
        listed = [
            {
                "tenant": lost.study.tenant,
                "study": lost.study.study_instance_uid,
                "digest": lost.digest.hex(),
                "kind": lost.kind.name,
            }
            for lost in found
        ]
        return _answer({"damaged": listed}, 200)

    return routes_of(
        [
            ("scrub_state", "GET", PATH, state),
            ("scrub", "POST", PATH, begin),
            ("damaged", "GET", DAMAGED_PATH, damaged),
        ]
    )


def _answer(state: dict[str, object], status: int) -> Response:
    return JSONResponse(state, status, {"Cache-Control": "no-store"})
