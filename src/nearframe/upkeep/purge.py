"""Purging: what was deleted long enough ago goes for good, its bytes out of the packs too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nearframe.clock import Clock, SystemClock
from nearframe.context import BY_ITSELF, Context
from nearframe.errors import AccessError, Busy, Conflict, OnHold
from nearframe.intake.inuse import StudiesInUse
from nearframe.metrics import PURGED_INSTANCES, Metrics
from nearframe.query.freshness import Freshness
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.catalogue.purging import Due, Purging
from nearframe.storage.ports import CorrectionRecord, NewCorrection, StudyRef
from nearframe.storage.stores import Store


@dataclass(slots=True)
class Purged:
    """What a purge did.

    Attributes
    ----------
    put_off
        Studies of which something was being taken in: the next purge has them.
    freed_bytes
        By how much the packs became smaller.
    skipped
        Packs that could not be rewritten: a bucket's hold keeps them, or a scrub should look at them.
    is_erased
        The packs are rid of everything that was let go of.
    records
        Of what was purged, one for each study, or for studies that share instances.
    """

    instances: int = 0
    put_off: int = 0
    freed_bytes: int = 0
    skipped: int = 0
    is_erased: bool = False
    records: list[CorrectionRecord] = field(default_factory=list)


class Purger:
    """Purges one archive. Sync: callers bring threads; any may call.

    Parameters
    ----------
    in_use
        Of nothing that is being taken in here are contents let go. Where another process takes in, it finds
        that out (`ContentStore.confirm`).
    may_erase
        Whether this process looks after the store: of those that share it, one rewrites packs.
    grace
        How long what was deleted can be brought back; None for ever.
    """

    def __init__(
        self,
        purging: Purging,
        holds: Holds,
        packs: Store,
        in_use: StudiesInUse,
        freshness: Freshness,
        metrics: Metrics,
        *,
        grace: timedelta | None,
        may_erase: Callable[[], bool] = lambda: True,
        clock: Clock | None = None,
    ) -> None:
        self._purging = purging
        self._holds = holds
        self._packs = packs
        self._in_use = in_use
        self._freshness = freshness
        self._metrics = metrics
        self._grace = grace
        self._may_erase = may_erase
        self._clock = clock or SystemClock()

    def run(self, pace: Callable[[int], None]) -> Purged:
        """Purge what was deleted before the grace period, and finish what an earlier purge began."""
        done = Purged()
        if self._grace is not None:
            before = self._clock.now() - self._grace
            reason = f"deleted more than {self._grace.days} days ago"
            while self._purge(self._purging.due(before), before, BY_ITSELF, reason, done):
                pass
        self._let_go(done)
        if self._may_erase():
            self._erase(pace, done)
        else:
            done.is_erased = not self._purging.letting_go()
        return done

    def waits(self) -> bool:
        """Return whether something that was let go of may still be in the packs, and is this process's to erase."""
        return self._may_erase() and bool(self._purging.letting_go())

    def purge_study(self, ctx: Context, study: StudyRef, reason: str) -> Purged:
        """Purge what was deleted of a study, whenever that was; its bytes go with the next `run`.

        Raises
        ------
        OnHold
            If a legal hold keeps it.
        Conflict
            If nothing of it is deleted, or it is being taken in.
        """
        if not ctx.scope.admits(study.study_instance_uid):
            raise AccessError("this study is outside what the session may reach")
        if holds := self._holds.latest(study.tenant, study_instance_uid=study.study_instance_uid):
            raise OnHold([hold.id for hold in holds])
        done, before = Purged(), self._clock.now() + timedelta(seconds=1)
        while self._purge(self._purging.due(before, study), before, ctx.principal, reason, done):
            pass
        if not done.records:
            raise Conflict("nothing of this study is deleted, or objects of it are being taken in; delete it first")
        self._let_go(done)
        return done

    def _purge(self, due: Iterable[Due], before: datetime, principal: str, reason: str, done: Purged) -> int:
        """Purge what is due, as far as that is possible now; return how many instances."""
        count = 0
        for one in due:
            studies = sorted(one.studies, key=lambda study: study.study_instance_uid)
            detail = {"studies": [study.study_instance_uid for study in studies]}
            new = NewCorrection(one.tenant, "purge", principal, reason, self._clock.now(), detail)
            try:
                with ExitStack() as alone:
                    for study in studies:
                        alone.enter_context(self._in_use.alone(study))
                    made = self._purging.purge(one, before, new)
            except Busy:
                done.put_off += 1
                continue
            if made is not None:
                done.records.append(made)
                count += made.instances
                for study in studies:
                    self._freshness.changed(study)
        done.instances += count
        self._metrics.add(PURGED_INSTANCES, count)
        return count

    def _let_go(self, done: Purged) -> None:
        for one in self._purging.letting_go():
            if one.is_released:
                continue
            try:
                with self._in_use.alone(one.study):
                    self._purging.let_go(one, self._packs.let_go)
            except Busy:
                done.put_off += 1

    def _erase(self, pace: Callable[[int], None], done: Purged) -> None:
        """Take what was let go of out of the packs: what the index says is gone may be read with the root key."""
        waiting = self._purging.letting_go()
        released = [one.id for one in waiting if one.is_released]
        if released:
            compacted = self._packs.erase(pace)
            done.freed_bytes = compacted.freed_bytes
            done.skipped = compacted.skipped
            if not compacted.skipped:
                self._purging.erased(released)
        done.is_erased = len(released) == len(waiting) and not done.skipped
