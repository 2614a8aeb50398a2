"""The DICOMweb application, put together from the route table."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp

from nearframe.config import Settings
from nearframe.dicomweb import capabilities
from nearframe.dicomweb.address import ROOT, Addresses
from nearframe.dicomweb.boundary import Answerer, routes_of, unknown
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.cors import CORS
from nearframe.dicomweb.endpoint import Beside, Endpoint
from nearframe.dicomweb.fastframes import FastFrames
from nearframe.dicomweb.routes import endpoints
from nearframe.dicomweb.services import Services
from nearframe.wire.accept import Offer, negotiate, parse_accept

_JSON: Final = Offer("application/json", also=("application/dicom+json",))
_OPENAPI: Final = Offer(capabilities.OPENAPI_JSON)
_WADL: Final = Offer(capabilities.WADL_XML, also=("application/xml", "text/xml"))


def dicomweb_app(
    services: Services,
    settings: Settings,
    gate: Gate,
    nodes: Callable[[], Container[str]] = frozenset[str],
    beside: Sequence[Beside] = (),
) -> ASGIApp:
    """Return the application for ``/dicomweb``, everything below it, and ``/openapi.json``.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    nodes
        See `cors.CORS`.
    beside
        What the node answers beside this, for ``/openapi.json``.
    """
    router = dicomweb_router(services, settings, gate, beside)
    return CORS(FastFrames(router, services, gate), settings.cors_origins, nodes)


def dicomweb_router(services: Services, settings: Settings, gate: Gate, beside: Sequence[Beside] = ()) -> ASGIApp:
    """Return what answers everything that does not take the short way; parameters as `dicomweb_app`."""
    addresses = Addresses(settings)
    table = tuple(endpoints())
    describe = _describe(table, addresses)

    def answerer(endpoint: Endpoint[Services]) -> Answerer:
        return lambda request: endpoint.handler(services, Call.of(request, gate, addresses))

    routes = [(endpoint.name, endpoint.method, ROOT + endpoint.path, answerer(endpoint)) for endpoint in table]
    routes += [("capabilities", "GET", path, describe) for path in (ROOT, ROOT + "/")]
    routes += [
        ("openapi", "GET", "/openapi.json", _openapi(table, addresses, beside)),
        ("openapi", "GET", ROOT + "/openapi.json", _openapi(table, addresses)),
    ]
    return Router(routes_of(routes, options=describe), redirect_slashes=False, default=unknown)


def _describe(table: tuple[Endpoint[Services], ...], addresses: Addresses) -> Answerer:
    """Return what answers GET of the root, and OPTIONS of every path (PS3.18 section 8.9)."""

    async def answer(request: Request) -> Response:
        url = addresses.service(request)
        accepted = parse_accept(request.headers.get("accept"), request.query_params.get("accept"))
        chosen = negotiate(accepted, (_JSON, _OPENAPI, _WADL))
        make = {_JSON: capabilities.summary, _OPENAPI: capabilities.openapi, _WADL: capabilities.wadl}[chosen.offer]
        return Response(make(table, url), media_type=chosen.essence, headers={"Vary": "Accept"})

    return answer


def _openapi(table: tuple[Endpoint[Services], ...], addresses: Addresses, beside: Sequence[Beside] = ()) -> Answerer:
    async def answer(request: Request) -> Response:
        document = capabilities.openapi(table, addresses.service(request), beside=beside)
        return Response(document, media_type="application/json")

    return answer
