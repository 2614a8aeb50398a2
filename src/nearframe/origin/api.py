"""The routes below ``/api`` for those who look after an archive, from one table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nearframe.dicomweb.address import ROOT as DICOMWEB
from nearframe.dicomweb.address import Addresses, instance_path
from nearframe.dicomweb.boundary import Answerer, routes_of
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.capabilities import openapi
from nearframe.dicomweb.endpoint import Beside, Endpoint, Parameter
from nearframe.dicomweb.jsonbody import json_body
from nearframe.errors import AccessError, MalformedRequest
from nearframe.origin.admin import Admin, version_json
from nearframe.query.freshness import Freshness
from nearframe.query.urgency import given_json, read_given
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef

ROOT: Final = "/api"

_JSON: Final = "application/json"
_MAX_BODY_BYTES: Final = 64 * 1024
_CANDIDATES: Final = 200
_MAX_CANDIDATES: Final = 10_000
_MAX_CONFLICT_DIGITS: Final = 18
_MAX_CONFLICTS: Final = 10_000  # each is described from both headers, about a millisecond


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What the routes stand on.

    Attributes
    ----------
    sql, cpu
        Threads for the catalogue, and for comparing hashes.
    """

    admin: Admin
    freshness: Freshness
    sql: Workers
    cpu: Workers


def endpoints() -> tuple[Endpoint[ApiServices], ...]:
    """Return the route table."""
    every = Parameter("all", "boolean", "Also those that are resolved.")
    limit = Parameter("limit", "integer", f"Most candidates listed ({_CANDIDATES}); all are counted.")
    most = Parameter("limit", "integer", f"Most conflicts listed ({_MAX_CONFLICTS}), the oldest; all are counted.")
    json_ = (_JSON,)
    return (
        Endpoint("status", "GET", "/status", _status, "How the node stands, and its background work.", json_),
        Endpoint("storage", "GET", "/storage", _storage, "What the disk holds, by kind, and its room.", json_),
        Endpoint(
            "conflicts", "GET", "/conflicts", _conflicts,
            "Instances that came with a UID that is held with other pixels: whose, which, and what differs.",
            json_, (), (every, most),
        ),
        Endpoint(
            "conflicting_patients", "GET", "/conflicts/patients", _strays,
            "Studies in view that name an identifier which was merged away: they came later, or from elsewhere.", json_,
        ),
        Endpoint(
            "resolve_conflict", "POST", "/conflicts/{conflict}", _resolve,
            'Close a conflict: {"keep": "current"} or {"keep": "incoming"}.', json_, json_,
        ),
        Endpoint(
            "report_dedupe", "GET", "/reports/dedupe", _dedupe,
            "What is held more than once: by bytes, by header, by pixels, and by looks (proposed only).", json_,
        ),
        Endpoint(
            "study_candidates", "GET", "/studies/{study}/candidates", _candidates,
            "Frames of the same patient that look alike, and priors to compare with. Proposals, never identities.",
            json_, (), (limit,),
        ),
        Endpoint(
            "study_urgency", "GET", "/studies/{study}/urgency", _get_urgency,
            "The class of urgency that was given to a study: null if none was.", json_,
        ),
        Endpoint(
            "give_urgency", "PUT", "/studies/{study}/urgency", _put_urgency,
            'Give a study a class, which its edges follow: {"class", "reason", "until"}; null takes it back.',
            json_, json_,
        ),
        Endpoint(
            "instance_versions", "GET", "/instances/{instance}/versions", _versions,
            "Every stored version of an instance, oldest first.", json_,
        ),
    )  # fmt: skip


def described() -> tuple[Beside, ...]:
    """Return the same for the document that describes the whole node."""
    return tuple(
        Beside(one.name, one.method, ROOT + one.path, one.prose, one.produces, one.consumes, one.parameters)
        for one in endpoints()
    )


def api_routes(services: ApiServices, gate: Gate, addresses: Addresses) -> list[Route]:
    """Return the routes, to be put into a node's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    """
    table = endpoints()

    def answerer(endpoint: Endpoint[ApiServices]) -> Answerer:
        return lambda request: endpoint.handler(services, Call.of(request, gate, addresses))

    async def describe(request: Request) -> Response:
        url = addresses.service(request).removesuffix(DICOMWEB) + ROOT
        return Response(openapi(table, url, "nearframe API", "For those who look after an archive."), media_type=_JSON)

    routes = [(one.name, one.method, ROOT + one.path, answerer(one)) for one in table]
    return routes_of([("api_openapi", "GET", f"{ROOT}/openapi.json", describe), *routes], options=describe)


async def _status(services: ApiServices, call: Call) -> Response:
    return _answer(await services.sql.run(services.admin.status))


async def _storage(services: ApiServices, call: Call) -> Response:
    return _answer(await services.cpu.run(services.admin.storage))


async def _conflicts(services: ApiServices, call: Call) -> Response:
    open_only = (call.query("all") or "false").lower() in ("false", "0", "no")
    limit = _natural(call.query("limit"), _MAX_CONFLICTS, _MAX_CONFLICTS)
    return _answer(await services.sql.run(services.admin.conflicts, call.context, open_only=open_only, limit=limit))


async def _strays(services: ApiServices, call: Call) -> Response:
    return _answer(await services.sql.run(services.admin.strays, call.context.tenant))


async def _resolve(services: ApiServices, call: Call) -> Response:
    conflict_id = _conflict_id(call.request.path_params["conflict"])
    keep = (await _json_body(call.request)).get("keep")
    if not isinstance(keep, str):
        raise MalformedRequest('say which version to keep: {"keep": "current"} or {"keep": "incoming"}')
    study, resolved = await services.sql.run(
        services.admin.resolve, call.context.tenant, conflict_id, keep, call.context.principal
    )
    services.freshness.changed(study)
    return _answer(resolved)


async def _dedupe(services: ApiServices, call: Call) -> Response:
    return _answer(await services.cpu.run(services.admin.dedupe, call.context.tenant))


async def _candidates(services: ApiServices, call: Call) -> Response:
    if not call.context.scope.admits(call.study):
        raise AccessError("this study is outside what the session may reach")
    limit = _natural(call.query("limit"), _CANDIDATES, _MAX_CANDIDATES)
    study = StudyRef(call.context.tenant, call.study)
    return _answer(await services.cpu.run(services.admin.candidates, study, limit))


async def _get_urgency(services: ApiServices, call: Call) -> Response:
    given = await services.sql.run(services.admin.given_urgency, _study(call))
    return _answer({"study": call.study, "given": None if given is None else given_json(given)})


async def _put_urgency(services: ApiServices, call: Call) -> Response:
    study = _study(call)
    given = read_given(await _json_body(call.request), datetime.now(UTC))
    await services.sql.run(services.admin.give_urgency, study, given)
    return _answer({"study": call.study, "given": None if given is None else given_json(given)})


def _study(call: Call) -> StudyRef:
    if not call.context.scope.admits(call.study):
        raise AccessError("this study is outside what the session may reach")
    return StudyRef(call.context.tenant, call.study)


async def _versions(services: ApiServices, call: Call) -> Response:
    assert call.instance is not None  # noqa: S101 - the path names it
    found = await services.sql.run(services.admin.versions, call.context.tenant, call.instance)
    versions = [
        version_json(record, correction)
        | {"url": f"{call.service_url}{instance_path(record.identity)}?version={record.version}"}
        for record, correction in found
        if call.context.scope.admits(record.identity.study_instance_uid)
    ]
    return _answer({"instance": call.instance, "versions": versions})


def _answer(value: Any) -> Response:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, media_type=_JSON, headers={"Cache-Control": "no-store"})


async def _json_body(request: Request) -> dict[str, Any]:
    read = await json_body(request, (_JSON,), _MAX_BODY_BYTES)
    if not isinstance(read, dict):
        raise MalformedRequest("the request's body is not a JSON object")
    return read


def _conflict_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_CONFLICT_DIGITS):
        raise MalformedRequest("a conflict is named by its number")
    return int(text)


def _natural(text: str | None, default: int, most: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise MalformedRequest("limit is a whole number")
    return min(int(text), most)
