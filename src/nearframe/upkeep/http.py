"""The routes by which upkeep is asked for and followed."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nearframe.dicomweb.boundary import routes_of
from nearframe.dicomweb.call import Gate
from nearframe.dicomweb.endpoint import Beside
from nearframe.upkeep.service import Upkeep

_JSON: Final = ("application/json",)
PATH: Final = "/api/scrub"
DAMAGED_PATH: Final = f"{PATH}/damaged"
UPKEEP_PATH: Final = "/api/upkeep"
DESCRIBED: Final = (
    Beside("upkeep", "GET", UPKEEP_PATH, "How each piece of work that comes round stands, or ended last.", _JSON),
    Beside("begin_upkeep", "POST", UPKEEP_PATH + "/{round}", "Begin one of them as soon as possible.", _JSON),
    Beside("scrub_state", "GET", PATH, "How the last scrub stands or ended.", _JSON),
    Beside("scrub", "POST", PATH, "Begin to read and prove all that is stored.", _JSON),
    Beside("damaged", "GET", DAMAGED_PATH, "Contents of the tenant that are known to be damaged.", _JSON),
)
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

    async def rounds(request: Request) -> Response:
        gate(request.scope)
        return _answer({"rounds": upkeep.book.as_json()}, 200)

    async def begin_round(request: Request) -> Response:
        gate(request.scope)
        upkeep.ask_for(request.path_params["round"])
        return _answer({"rounds": upkeep.book.as_json()}, 202)

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

    handlers = {"upkeep": rounds, "begin_upkeep": begin_round}
    handlers |= {"scrub_state": state, "scrub": begin, "damaged": damaged}
    return routes_of([(one.name, one.method, one.path, handlers[one.name]) for one in DESCRIBED])


def _answer(state: dict[str, object], status: int) -> Response:
    return JSONResponse(state, status, {"Cache-Control": "no-store"})
