"""Orders for the Modality Worklist, below ``/api/worklist``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.boundary import Answerer, routes_of
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.endpoint import Beside, Parameter
from nearframe.dicomweb.jsonbody import json_body
from nearframe.errors import MalformedRequest
from nearframe.query.steps import StepService
from nearframe.query.workers import Workers
from nearframe.units import MIB

_ROOT: Final = "/api/worklist"
_STEP: Final = _ROOT + "/{step}"
_JSON: Final = ("application/json",)
_BODIES: Final = ("application/json", "application/dicom+json")
_MAX_BODY_BYTES: Final = 4 * MIB
_DATE: Final = Parameter("date", "string", "Of their steps: YYYYMMDD, or a range of two joined by a hyphen.")

DESCRIBED: Final = (
    Beside("worklist", "GET", _ROOT, "The orders, with the states of their steps.", _JSON, (), (_DATE,)),
    Beside("schedule", "POST", _ROOT, "Put orders: data sets of worklist items, which replace those before.",
           _JSON, _BODIES),
    Beside("unschedule", "DELETE", _STEP, "Drop a step, by its Scheduled Procedure Step ID.", _JSON),
)  # fmt: skip


def worklist_routes(steps: StepService, sql: Workers, gate: Gate, addresses: Addresses) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    """
    handlers = {"worklist": _list, "schedule": _schedule, "unschedule": _unschedule}

    def answerer(handle: Callable[[StepService, Workers, Call], Awaitable[Any]]) -> Answerer:
        async def answer(request: Request) -> Response:
            found = await handle(steps, sql, Call.of(request, gate, addresses))
            body = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
            return Response(body, media_type=_JSON[0], headers={"Cache-Control": "no-store"})

        return answer

    return routes_of([(one.name, one.method, one.path, answerer(handlers[one.name])) for one in DESCRIBED])


async def _list(steps: StepService, sql: Workers, call: Call) -> Any:
    date = call.query("date") or ""
    if date and not all(len(day) in (0, 8) and (not day or day.isdecimal()) for day in date.split("-", 1)):
        raise MalformedRequest("date is YYYYMMDD, or a range of two joined by a hyphen")
    return await sql.run(partial(steps.orders, call.context, date))


async def _schedule(steps: StepService, sql: Workers, call: Call) -> Any:
    document = await json_body(call.request, _BODIES, _MAX_BODY_BYTES)
    orders = document if isinstance(document, list) else [document]
    return {"scheduled": await sql.run(steps.schedule, call.context, orders)}


async def _unschedule(steps: StepService, sql: Workers, call: Call) -> Any:
    step = call.request.path_params["step"]
    await sql.run(steps.unschedule, call.context, step)
    return {"unscheduled": step}
