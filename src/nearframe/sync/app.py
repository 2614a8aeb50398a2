"""The routes below ``/api`` that other nodes talk to, from one table.

Everything about a study is asked through the study: an answer never tells whether a
content is held for another one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nearframe.context import Context
from nearframe.dicomweb.boundary import Answerer, routes_of
from nearframe.dicomweb.call import Gate
from nearframe.dicomweb.endpoint import Beside, prose_of
from nearframe.errors import LoopDetected
from nearframe.sync import contents, offers, recipes, stream, studies
from nearframe.sync.asked import study_of
from nearframe.sync.services import SyncServices
from nearframe.wire.contentstream import MEDIA_TYPE
from nearframe.wire.via import names_in_via

Handler: TypeAlias = Callable[[SyncServices, Context, Request], Awaitable[Response]]

_STUDY: Final = "/api/studies/{study}"

#: Name, method, path, handler.
ROUTES: Final[tuple[tuple[str, str, str, Handler], ...]] = (
    ("sync_feed", "GET", "/api/feed", studies.feed),
    ("sync_manifest", "GET", _STUDY + "/manifest", studies.manifest),
    ("sync_delta", "GET", _STUDY + "/delta", studies.delta),
    ("sync_notes", "GET", _STUDY + "/notes", studies.notes),
    ("sync_renditions", "GET", _STUDY + "/renditions", studies.renditions),
    ("sync_hashes", "GET", _STUDY + "/hashes", studies.hashes),
    ("sync_headers", "POST", _STUDY + "/headers", contents.headers),
    ("sync_content", "GET", _STUDY + "/contents/{digest}", contents.content),
    ("sync_contents", "POST", _STUDY + "/contents", contents.contents),
    ("sync_recipe", "GET", _STUDY + "/recipes/{digest}", recipes.recipe),
    ("sync_study", "GET", _STUDY + "/sync", stream.sync),
    ("sync_study_lacking", "POST", _STUDY + "/sync", stream.sync_lacking),
    ("sync_put_contents", "PUT", _STUDY + "/contents", offers.put_contents),
    ("sync_offer", "POST", "/api/offers", offers.offer),
)


#: What requests hold: questions and offers are JSON, contents a stream of them.
_CONSUMES: Final = {"POST": ("application/json",), "PUT": (MEDIA_TYPE,)}
DESCRIBED: Final = tuple(
    Beside(name, method, path, prose_of(handler), ("*/*",), _CONSUMES.get(method, ()))
    for name, method, path, handler in ROUTES
)


def sync_routes(services: SyncServices, gate: Gate) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    """
    return routes_of((name, method, path, _answerer(services, gate, handler)) for name, method, path, handler in ROUTES)


def _answerer(services: SyncServices, gate: Gate, handler: Handler) -> Answerer:
    async def answer(request: Request) -> Response:
        if services.node_name in names_in_via(request.headers.getlist("via")):
            raise LoopDetected("this node would ask itself: two nodes name each other as upstream; correct one")
        context = gate(request.scope)
        if "study" in request.path_params:
            await services.wanted(study_of(context, request))
        return await handler(services, context, request)

    return answer
