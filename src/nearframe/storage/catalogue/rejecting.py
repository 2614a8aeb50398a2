"""Honouring rejection notes, in the transaction that stores them.

What a note names goes out of view, and the note with it: who looks at the study sees neither.
Both stay, the note readable by its version, and the record says who sent it. What a note names
and is not here yet does not come into view when it comes. A note about something on legal hold
is stored like any object, and nothing comes of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from nearframe.dicom.rejection import RejectionNote, rejection_note
from nearframe.ids import Identity
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.correcting import Correcting
from nearframe.storage.catalogue.recording import mark_withdrawn
from nearframe.storage.catalogue.states import InstanceState
from nearframe.storage.ports import NewCorrection, NewVersion, Outcome

#: A note that was held already was honoured then; one that is not current has another note's UID.
_HONOURED = (Outcome.CREATED, Outcome.REVISED)


def honour(changes: Changes, stored: Sequence[tuple[NewVersion, Outcome]]) -> None:
    """Do what those of the stored objects ask for that are rejection notes."""
    for new, outcome in stored:
        note = rejection_note(new.metadata) if outcome in _HONOURED else None
        if note is not None:
            _honour(changes, new, note)


def _honour(changes: Changes, new: NewVersion, note: RejectionNote) -> None:
    changes.load(new.tenant, [one.sop_instance_uid for one in note.rejected], [])
    mark_withdrawn(changes)
    named = [(changes.instance(new.tenant, one.sop_instance_uid), one) for one in note.rejected]
    rejected = [instance for instance, identity in named if _is_meant(instance, identity)]
    if not rejected or any(_is_on_hold(changes, instance) for instance in rejected):
        return
    detail = {"note": new.identity.sop_instance_uid, "code": note.rejection.code}
    asked = NewCorrection(new.tenant, "reject", new.source, note.rejection.meaning, new.received_at, detail)
    correcting = Correcting(changes, asked)
    for instance in (*rejected, changes.instance(new.tenant, new.identity.sop_instance_uid)):
        correcting.withdraw(instance, may_return=note.rejection.may_return)
    correcting.close()


def _is_on_hold(changes: Changes, instance: InstanceState) -> bool:
    return instance.current is not None and bool(changes.holding.on(instance.current.series.study))


def _is_meant(instance: InstanceState, identity: Identity) -> bool:
    """Return whether an instance is the one that a note names: filed there, of that class, and not out of view yet."""
    current = instance.current
    if current is None:
        return not instance.is_withdrawn
    filed = current.series.study.uid, current.series.uid, current.sop_class_uid
    return filed == (identity.study_instance_uid, identity.series_instance_uid, identity.sop_class_uid)
