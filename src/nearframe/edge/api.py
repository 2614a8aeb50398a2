"""The routes below ``/api`` by which an edge's urgency is seen and set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nearframe.context import Context, Urgency
from nearframe.dicomweb.boundary import Answerer, routes_of
from nearframe.dicomweb.call import Gate
from nearframe.dicomweb.endpoint import Beside, prose_of
from nearframe.edge.routes import Asked, Condition, Rule
from nearframe.edge.tiering import Tiering
from nearframe.edge.tiers import Consult, StudyTier
from nearframe.errors import MalformedRequest, UnsupportedMedia
from nearframe.query.urgency import given_json, read_given, read_reason, read_urgency
from nearframe.storage.ports import GivenUrgency, StudyRef
from nearframe.sync.asked import json_body, study_of

_STUDY: Final = "/api/studies/{study}"

Handler: TypeAlias = Callable[[Tiering, Context, Request], Awaitable[Any]]


class EdgeRoute(NamedTuple):
    """One method on one path."""

    name: str
    method: str
    path: str
    handler: Handler


def edge_routes(tiering: Tiering, gate: Gate) -> list[Route]:
    """Return the routes, to be put into an edge's application.

    Parameters
    ----------
    gate
        Says who makes a request; asked before anything is looked up.
    """
    return routes_of((name, method, path, _answerer(tiering, gate, handler)) for name, method, path, handler in ROUTES)


def _answerer(tiering: Tiering, gate: Gate, handler: Handler) -> Answerer:
    async def answer(request: Request) -> Response:
        found = await handler(tiering, gate(request.scope), request)
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    return answer


# -- urgency -----------------------------------------------------------------------------------


async def get_urgency(tiering: Tiering, context: Context, request: Request) -> Any:
    """Answer with how urgent a study is, and why; with `explain`, how each rule of the table fared."""
    study = study_of(context, request)
    described = describe(tiering, tiering.keeper.get(study))
    if request.query_params.get("explain", "false").lower() not in ("false", "0", "no"):
        asked = Asked(await tiering.keeper.facts(study), tiering.keeper.local_now)
        described["explanation"] = [
            {
                **_rule(trial.rule),
                "decides": trial.decides,
                "conditions": [_condition(one, held, one.found(asked)) for one, held in trial.conditions],
            }
            for trial in tiering.keeper.table.explain(asked)
        ]
    return described


async def put_urgency(tiering: Tiering, context: Context, request: Request) -> Any:
    """Give a study a class: `{"class", "reason", "until"}`; null takes it back."""
    study = study_of(context, request)
    given = read_given(await _json(request), tiering.keeper.moment)
    return describe(tiering, await tiering.keeper.give(study, given))


async def open_consult(tiering: Tiering, context: Context, request: Request) -> Any:
    """Open a consult: `{"class", "reason"}`. The study and its priors are raised, pinned and fetched at once."""
    study = study_of(context, request)
    document = await _json(request)
    try:
        urgency = read_urgency(document.get("class", Urgency.ACTIVE.name))
    except ValueError as error:
        raise MalformedRequest(f"class: {error}") from error
    if urgency > Urgency.ACTIVE:
        raise MalformedRequest("class: a consult is stat or active")
    return consult_json(await tiering.open_consult(study, urgency, read_reason(document)))


async def close_consult(tiering: Tiering, context: Context, request: Request) -> Any:
    """Close the consults about a study, or the one named by `consult`; its studies stay fresh for their time."""
    study = study_of(context, request)
    closed = await tiering.keeper.close_consult(study, request.query_params.get("consult"))
    return {"closed": [consult_json(consult) for consult in closed]}


async def pin(tiering: Tiering, context: Context, request: Request) -> Any:
    """Pin a study: its frames are not let go."""
    return describe(tiering, await tiering.keeper.pin(study_of(context, request), pinned=True))


async def unpin(tiering: Tiering, context: Context, request: Request) -> Any:
    """Let a pinned study loose."""
    return describe(tiering, await tiering.keeper.pin(study_of(context, request), pinned=False))


# -- routes and purge --------------------------------------------------------------------------


async def routes(tiering: Tiering, context: Context, request: Request) -> Any:
    """Answer with the route table, in the order in which rules are tried."""
    return {"routes": [_rule(rule) for rule in tiering.keeper.table.rules]}


async def purge(tiering: Tiering, context: Context, request: Request) -> Any:
    """Drop frames here: of a `study`, of its `series`, of the `patient_of` a study, or `all`. Metadata stays.

    Without `"force": true` it is a conflict to drop what is pinned, or anything while the upstream is away.
    """
    document = await _json(request)
    force = document.pop("force", False)
    given = document.keys()
    series = document.get("series")
    if given not in ({"study"}, {"study", "series"}, {"patient_of"}, {"all"}):
        raise MalformedRequest("say what to purge: study, study and series, patient_of, or all")
    if not all(value is True if name == "all" else isinstance(value, str) for name, value in document.items()):
        raise MalformedRequest('studies and series are named by their UIDs, and all is {"all": true}')
    if not isinstance(force, bool):
        raise MalformedRequest("force is true or false")
    if "all" in given:
        tiers = [tier for tier in tiering.keeper if tier.study.tenant == context.tenant and tier.held_bytes]
    else:
        tier = tiering.keeper.get(StudyRef(context.tenant, document.get("study") or document["patient_of"]))
        tiers = [tier, *(tiering.keeper.same_patient(tier) if "patient_of" in given else ())]
    tiers = [tier for tier in tiers if context.scope.admits(tier.study.study_instance_uid)]
    before = sum(tier.held_bytes for tier in tiers)
    count = await tiering.evictor.purge(tiers, series, force=force)
    return {"studies": count, "bytes": max(0, before - sum(tier.held_bytes for tier in tiers))}


# -- as JSON -----------------------------------------------------------------------------------


def describe(tiering: Tiering, tier: StudyTier) -> dict[str, Any]:
    """Return how a study stands."""
    given = None
    if tier.given is not None:
        until = None if tier.until is None else datetime.fromtimestamp(tier.until, UTC)
        given = given_json(GivenUrgency(tier.given, tier.reason, until))
    why = "consult" if tier.consults else "route" if given is None else "given"
    fresh_until = tier.used_at + tiering.keeper.lifetimes.of(tier.urgency)
    return {
        "study": tier.study.study_instance_uid,
        "class": tier.urgency.name.lower(),
        "why": why,
        "route": {"class": tier.routed.name.lower(), "rule": tier.route},
        "given": given,
        "pinned": tier.is_pinned,
        "consults": [consult_json(consult) for consult in tiering.keeper.consults_of(tier.study)],
        "used_at": _moment(tier.used_at),
        "fresh_until": _moment(fresh_until),
        "held_bytes": tier.held_bytes,
        "frame_bytes": tier.frame_bytes,
        "departed": tier.departed.name.lower(),
    }


def consult_json(consult: Consult) -> dict[str, Any]:
    """Return an open consult; its first study is what it is about, the others are priors."""
    return {
        "consult": consult.id,
        "class": consult.urgency.name.lower(),
        "reason": consult.reason,
        "opened_at": _moment(consult.opened_at),
        "ends_at": _moment(consult.ends_at),
        "studies": [study.study_instance_uid for study in consult.studies],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.number,
        "class": rule.urgency.name.lower(),
        "when": rule.written,
        "recipes": rule.recipes,
        "index": rule.index,
    }


def _condition(condition: Condition, held: bool, found: str | None) -> Mapping[str, Any]:
    return {"condition": condition.name, "is": condition.written, "held": held, "study_has": found}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


async def _json(request: Request) -> dict[str, Any]:
    # A page of any site may post text or a form here without the browser asking us first; JSON it may not.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMedia("a request here is application/json")
    return await json_body(request)


ROUTES: Final = (
    EdgeRoute("get_urgency", "GET", _STUDY + "/urgency", get_urgency),
    EdgeRoute("put_urgency", "PUT", _STUDY + "/urgency", put_urgency),
    EdgeRoute("open_consult", "POST", _STUDY + "/consult", open_consult),
    EdgeRoute("close_consult", "DELETE", _STUDY + "/consult", close_consult),
    EdgeRoute("pin", "PUT", _STUDY + "/pin", pin),
    EdgeRoute("unpin", "DELETE", _STUDY + "/pin", unpin),
    EdgeRoute("edge_routes", "GET", "/api/routes", routes),
    EdgeRoute("purge", "POST", "/api/purge", purge),
)

_TAKES_JSON: Final = (put_urgency, open_consult, purge)
DESCRIBED: Final = tuple(
    Beside(
        one.name, one.method, one.path, prose_of(one.handler),
        consumes=("application/json",) if one.handler in _TAKES_JSON else (),
    )
    for one in ROUTES
)  # fmt: skip
