"""Legal holds: placed and released by people, minded by every way of changing the archive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nearframe.clock import Clock, SystemClock
from nearframe.context import Context
from nearframe.corrections.asked import Patient
from nearframe.corrections.planning import issuer_of
from nearframe.errors import AccessError
from nearframe.storage.catalogue.corrections import Corrections
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.ports import Held, HoldRecord, NewHold, Release, StudyRef


def _nobody(_studies: Sequence[StudyRef]) -> None:
    pass


class HoldService:
    """Places and releases the holds of an archive. Sync: callers bring threads; any may call.

    Parameters
    ----------
    on_changed
        Told the studies whose holds have changed, once that is recorded: an object store that knows holds of
        its own (S3 Object Lock) brings those of the packs into line, by what `Holds` says then.
    """

    def __init__(
        self,
        holds: Holds,
        corrections: Corrections,
        *,
        clock: Clock | None = None,
        on_changed: Callable[[Sequence[StudyRef]], None] = _nobody,
    ) -> None:
        self.record = holds
        self._corrections = corrections
        self._clock = clock or SystemClock()
        self._on_changed = on_changed

    def place(self, ctx: Context, what: Patient | str, reason: str) -> HoldRecord:
        """Keep a study, by its UID, or every study of a patient, those still to come included.

        Raises
        ------
        NotFound
            If nothing of it is stored.
        Conflict
            If several issuers use the Patient ID, and none is named.
        AccessError
            If it is outside what the caller may reach.
        """
        if isinstance(what, str):
            held = Held(study_instance_uid=what)
        else:
            held = Held(patient_id=what.id, issuer=issuer_of(self._corrections, ctx.tenant, what))
        _check_reach(ctx, held)
        placed = self.record.place(NewHold(ctx.tenant, held, ctx.principal, reason, self._clock.now()))
        self._on_changed(self.record.studies(ctx.tenant, placed.id))
        return placed

    def release(self, ctx: Context, hold_id: int, reason: str) -> HoldRecord:
        """End a hold; raises as `Holds.release`, or `AccessError`."""
        _check_reach(ctx, self.record.find(ctx.tenant, hold_id).held)
        released = self.record.release(ctx.tenant, hold_id, Release(ctx.principal, reason, self._clock.now()))
        self._on_changed(self.record.studies(ctx.tenant, hold_id))
        return released


def _check_reach(ctx: Context, held: Held) -> None:
    # Of a patient everything is held, so that takes a session which may reach everything.
    may = ctx.scope.admits(held.study_instance_uid) if held.study_instance_uid else ctx.scope.studies is None
    if not may:
        raise AccessError("this is outside what the session may reach")
