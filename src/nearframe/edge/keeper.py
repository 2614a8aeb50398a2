"""What an edge knows of its studies' urgency while it runs: classes, pins, consults, last use.

Rows are in memory (`TierRows`), written behind by `TierFile`. A request costs two look-ups and, once every
few seconds for a study, a row to be written later: the clock itself is read by nobody on the
way of a frame.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from nearframe import log, tasks
from nearframe.cache.sizedlru import SizedLRU
from nearframe.cache.tiers import Lifetimes, combined
from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.edge.facts import StudyFacts, facts_of
from nearframe.edge.routes import Asked, RequestFacts, RouteTable
from nearframe.edge.tierrows import TierRows
from nearframe.edge.tiers import Consult, Departed, StudyTier, TierFile
from nearframe.errors import Busy, NotFound
from nearframe.query.manifests import Manifests
from nearframe.query.status import TierCounts
from nearframe.query.workers import Workers
from nearframe.storage.ports import GivenUrgency, StudyRef

#: How exact "last opened" is, and how much of it a crash may lose.
TICK_S: Final = 5.0
#: For so long after somebody read a study, what others fetch of it is kept too.
WANTED_S: Final = 600.0
#: A consult that nobody closes ends by itself.
CONSULT_S: Final = 24 * 3600.0
#: A few people talk about a study at a time. A client that opens one again and again would hold it for a day.
MAX_CONSULTS_OF_STUDY: Final = 16
MAX_CONSULTS: Final = 1000
_FACTS_KEPT: Final = 10_000
_REROUTED_AT_ONCE: Final = 20  # each may build a manifest

_log = log.logger(__name__)


class Keeper:
    """The urgency of an edge's studies. For one event loop, but for `grew`.

    Attributes
    ----------
    on_open
        Told of a study that somebody begins to read, and of those that a consult raises.
    """

    def __init__(
        self,
        file: TierFile,
        manifests: Manifests,
        workers: Workers,
        *,
        table: RouteTable,
        lifetimes: Lifetimes,
        clock: Clock,
    ) -> None:
        self.table = table
        self.lifetimes = lifetimes
        self.on_open: Callable[[StudyTier], None] = lambda _tier: None
        self._file = file
        self._manifests = manifests
        self._workers = workers
        self._clock = clock
        self._rows = TierRows(file, workers)
        self._consults: dict[str, Consult] = {}
        self._facts: SizedLRU[StudyRef, StudyFacts] = SizedLRU(_FACTS_KEPT)
        self._ticking: asyncio.Task[None] | None = None
        self.now = clock.now().timestamp()

    # -- life ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take over what was kept, and begin to write behind."""
        for tier in self._file.kept.studies:
            self._put(tier)
        for consult in self._file.kept.consults:
            self._raise(consult)
        self.tick()
        self._ticking = tasks.spawn(self._keep_ticking(), name="keep tiers")

    async def close(self) -> None:
        """Write what is left."""
        if self._ticking is not None:
            await tasks.cancel([self._ticking])
        await self.save()

    def tick(self) -> None:
        """Look at the clock: classes that ended end, and so do consults that nobody closed."""
        self.now = self._clock.now().timestamp()
        for tier in self:
            if tier.until is not None and self.now >= tier.until:
                tier.decide(self.now)
                self._rows.note(tier)

    async def save(self) -> None:
        """Write the rows that changed; durable on return."""
        await self._rows.save()

    async def _keep_ticking(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()
            try:
                await self.end_consults()
                await self.reroute()
                await self.save()
            except Exception as error:  # noqa: BLE001 - the next tick tries again
                _log.warning("tiers_not_saved", error=error)

    # -- looking up --------------------------------------------------------------------------

    def __iter__(self) -> Iterator[StudyTier]:
        return iter(self._rows)

    def find(self, study: StudyRef) -> StudyTier | None:
        """Return a study's row, or None if this edge does not follow it."""
        return self._rows.find(study.tenant, study.study_instance_uid)

    def get(self, study: StudyRef) -> StudyTier:
        """Return a study's row; raises `NotFound`."""
        tier = self.find(study)
        if tier is None:
            raise NotFound("study")
        return tier

    def same_patient(self, tier: StudyTier) -> list[StudyTier]:
        """Return the other studies of a study's patient."""
        return self._rows.same_patient(tier)

    @property
    def open_consults(self) -> int:
        """How many consults are open."""
        return len(self._consults)

    def counts(self) -> tuple[dict[str, TierCounts], int]:
        """Return how many studies there are of each class, and how many may not go."""
        return self._rows.counts()

    def consults_of(self, study: StudyRef) -> list[Consult]:
        """Return the open consults about a study."""
        return [one for one in self._consults.values() if one.studies[0] == study]

    @property
    def moment(self) -> datetime:
        """The time."""
        return self._clock.now()

    @property
    def local_now(self) -> datetime:
        """The time of day here: DICOM's dates have no zone."""
        return self._clock.now().astimezone().replace(tzinfo=None)

    async def facts(self, study: StudyRef) -> StudyFacts:
        """Return what rules look at in a study; raises `NotFound`."""
        known = self._facts.get(study)
        if known is None:
            manifest = (await self._manifests.current(study)).manifest
            known = await self._workers.run(facts_of, manifest, self._file.patient_key)
            self._facts.put(study, known, 1)
        return known

    # -- requests ------------------------------------------------------------------------------

    def asked(self, tenant: str, uid: str, urgency: Urgency, request: RequestFacts | None, *, is_use: bool) -> Urgency:
        """Return the class of a request, and note that the study is used.

        Parameters
        ----------
        request
            Needed if the table looks at requests.
        is_use
            True if it reads the study, rather than asks about it.
        """
        tier = self._rows.find(tenant, uid)
        if tier is None:
            return urgency
        of_study = tier.urgency
        if request is not None and self.table.looks_at_requests:
            urgency, of_study = self._by_request(tier, urgency, request)
        decided = combined(urgency, of_study)
        if is_use and tier.wanted_at != self.now and decided is not Urgency.BULK:
            self._used(tier)
        return decided

    def _by_request(self, tier: StudyTier, urgency: Urgency, request: RequestFacts) -> tuple[Urgency, Urgency]:
        facts = self._facts.get(tier.study)
        rule = self.table.decide(Asked(facts or StudyFacts(), self.local_now, request))
        if not rule.is_of_requests:
            return urgency, tier.urgency
        # What the administrator calls bulk is bulk, whatever the request says of itself.
        return (rule.urgency, rule.urgency) if rule.urgency is Urgency.BULK else (urgency, rule.urgency)

    def _used(self, tier: StudyTier) -> None:
        begins = self.now - tier.wanted_at > WANTED_S
        tier.wanted_at = tier.used_at = self.now
        self._rows.note(tier)
        if begins:
            self.on_open(tier)

    def wanted(self, tier: StudyTier) -> None:
        """Say that a study is being fetched ahead: what comes of it is kept."""
        tier.wanted_at = self.now

    def is_wanted(self, study: StudyRef) -> bool:
        """Return whether what comes of a study is for somebody to read; safe in any thread."""
        tier = self.find(study)
        return tier is None or tier.is_held or self.now - tier.wanted_at <= WANTED_S

    def grew(self, study: StudyRef, size_bytes: int) -> None:
        """Count what was written on behalf of a study; safe in any thread."""
        with self._rows.changing():
            tier = self.find(study) or self._put(StudyTier(study, self.now))
            tier.held_bytes += size_bytes
            self._rows.note(tier)

    @contextmanager
    def changing(self, tier: StudyTier) -> Iterator[None]:
        """Change what `grew` counts; safe in any thread."""
        with self._rows.changing():
            yield
            self._rows.note(tier)

    # -- the feed --------------------------------------------------------------------------------

    async def arrived(self, study: StudyRef) -> StudyTier:
        """Take note of a study that came or changed; raises `NotFound` if it is gone again."""
        self._facts.discard(study)
        facts = await self.facts(study)
        tier = self.find(study) or self._put(StudyTier(study, self.now))
        if facts.frame_bytes > tier.frame_bytes:  # images came; a correction makes nothing younger
            tier.used_at = self.now
            tier.departed = Departed.NOT
        self._describe(tier, facts)
        self._rows.note(tier)
        return tier

    async def removed(self, study: StudyRef) -> None:
        """Forget a study that is not followed any more."""
        self._facts.discard(study)
        await self._rows.forget(study)

    def _describe(self, tier: StudyTier, facts: StudyFacts) -> None:
        rule = self.table.decide(Asked(facts, self.local_now))
        tier.routed, tier.route = rule.urgency, rule.written
        self._rows.of_patient(tier, facts.patient)
        tier.frame_bytes = facts.frame_bytes
        tier.modalities, tier.body_parts = "\\".join(sorted(facts.modalities)), "\\".join(sorted(facts.body_parts))
        tier.acquired_at = "" if facts.acquired_at is None else facts.acquired_at.isoformat()
        tier.reroute_at = self._next_age(tier)
        tier.decide(self.now)

    async def reroute(self) -> None:
        """Ask the table again about studies that have reached an age it looks at; a few at a time."""
        due = [tier for tier in self if tier.reroute_at <= self.now]
        for tier in due[:_REROUTED_AT_ONCE]:
            try:
                self._describe(tier, await self.facts(tier.study))
            except NotFound:  # gone again: the feed will say so
                tier.reroute_at = math.inf
            self._rows.note(tier)

    def _next_age(self, tier: StudyTier) -> float:
        acquired_at = datetime.fromisoformat(tier.acquired_at) if tier.acquired_at else None
        rest = self.table.holds_for(acquired_at, self.local_now)
        # A little later: at the very moment neither age has passed.
        return math.inf if rest is None else self.now + rest.total_seconds() + 1

    def _put(self, tier: StudyTier) -> StudyTier:
        self._rows.put(tier)
        tier.reroute_at = self._next_age(tier)
        tier.decide(self.now)
        self._rows.counted(tier)
        return tier

    # -- what people say -----------------------------------------------------------------------

    async def give(self, study: StudyRef, given: GivenUrgency | None) -> StudyTier:
        """Give a study a class, or with None take back what was given; durable on return."""
        tier = self.get(study)
        was = tier.urgency
        tier.given, tier.reason, tier.until = None, "", None
        if given is not None:
            until = None if given.until is None else given.until.timestamp()
            tier.given, tier.reason, tier.until = given.urgency, given.reason, until
        if tier.decide(self.now) < was:
            tier.used_at = self.now
            self.on_open(tier)
        await self._save_now(tier)
        return tier

    async def pin(self, study: StudyRef, *, pinned: bool) -> StudyTier:
        """Pin a study, or let it loose; durable on return."""
        tier = self.get(study)
        tier.is_pinned = pinned
        await self._save_now(tier)
        return tier

    async def open_consult(self, study: StudyRef, urgency: Urgency, priors: list[StudyTier], reason: str) -> Consult:
        """Raise a study to a class, and priors to active, until the consult is closed; durable on return.

        Raises
        ------
        NotFound
            If this edge does not follow the study.
        Busy
            If too many are open, of this study or of all.
        """
        self.get(study)
        if len(self._consults) >= MAX_CONSULTS or len(self.consults_of(study)) >= MAX_CONSULTS_OF_STUDY:
            raise Busy("too many consults are open already: close some, or wait for their end")
        studies = (study, *(prior.study for prior in priors))
        consult = Consult(secrets.token_hex(8), studies, urgency, reason, self.now, self.now + CONSULT_S)
        await self._workers.run(self._file.save_consult, consult)
        for tier in self._raise(consult):
            self._used(tier)
            self.on_open(tier)
        return consult

    async def close_consult(self, study: StudyRef, consult_id: str | None = None) -> list[Consult]:
        """Close a consult about a study, or all of them; its studies keep the class for its lifetime.

        Raises
        ------
        NotFound
            If there is none.
        """
        closing = [one for one in self.consults_of(study) if consult_id in (None, one.id)]
        if not closing:
            raise NotFound("open consult")
        for consult in closing:
            await self._close(consult)
        await self.save()
        return closing

    def _raise(self, consult: Consult) -> list[StudyTier]:
        self._consults[consult.id] = consult
        raised: list[StudyTier] = []
        for place, study in enumerate(consult.studies):
            tier = self.find(study)
            if tier is not None:
                urgency = consult.urgency if place == 0 else max(consult.urgency, Urgency.ACTIVE)
                tier.consults = (tier.consults or {}) | {consult.id: urgency}
                tier.decide(self.now)
                self._rows.counted(tier)
                raised.append(tier)
        return raised

    async def _close(self, consult: Consult) -> None:
        await self._workers.run(self._file.close_consult, consult.id)
        self._consults.pop(consult.id, None)
        for study in consult.studies:
            tier = self.find(study)
            if tier is None or not tier.consults:
                continue
            urgency = tier.consults.pop(consult.id, tier.urgency)
            if tier.given is None or tier.given > urgency:
                ends_at = self.now + self.lifetimes.of(urgency)
                tier.given, tier.reason, tier.until = urgency, "consult closed", ends_at
            tier.used_at = self.now
            tier.decide(self.now)
            self._rows.note(tier)

    async def end_consults(self) -> None:
        """Close the consults whose time has passed."""
        for consult in [one for one in self._consults.values() if self.now >= one.ends_at]:
            await self._close(consult)

    async def _save_now(self, tier: StudyTier) -> None:
        self._rows.note(tier)
        await self.save()
