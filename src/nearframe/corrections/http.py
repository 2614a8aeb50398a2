"""Corrections, below ``/api/corrections``."""

from __future__ import annotations

from typing import Any, Final

from starlette.routing import Route

from nearframe.corrections.asked import read_asked, read_reason
from nearframe.corrections.service import CorrectionService
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.endpoint import Beside, Parameter
from nearframe.dicomweb.jsonbody import json_body
from nearframe.dicomweb.jsonroutes import JSON, is_wanted, json_object, json_routes, number_in
from nearframe.query.workers import Workers
from nearframe.storage.ports import CorrectionRecord
from nearframe.units import MIB

_ROOT: Final = "/api/corrections"
_ONE: Final = _ROOT + "/{correction}"
_MAX_BODY_BYTES: Final = MIB
_LISTED: Final = 100
_MAX_LISTED: Final = 1000
_FILTERS: Final = (
    Parameter("study", "string", "Only those that changed something which is, or was, in this study."),
    Parameter("before", "integer", "Only those made before this one: the next page."),
    Parameter("limit", "integer", f"Most of them listed ({_LISTED})."),
)
_DRY_RUN: Final = Parameter("dry-run", "boolean", "Say what it would be about, and change nothing.")

DESCRIBED: Final = (
    Beside("corrections", "GET", _ROOT, "Who corrected what, when and why: the latest first.", JSON, (), _FILTERS),
    Beside("correct", "POST", _ROOT,
           "Correct attributes, merge patients or keep them apart, move, split, delete, revert to an earlier version.",
           JSON, JSON, (_DRY_RUN,)),
    Beside("correction", "GET", _ONE, "One correction, with the versions of each instance before and after.", JSON),
    Beside("undo_correction", "POST", _ONE + "/undo",
           "Bring back what was in view before a correction, byte for byte.", JSON, JSON),
)  # fmt: skip


def correction_routes(service: CorrectionService, workers: Workers, gate: Gate, addresses: Addresses) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    workers
        Threads for what takes seconds: a correction of thousands of instances.
    gate
        Says who makes a request; asked before anything is looked up.
    """
    handlers = {"corrections": _list, "correct": _correct, "correction": _show, "undo_correction": _undo}
    return json_routes(DESCRIBED, handlers, service, workers, gate, addresses)


def correction_json(record: CorrectionRecord) -> dict[str, Any]:
    """Return what is told of a correction."""
    return {
        "id": record.id,
        "action": record.action,
        "by": record.principal,
        "reason": record.reason,
        "made_at": record.made_at.isoformat(),
        "instances": record.instances,
        "undoes": record.undoes,
        "undone_by": record.undone_by,
        "asked": record.detail,
    }


async def _list(service: CorrectionService, workers: Workers, call: Call) -> Any:
    before, limit = call.query("before"), call.query("limit")

    def latest() -> list[CorrectionRecord]:
        return service.record.latest(
            call.context.tenant,
            study_instance_uid=call.query("study"),
            before=None if before is None else number_in(before, "before"),
            limit=_LISTED if limit is None else min(number_in(limit, "limit"), _MAX_LISTED),
        )

    return {"corrections": [correction_json(one) for one in await workers.run(latest)]}


async def _correct(service: CorrectionService, workers: Workers, call: Call) -> Any:
    asked = read_asked(await json_body(call.request, JSON, _MAX_BODY_BYTES))
    if is_wanted(call, "dry-run"):
        steps = await workers.run(service.plan, call.context, asked)
        studies = sorted({step.record.study.study_instance_uid for step in steps})
        return {"action": asked.action, "instances": len(steps), "studies": studies}
    return correction_json(await workers.run(service.make, call.context, asked))


async def _show(service: CorrectionService, workers: Workers, call: Call) -> Any:
    correction_id, tenant = _id(call), call.context.tenant
    found = correction_json(await workers.run(service.record.find, tenant, correction_id))
    instances = await workers.run(service.record.instances, tenant, correction_id)
    return found | {
        "changed": [
            {
                "study": one.study_instance_uid,
                "instance": one.sop_instance_uid,
                "before": one.before,
                "after": one.after,
            }
            for one in instances
        ]
    }


async def _undo(service: CorrectionService, workers: Workers, call: Call) -> Any:
    reason = read_reason(await json_object(call, _MAX_BODY_BYTES))
    return correction_json(await workers.run(service.undo, call.context, _id(call), reason))


def _id(call: Call) -> int:
    return number_in(call.request.path_params["correction"], "a correction's number")
