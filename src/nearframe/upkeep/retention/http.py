"""Retention, at ``/api/retention``: what is due, and its deletion."""

from __future__ import annotations

from typing import Any, Final

from starlette.routing import Route

from nearframe.context import BY_ITSELF, Context
from nearframe.dicomweb.address import Addresses
from nearframe.dicomweb.call import Call, Gate
from nearframe.dicomweb.endpoint import Beside, Parameter
from nearframe.dicomweb.jsonroutes import JSON, json_object, json_routes, number_in
from nearframe.errors import Refused
from nearframe.query.workers import Workers
from nearframe.units import KIB, counted
from nearframe.upkeep.retention.service import Applied, Listed, Plan, RetentionService
from nearframe.upkeep.rounds import Round, Tell

_PATH: Final = "/api/retention"
_MAX_BODY_BYTES: Final = KIB
_LISTED: Final = 1000
RETENTION: Final = "retention"
RETENTION_EVERY_S: Final = 24 * 3600.0
DESCRIBED: Final = (
    Beside(
        "retention_plan", "GET", _PATH, "What the retention rules come to now; nothing is changed.", JSON, (),
        (Parameter("limit", "integer", f"Most studies listed ({_LISTED})."),),
    ),
    Beside("retention_apply", "POST", _PATH, "Delete what is due by rules that delete: {}.", JSON, JSON),
)  # fmt: skip


def retention_routes(service: RetentionService, workers: Workers, gate: Gate, addresses: Addresses) -> list[Route]:
    """Return the routes, to be put into an archive's application."""
    handlers = {"retention_plan": _plan, "retention_apply": _apply}
    return json_routes(DESCRIBED, handlers, service, workers, gate, addresses)


def retention_round(service: RetentionService) -> Round:
    """Return the daily work by rules, for every tenant; it fails where it would delete much at a time."""

    def run(_tell: Tell) -> str:
        if not service.rules:
            return "no rules: nothing expires"
        done = [service.apply(Context(BY_ITSELF, tenant), is_bounded=True) for tenant in service.tenants()]
        words = "; ".join(map(_in_words, done)) or "no studies"
        if any(one.is_held_back for one in done):
            raise Refused(words)
        return words

    return Round(RETENTION, RETENTION_EVERY_S, run)


def _in_words(applied: Applied) -> str:
    plan = applied.plan
    words = [f"{counted(plan.studies, 'study')} judged", f"{len(applied.corrections)} deleted"]
    words += [f"{count} {name.replace('_', ' ')}" for name, count in sorted(plan.counts.items()) if name != "kept"]
    if applied.is_held_back:
        words.append(
            f"too many to be deleted unasked ({plan.deletable}): look at nearframe retention plan, then nearframe "
            "retention apply"
        )
    if applied.failed:
        words.append(f"{len(applied.failed)} failed, first: {applied.failed[0][1]}")
    return ", ".join(words)


async def _plan(service: RetentionService, workers: Workers, call: Call) -> Any:
    limit = call.query("limit")
    return _plan_json(
        await workers.run(service.plan, call.context), _LISTED if limit is None else number_in(limit, "limit")
    )


async def _apply(service: RetentionService, workers: Workers, call: Call) -> Any:
    await json_object(call, _MAX_BODY_BYTES)
    applied = await workers.run(service.apply, call.context, is_bounded=False)
    return {
        "deleted": len(applied.corrections),
        "corrections": applied.corrections,
        "failed": [{"study": study.study_instance_uid, "why": why} for study, why in applied.failed],
        "plan": _plan_json(applied.plan, 0),
    }


def _plan_json(plan: Plan, limit: int) -> dict[str, Any]:
    return {
        "at": plan.at.isoformat(),
        "studies": plan.studies,
        "counts": dict(plan.counts),
        "deletable": plan.deletable,
        "listed": [_listed_json(one) for one in plan.listed[:limit]],
    }


def _listed_json(one: Listed) -> dict[str, Any]:
    judgement = one.judgement
    return {
        "study": one.study.study_instance_uid,
        "study_date": one.study_date,
        "verdict": "on_hold" if one.is_held else judgement.verdict.value,
        "action": "delete" if judgement.deletes else "report",
        "rules": list(judgement.rules),
        "until": None if judgement.until is None else judgement.until.isoformat(),
        "why": judgement.words,
    }
