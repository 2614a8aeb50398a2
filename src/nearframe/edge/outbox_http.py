"""What people ask of an outbox: how much waits, what was refused and why, and to try again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nearframe.dicomweb.boundary import routes_of
from nearframe.dicomweb.call import Gate
from nearframe.dicomweb.endpoint import Beside
from nearframe.edge.outbox import Outbox
from nearframe.errors import MalformedRequest, UnsupportedMedia
from nearframe.ids import normalise_uid
from nearframe.query.health import WELL, Check, Finding, State
from nearframe.query.status import OutboxStatus
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from nearframe.sync.asked import json_body

MAX_LINES: Final = 1000
_NO_STORE: Final = {"Cache-Control": "no-store"}

DESCRIBED: Final = (
    Beside("outbox", "GET", "/api/outbox", "How much waits for the upstream, and what was refused and why, by study."),
    Beside(
        "outbox_retry", "POST", "/api/outbox/retry",
        'Try again what was refused: of one study, `{"study": UID}`, or all, `{}`.',
        consumes=("application/json",),
    ),
)  # fmt: skip


def outbox_status(outbox: Outbox) -> OutboxStatus:
    """Return how much is on its way. Sync: callers bring a thread."""
    counts = {state.value: number for state, number in outbox.counts().items()}
    oldest_s = outbox.oldest_s()
    return {
        "spooled": counts["spooled"],
        "sent": counts["sent"],
        "verified": counts["verified"],
        "refused": counts["refused"],
        "oldest_s": None if oldest_s is None else round(oldest_s, 1),
    }


def outbox_routes(outbox: Outbox, workers: Workers, gate: Gate, try_now: Callable[[], None]) -> list[Route]:
    """Return the routes, to be put into an edge's application.

    Parameters
    ----------
    try_now
        Called once something refused may be tried again.
    """

    async def show(request: Request) -> Response:
        context = gate(request.scope)
        status = await workers.run(outbox_status, outbox)
        lines = await workers.run(outbox.lines, context.tenant, MAX_LINES)
        studies = [
            {
                "study": line.study.study_instance_uid,
                "state": line.state.value,
                "instances": line.instances,
                "oldest_s": round(line.oldest_s, 1),
                "reason": line.reason,
            }
            for line in lines
            if context.scope.admits(line.study.study_instance_uid)
        ]
        return JSONResponse({**status, "studies": studies}, headers=_NO_STORE)

    async def retry(request: Request) -> Response:
        context = gate(request.scope)
        # A page of any site may post text or a form here without the browser asking us first; JSON it may not.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMedia("a request here is application/json")
        uid = (await json_body(request)).get("study")
        if uid is not None and not isinstance(uid, str):
            raise MalformedRequest("study is a UID, or left out for every study")
        study = None if uid is None else StudyRef(context.tenant, normalise_uid(uid))
        tried = await workers.run(outbox.retry, study)
        try_now()
        return JSONResponse({"tried": tried}, headers=_NO_STORE)

    return routes_of([("outbox", "GET", "/api/outbox", show), ("outbox_retry", "POST", "/api/outbox/retry", retry)])


def outbox_check(outbox: Outbox, workers: Workers, patience_s: float) -> Check:
    """Check that nothing waits too long for the upstream, and that nothing was refused."""

    async def check() -> Finding:
        status = await workers.run(outbox_status, outbox)
        if status["refused"]:
            return Finding(
                State.DEGRADED,
                f"{status['refused']} instances cannot be forwarded; nearframe edge outbox tells why, and retry",
            )
        oldest_s = status["oldest_s"]
        if oldest_s is None or oldest_s <= patience_s:
            return WELL
        waiting = status["spooled"] + status["sent"]
        return Finding(
            State.DEGRADED, f"{waiting} instances are here alone, the oldest for {oldest_s / 60:.0f} minutes"
        )

    return check
