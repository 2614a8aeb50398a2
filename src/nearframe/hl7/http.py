"""What HL7 messages were answered, at ``/api/hl7/messages``."""

from __future__ import annotations

from typing import Any, Final

from starlette.routing import Route

from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.endpoint import Beside, Parameter
from nearframe.dicomweb.jsonroutes import JSON, is_wanted, json_routes, number_in
from nearframe.query.workers import Workers
from nearframe.storage.catalogue.hl7messages import AnsweredMessage, HL7Messages

_LISTED: Final = 50
_MAX_LISTED: Final = 1000
_PARAMETERS: Final = (
    Parameter("failed", "boolean", "Only those that were not accepted."),
    Parameter("limit", "integer", f"Most of them listed ({_LISTED})."),
)
DESCRIBED: Final = (
    Beside(
        "hl7_messages", "GET", "/api/hl7/messages", "HL7 messages and what was answered: the latest first.",
        JSON, (), _PARAMETERS,
    ),
)  # fmt: skip


def hl7_routes(known: HL7Messages, sql: Workers, gate: Gate, addresses: Addresses) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    """
    return json_routes(DESCRIBED, {"hl7_messages": _messages}, known, sql, gate, addresses)


async def _messages(known: HL7Messages, sql: Workers, call: Call) -> Any:
    limit = min(number_in(call.query("limit") or str(_LISTED), "limit"), _MAX_LISTED)
    found = await sql.run(known.latest, call.context.tenant, limit, failed_only=is_wanted(call, "failed"))
    return {"messages": [_shown(one) for one in found]}


def _shown(message: AnsweredMessage) -> dict[str, Any]:
    return {
        "received_at": message.received_at.isoformat(),
        "sender": message.sender,
        "control_id": message.control_id,
        "event": message.event,
        "code": message.code,
        "says": message.words,
    }
