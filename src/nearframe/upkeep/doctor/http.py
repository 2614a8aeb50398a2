"""The examination of a running node, for its own page."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nearframe.config import Settings
from nearframe.dicomweb.boundary import routes_of
from nearframe.dicomweb.call import Gate
from nearframe.dicomweb.endpoint import Beside
from nearframe.dicomweb.jsonroutes import JSON
from nearframe.errors import UpstreamUnavailable
from nearframe.query.workers import Workers
from nearframe.upkeep.doctor.examine import Examined, examine, examined_json
from nearframe.upkeep.doctor.patient import Answer, Patient

_PATH: Final = "/api/doctor"
#: The catalogue is read from end to end, and a page may be open all day.
_LOOK_AGAIN_S: Final = 600.0
#: What a node cannot see of itself, or need not ask itself.
_FROM_OUTSIDE: Final = frozenset({"node", "ports", "packs", "contents", "upstream"})
DESCRIBED: Final = (Beside("doctor", "GET", _PATH, "What is wrong with this node, and what to do.", JSON),)


class SelfExamination:
    """Examines the node it is in, now and then. Sync; any thread may call."""

    def __init__(self, settings: Settings, role: str) -> None:
        self._settings = settings
        self._role = role
        self._lock = threading.Lock()
        self._found: list[Examined] = []
        self._looked_at = -_LOOK_AGAIN_S

    def found(self) -> list[Examined]:
        """Return what was found lately; looks if that is long ago."""
        with self._lock:
            if time.monotonic() - self._looked_at >= _LOOK_AGAIN_S:
                patient = Patient(self._settings, self._role, True, datetime.now(UTC), _ask_nobody)
                self._found = list(examine(patient, without=_FROM_OUTSIDE))
                self._looked_at = time.monotonic()
            return self._found


def doctor_routes(examination: SelfExamination, workers: Workers, gate: Gate) -> list[Route]:
    """Return the route, to be put into a node's application."""

    async def doctor(request: Request) -> Response:
        gate(request.scope)
        found = await workers.run(examination.found)
        return JSONResponse(examined_json(found), 200, {"Cache-Control": "no-store"})

    return routes_of([(one.name, one.method, one.path, doctor) for one in DESCRIBED])


def _ask_nobody(url: str, *, is_own: bool) -> Answer:
    raise UpstreamUnavailable(f"{url} is not asked from here")
