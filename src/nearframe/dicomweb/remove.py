"""DELETE, which PS3.18 leaves to the site: by policy, and off unless somebody turned it on."""

from __future__ import annotations

from starlette.responses import Response

from nearframe.dicomweb.call import Call
from nearframe.dicomweb.services import Services
from nearframe.errors import Refused


async def remove(services: Services, call: Call) -> Response:
    """Remove a study, a series or an instance from view."""
    if services.remove is None:
        raise Refused("this node removes nothing; ask the archive behind it")
    await services.remove.remove(call.context, call.study, call.series, call.instance)
    return Response(status_code=204)
