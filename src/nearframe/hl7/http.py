"""What HL7 messages were answered, at ``/api/hl7/messages``."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.boundary import routes_of
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.endpoint import Beside, Parameter
from nearframe.errors import MalformedRequest
from nearframe.query.workers import Workers
from nearframe.storage.catalogue.hl7messages import AnsweredMessage, HL7Messages

_JSON: Final = "application/json"
_LISTED: Final = 50
_MAX_LISTED: Final = 1000
_PARAMETERS: Final = (
    Parameter("failed", "boolean", "Only those that were not accepted."),
    Parameter("limit", "integer", f"Most of them listed ({_LISTED})."),
)
DESCRIBED: Final = (
    Beside(
        "hl7_messages", "GET", "/api/hl7/messages", "HL7 messages and what was answered: the latest first.",
        (_JSON,), (), _PARAMETERS,
    ),
)  # fmt: skip


def hl7_routes(known: HL7Messages, sql: Workers, gate: Gate, addresses: Addresses) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    """

    async def messages(request: Request) -> Response:
        call = Call.of(request, gate, addresses)
        failed_only = (call.query("failed") or "false").lower() not in ("false", "0", "no")
        limit = call.query("limit") or str(_LISTED)
        if not (limit.isascii() and limit.isdigit() and len(limit) < 10):
            raise MalformedRequest("limit is a whole number")
        look = partial(known.latest, call.context.tenant, min(int(limit), _MAX_LISTED), failed_only=failed_only)
        found = {"messages": [_shown(one) for one in await sql.run(look)]}
        body = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
        return Response(body, media_type=_JSON, headers={"Cache-Control": "no-store"})

    (one,) = DESCRIBED
    return routes_of([(one.name, one.method, one.path, messages)])


def _shown(message: AnsweredMessage) -> dict[str, Any]:
    return {
        "received_at": message.received_at.isoformat(),
        "sender": message.sender,
        "control_id": message.control_id,
        "event": message.event,
        "code": message.code,
        "says": message.words,
    }
