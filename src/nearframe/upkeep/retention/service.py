"""Retention, looked at and done: what is due by the rules, and its deletion, each with a record.

A deletion by retention is a correction like any other: it can be undone until it is purged, and
what it took out of view may be stored again, since nothing was wrong with it. By itself an
archive deletes little at a time (`MAX_SHARE`): a rule or a clock that is wrong should be noticed
before everything is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

from nearframe import log
from nearframe.clock import Clock, SystemClock
from nearframe.context import Context
from nearframe.corrections.asked import Asked, Expire, Selection
from nearframe.corrections.service import CorrectionService
from nearframe.errors import AccessError, NearframeError
from nearframe.storage.catalogue.expiring import Expiring, FiledStudy
from nearframe.storage.ports import StudyRef
from nearframe.upkeep.retention.rules import Judgement, Rule, StudyFacts, Verdict, judge, read_date

#: What an archive deletes by itself in one go: of its studies this share, or so many.
MAX_SHARE: Final = 0.01
MAX_STUDIES: Final = 100
#: What came lately is not due, however old it is: somebody brought it here for a reason.
SETTLED: Final = timedelta(days=30)
#: Studies of one verdict that are listed one by one, and deleted in one go.
MAX_LISTED: Final = 10_000

_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """A study of a plan: due, on hold although it is due, or not to be judged."""

    study: StudyRef
    study_date: str
    judgement: Judgement
    is_held: bool = False


@dataclass(slots=True)
class Plan:
    """What the rules come to now.

    Attributes
    ----------
    counts
        Studies by verdict, ``on_hold`` and ``just_came`` among them.
    listed
        Those that are due, on hold, or cannot be judged; of each kind the first `MAX_LISTED`.
    deletable
        Those that are due by rules all of which delete.
    """

    at: datetime
    studies: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    listed: list[Listed] = field(default_factory=list)
    deletable: int = 0


@dataclass(slots=True)
class Applied:
    """What became of a plan.

    Attributes
    ----------
    corrections
        Their numbers, one for each study that was deleted.
    failed
        Studies that were left, and why.
    is_held_back
        Nothing was deleted, since it would have been too much at once.
    """

    plan: Plan
    corrections: list[int] = field(default_factory=list)
    failed: list[tuple[StudyRef, str]] = field(default_factory=list)
    is_held_back: bool = False


class RetentionService:
    """Judges the studies of an archive, and deletes those that are due. Sync: callers bring threads."""

    def __init__(
        self,
        rules: Sequence[Rule],
        studies: Expiring,
        corrections: CorrectionService,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self._studies = studies
        self._corrections = corrections
        self._clock = clock or SystemClock()

    def tenants(self) -> list[str]:
        """Return the tenants that have studies to judge."""
        return self._studies.tenants()

    def plan(self, ctx: Context) -> Plan:
        """Judge every study, and change nothing."""
        if ctx.scope.studies is not None:
            raise AccessError("retention is about every study, and the session reaches some of them")
        plan = Plan(self._clock.now())
        for one, verdict, judgement in self._judged(ctx.tenant, plan.at):
            plan.studies += 1
            plan.counts[verdict] += 1
            if verdict not in (Verdict.DUE.value, Verdict.CANNOT_JUDGE.value, "on_hold"):
                continue
            plan.deletable += verdict == Verdict.DUE.value and judgement.deletes
            if plan.counts[verdict] <= MAX_LISTED:
                plan.listed.append(Listed(one.study, one.study_date, judgement, one.is_held))
        return plan

    def apply(self, ctx: Context, *, is_bounded: bool) -> Applied:
        """Delete what is due, as far as its rules delete.

        Parameters
        ----------
        is_bounded
            Delete nothing if it is too much to be done by itself.
        """
        applied = Applied(self.plan(ctx))
        plan = applied.plan
        if is_bounded and plan.deletable > max(MAX_STUDIES, plan.studies * MAX_SHARE):
            applied.is_held_back = True
            _log.warning("retention_held_back", due=plan.deletable, studies=plan.studies)
            return applied
        for one in plan.listed:
            if one.judgement.verdict is Verdict.DUE and one.judgement.deletes and not one.is_held:
                self._delete(ctx, one, applied)
        return applied

    def _judged(self, tenant: str, now: datetime) -> Iterator[tuple[FiledStudy, str, Judgement]]:
        today = now.astimezone(UTC).date()
        for one in self._studies.studies(tenant):
            facts = StudyFacts(one.study_date, one.birth_date, one.series)
            found = judge(self.rules, facts, None, today)
            if found.verdict is Verdict.DUE and any(
                rule.counts_from_last and rule.name in found.rules for rule in self.rules
            ):
                found = judge(self.rules, facts, self._last_study(one, today), today)
            verdict = found.verdict.value
            if found.verdict is Verdict.DUE and one.is_held:
                verdict = "on_hold"
            elif found.verdict is Verdict.DUE and self._just_came(one.study, now):
                verdict = "just_came"
            yield one, verdict, found

    def _last_study(self, one: FiledStudy, today: date) -> str:
        """Return the date of the patient's latest study, empty if that cannot be told."""
        if not one.patient_id:
            return ""
        dates = self._studies.dates_of_patient(one.study.tenant, one.patient_id, one.issuer)
        # One that cannot be true, such as the first day of a century, may stand for a later one than all others.
        return max(dates, default="") if all(read_date(each, today) for each in dates) else ""

    def _just_came(self, study: StudyRef, now: datetime) -> bool:
        last = self._studies.last_received(study)
        return last is not None and now - last < SETTLED

    def _delete(self, ctx: Context, one: Listed, applied: Applied) -> None:
        until, rules = one.judgement.until, one.judgement.rules
        reason = f"kept until {until} by {', '.join(rules)}"
        detail = {"study": one.study.study_instance_uid, "until": str(until), "rules": list(rules)}
        what = Expire(Selection(study=one.study.study_instance_uid))
        try:
            made = self._corrections.make(ctx, Asked("retention", reason, what, detail))
        except NearframeError as error:  # it changed meanwhile, is on hold now, or is being taken in
            applied.failed.append((one.study, str(error)))
        else:
            applied.corrections.append(made.id)
