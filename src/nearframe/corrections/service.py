"""Making corrections: planned, prepared, and recorded in one transaction each.

::

    1. plan       which versions are current, and what becomes of each        (planning)
    2. prepare    headers edited and appended; pieces of another study adopted (revising)
    3. record     contents durable, then one transaction: versions, views, feed, and the record of who and why

If something changed between 1 and 3, nothing is recorded and it all begins again; what was prepared
in vain is noted, to be let go of. A crash before 3 leaves headers of no version, as one while taking
in does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from typing import Final

from nearframe.clock import Clock, SystemClock
from nearframe.context import Context
from nearframe.corrections.asked import Asked, KeepApart
from nearframe.corrections.planning import Planner, Step
from nearframe.corrections.revising import revised
from nearframe.dicom.attributeedit import AttributeEdit
from nearframe.dicom.limits import Limits
from nearframe.errors import Busy
from nearframe.ids import Digest
from nearframe.intake.inuse import StudiesInUse
from nearframe.metrics import CORRECTED_INSTANCES, CORRECTIONS, Metrics
from nearframe.query.freshness import Freshness
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.ports import (
    Catalogue,
    ContentStore,
    CorrectionRecord,
    Mark,
    MergedIdentity,
    NewCorrection,
    Revision,
    StudyRef,
)

_ATTEMPTS: Final = 3  # something of the study may arrive while it is prepared


class CorrectionService:
    """Corrects what an archive holds. Sync: callers bring threads; any may call.

    Parameters
    ----------
    in_use
        Told of each study while it is corrected.
    on_made
        Called once a correction is recorded. Must not block.
    on_vain
        Called with contents that were appended for a correction which did not come about.
    """

    def __init__(
        self,
        contents: ContentStore,
        catalogue: Catalogue,
        corrections: Corrections,
        freshness: Freshness,
        metrics: Metrics,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        in_use: StudiesInUse | None = None,
        on_made: Callable[[], None] = lambda: None,
        on_vain: Callable[[Mapping[StudyRef, Collection[Digest]]], None] = lambda _: None,
    ) -> None:
        self.record = corrections
        self._contents = contents
        self._planner = Planner(catalogue, corrections)
        self._freshness = freshness
        self._metrics = metrics
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        self._in_use = in_use or StudiesInUse()
        self._on_made = on_made
        self._on_vain = on_vain

    def through(self, catalogue: SQLCatalogue) -> CorrectionService:
        """Return this service by another way to its catalogue: a guarded one."""
        other = copy(self)
        other.record = Corrections(catalogue)
        other._planner = Planner(catalogue, other.record)
        return other

    def plan(self, ctx: Context, asked: Asked) -> list[Step]:
        """Return what a correction would be about, and change nothing; raises as `Planner.steps`."""
        return self._planner.steps(ctx, asked.what)

    def make(self, ctx: Context, asked: Asked) -> CorrectionRecord:
        """Make a correction: all of it, durably, or nothing.

        Raises
        ------
        Conflict
            If everything says so already, or an instance cannot be corrected exactly.
        Busy
            If what is corrected keeps changing.
        RequestError
            As `Planner.steps`.
        """
        if isinstance(asked.what, KeepApart):
            identity = self._planner.kept_apart(ctx, asked.what)
            kept_apart = self.record.keep_apart(self._new(ctx, asked.action, asked.reason, asked.detail), identity)
            self._made(kept_apart)
            return kept_apart
        for _ in range(_ATTEMPTS):
            made = self._attempt(ctx, asked)
            if made is not None:
                self._made(made)
                return made
        raise Busy("what is to be corrected changed each time; try again once it has arrived")

    def undo(self, ctx: Context, correction_id: int, reason: str) -> CorrectionRecord:
        """Bring back what was in view before a correction, byte for byte; raises as `Corrections.undo`."""
        made = self.record.undo(correction_id, self._new(ctx, "undo", reason, {"correction": correction_id}))
        self._made(made)
        return made

    def _attempt(self, ctx: Context, asked: Asked) -> CorrectionRecord | None:
        steps = self._planner.steps(ctx, asked.what)
        new = self._new(ctx, asked.action, asked.reason, asked.detail, self._planner.merged(ctx, asked.what))
        with ExitStack() as using:
            for study in set().union(*(step.studies for step in steps)):
                self._in_use.begin(study)
                using.callback(self._in_use.end, study)
            since = self._contents.mark()
            appended: defaultdict[StudyRef, set[Digest]] = defaultdict(set)
            referred: defaultdict[StudyRef, set[Digest]] = defaultdict(set)
            made = None
            try:
                revisions = self._revisions(steps, new, appended, referred, since)
                made = self.record.make(new, revisions, lambda: self._confirm(since, referred))
            finally:
                if made is None and appended:
                    self._on_vain(appended)
            return made

    def _revisions(
        self,
        steps: Sequence[Step],
        new: NewCorrection,
        appended: defaultdict[StudyRef, set[Digest]],
        referred: defaultdict[StudyRef, set[Digest]],
        since: Mark,
    ) -> Iterator[Revision]:
        for step in steps:
            becomes = step.becomes
            if isinstance(becomes, AttributeEdit):
                version = revised(self._contents, step.record, becomes, new.made_at, self._limits, appended)
                if version is not None:
                    referred[version.study] |= version.contents
                    yield Revision(step.record.identity.sop_instance_uid, step.record.version, version)
            else:
                uid = step.record.identity.sop_instance_uid
                yield Revision(uid, step.record.version, becomes, step.may_return)
        if self._contents.is_remote:
            # Beside a request to another machine the catalogue's one writer, perhaps of all origins, would wait.
            self._contents.sync(since)

    def _confirm(self, since: Mark, referred: Mapping[StudyRef, Collection[Digest]]) -> None:
        if self._contents.is_remote:
            self._contents.confirm(since, referred)
        else:
            self._contents.sync(since)

    def _new(
        self, ctx: Context, action: str, reason: str, detail: dict[str, object], merged: MergedIdentity | None = None
    ) -> NewCorrection:
        return NewCorrection(ctx.tenant, action, ctx.principal, reason, self._clock.now(), detail, merged)

    def _made(self, made: CorrectionRecord) -> None:
        self._metrics.add(CORRECTIONS, action=made.action)
        self._metrics.add(CORRECTED_INSTANCES, made.instances)
        for study in self.record.studies_touched(made.tenant, made.id):
            self._freshness.changed(study)
        self._on_made()
