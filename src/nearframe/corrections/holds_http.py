"""Legal holds, below ``/api/holds``."""

from __future__ import annotations

from typing import Any, Final

from starlette.routing import Route

from nearframe.corrections.asked import read_patient, read_reason, read_uid
from nearframe.corrections.holding import HoldService
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.endpoint import Beside, Parameter
from nearframe.dicomweb.jsonroutes import JSON, is_wanted, json_object, json_routes, number_in
from nearframe.errors import MalformedRequest
from nearframe.query.workers import Workers
from nearframe.storage.ports import HoldRecord
from nearframe.units import KIB

_ROOT: Final = "/api/holds"
_ONE: Final = _ROOT + "/{hold}"
_MAX_BODY_BYTES: Final = 64 * KIB
_FILTERS: Final = (
    Parameter("study", "string", "Only those that keep, or kept, this study."),
    Parameter("all", "boolean", "Also those that are released."),
)

DESCRIBED: Final = (
    Beside("holds", "GET", _ROOT, "Legal holds: who keeps what, since when and why.", JSON, (), _FILTERS),
    Beside("place_hold", "POST", _ROOT,
           'Keep a study or a patient as it is: {"study": UID} or {"patient": {"id", "issuer"}}, and "reason".',
           JSON, JSON),
    Beside("hold", "GET", _ONE, "One hold, with the studies that it keeps.", JSON),
    Beside("release_hold", "POST", _ONE + "/release", "End a hold; the record of it stays.", JSON, JSON),
)  # fmt: skip


def hold_routes(service: HoldService, workers: Workers, gate: Gate, addresses: Addresses) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    """
    handlers = {"holds": _list, "place_hold": _place, "hold": _show, "release_hold": _release}
    return json_routes(DESCRIBED, handlers, service, workers, gate, addresses)


def hold_json(record: HoldRecord) -> dict[str, Any]:
    """Return what is told of a hold."""
    held, release = record.held, record.release
    patient = {"id": held.patient_id, "issuer": held.issuer}
    return {
        "id": record.id,
        **({"study": held.study_instance_uid} if held.study_instance_uid else {"patient": patient}),
        "by": record.principal,
        "reason": record.reason,
        "placed_at": record.placed_at.isoformat(),
        "studies": record.studies,
        "released": release
        and {"by": release.principal, "reason": release.reason, "at": release.released_at.isoformat()},
    }


async def _list(service: HoldService, workers: Workers, call: Call) -> Any:
    found = await workers.run(
        service.record.latest,
        call.context.tenant,
        open_only=not is_wanted(call, "all"),
        study_instance_uid=call.query("study"),
    )
    return {"holds": [hold_json(one) for one in found]}


async def _place(service: HoldService, workers: Workers, call: Call) -> Any:
    body = await json_object(call, _MAX_BODY_BYTES)
    if ("study" in body) == ("patient" in body):
        raise MalformedRequest('name a study or a patient: {"study": UID} or {"patient": {"id", "issuer"}}')
    what = read_uid(body, "study") if "study" in body else read_patient(body, "patient")
    return hold_json(await workers.run(service.place, call.context, what, read_reason(body)))


async def _show(service: HoldService, workers: Workers, call: Call) -> Any:
    tenant, hold_id = call.context.tenant, _id(call)
    found = hold_json(await workers.run(service.record.find, tenant, hold_id))
    studies = await workers.run(service.record.studies, tenant, hold_id)
    return found | {"kept": [study.study_instance_uid for study in studies]}


async def _release(service: HoldService, workers: Workers, call: Call) -> Any:
    reason = read_reason(await json_object(call, _MAX_BODY_BYTES))
    return hold_json(await workers.run(service.release, call.context, _id(call), reason))


def _id(call: Call) -> int:
    return number_in(call.request.path_params["hold"], "a hold's number")
