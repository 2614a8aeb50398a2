"""The route by which what was deleted of a study goes for good before its time."""

from __future__ import annotations

from typing import Any, Final

from starlette.routing import Route

from nearframe.corrections.asked import read_reason, read_uid
from nearframe.corrections.http import correction_json
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.endpoint import Beside
from nearframe.dicomweb.jsonroutes import JSON, json_object, json_routes
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from nearframe.units import KIB, counted, format_size
from nearframe.upkeep.purge import Purger
from nearframe.upkeep.rounds import Round, Tell
from nearframe.upkeep.service import Upkeep

_MAX_BODY_BYTES: Final = 64 * KIB
PURGE: Final = "purge"
PURGE_EVERY_S: Final = 24 * 3600.0
DESCRIBED: Final = (
    Beside(
        "purge",
        "POST",
        "/api/purge",
        'Have what is deleted of a study go for good now: {"study": UID, "reason"}. Nothing brings it back.',
        JSON,
        JSON,
    ),
)


def purge_routes(purger: Purger, upkeep: Upkeep, workers: Workers, gate: Gate, addresses: Addresses) -> list[Route]:
    """Return the routes, to be put into an archive's application; its bytes go in the background."""

    async def purge(purger: Purger, workers: Workers, call: Call) -> Any:
        body = await json_object(call, _MAX_BODY_BYTES)
        study, reason = StudyRef(call.context.tenant, read_uid(body, "study")), read_reason(body)
        done = await workers.run(purger.purge_study, call.context, study, reason)
        upkeep.want(PURGE)
        return {"instances": done.instances, "purges": [correction_json(one) for one in done.records]}

    return json_routes(DESCRIBED, {"purge": purge}, purger, workers, gate, addresses)


def purge_round(purger: Purger, upkeep: Upkeep) -> Round:
    """Return the daily purge of an archive."""

    def run(_tell: Tell) -> str:
        done = purger.run(upkeep.pace)
        words = f"{counted(done.instances, 'instance')} gone for good, {format_size(done.freed_bytes)} freed"
        if done.skipped:
            return f"{words}; the rest stands in {counted(done.skipped, 'pack')} that a hold keeps, or scrub should see"
        return words if done.is_erased else f"{words}; the rest goes with the next round"

    return Round(PURGE, PURGE_EVERY_S, run, purger.waits)
