"""Orders for the Modality Worklist, below ``/api/worklist``."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from starlette.routing import Route

from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.endpoint import Beside, Parameter
from nearframe.dicomweb.jsonbody import json_body
from nearframe.dicomweb.jsonroutes import JSON, json_routes
from nearframe.errors import MalformedRequest
from nearframe.query.steps import StepService
from nearframe.query.workers import Workers
from nearframe.units import MIB

_ROOT: Final = "/api/worklist"
_STEP: Final = _ROOT + "/{step}"
_BODIES: Final = ("application/json", "application/dicom+json")
_MAX_BODY_BYTES: Final = 4 * MIB
_DATE: Final = Parameter("date", "string", "Of their steps: YYYYMMDD, or a range of two joined by a hyphen.")

DESCRIBED: Final = (
    Beside("worklist", "GET", _ROOT, "The orders, with the states of their steps.", JSON, (), (_DATE,)),
    Beside("schedule", "POST", _ROOT, "Put orders: data sets of worklist items, which replace those before.",
           JSON, _BODIES),
    Beside("unschedule", "DELETE", _STEP, "Drop a step, by its Scheduled Procedure Step ID.", JSON),
)  # fmt: skip


def worklist_routes(steps: StepService, sql: Workers, gate: Gate, addresses: Addresses) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    """
    handlers = {"worklist": _list, "schedule": _schedule, "unschedule": _unschedule}
    return json_routes(DESCRIBED, handlers, steps, sql, gate, addresses)


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
