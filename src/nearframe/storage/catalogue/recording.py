"""Taking in: what becomes of each instance, decided within the transaction that stores it."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.place import Place
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.columns import version_columns
from nearframe.storage.catalogue.loading import chunks
from nearframe.storage.catalogue.outcome import Pixels, compare_pixels
from nearframe.storage.catalogue.states import InstanceState, VersionState
from nearframe.storage.ports import NewVersion, Outcome, Recorded


class Draft:
    """A version encoded for its row: the work that needs no transaction."""

    def __init__(self, new: NewVersion) -> None:
        self.new = new
        self.columns = version_columns(new)
        self.place = Place.of(new.metadata).as_json()


def load_for(changes: Changes, batch: Sequence[NewVersion]) -> None:
    """Load what a batch refers to."""
    for tenant in {new.tenant for new in batch}:
        mine = [new.identity for new in batch if new.tenant == tenant]
        changes.load(
            tenant,
            dict.fromkeys(identity.sop_instance_uid for identity in mine),
            dict.fromkeys(identity.study_instance_uid for identity in mine),
        )
    mark_withdrawn(changes)


def mark_withdrawn(changes: Changes) -> None:
    """Tell the instances that a correction took out of view: only what shows nothing can be one."""
    asked = {one.id: one for one in changes.instances.values() if one.current is None and not one.is_new}
    for ids in chunks(asked):
        statement = sa.select(schema.withdrawn.c.instance_id).where(schema.withdrawn.c.instance_id.in_(ids))
        for instance_id in changes.connection.execute(statement).scalars():
            asked[instance_id].is_withdrawn = True


def decide(instance: InstanceState | None, new: NewVersion) -> tuple[Outcome, VersionState | None, Pixels | None]:
    """Return what `new` is to an instance, the version that says so, and how the pixels compare."""
    if instance is None:
        return Outcome.CREATED, None, None
    same = instance.holding(new.file)
    if instance.is_withdrawn:
        return Outcome.WITHDRAWN, same, None
    if same is not None:
        return Outcome.REPEATED, same, None
    current = instance.current
    if current is None:
        return Outcome.CREATED, None, None
    pixels = compare_pixels(current.frames, current.bulk, new.frames, new.bulk)
    return Outcome.REVISED if pixels is Pixels.SAME else Outcome.CONFLICTING, current, pixels


def record(changes: Changes, draft: Draft) -> Recorded:
    """Store one instance; its UIDs are loaded."""
    instance = changes.instance(draft.new.tenant, draft.new.identity.sop_instance_uid)
    outcome, existing, _ = _decide(changes, instance, draft.new)
    return _record(changes, draft, instance, outcome, existing)


def record_decided(changes: Changes, draft: Draft) -> Recorded | VersionState:
    """Store one instance, or return the current version if decoding has to decide."""
    instance = changes.instance(draft.new.tenant, draft.new.identity.sop_instance_uid)
    outcome, existing, pixels = _decide(changes, instance, draft.new)
    if pixels is Pixels.UNKNOWN and existing is not None:
        return existing
    return _record(changes, draft, instance, outcome, existing)


def _decide(
    changes: Changes, instance: InstanceState, new: NewVersion
) -> tuple[Outcome, VersionState | None, Pixels | None]:
    """Decide as things stand: what would take an instance out of a hold is kept, and somebody has to look at it."""
    outcome, existing, pixels = decide(instance, new)
    if outcome is Outcome.REVISED:
        study = changes.place(new.tenant, new.identity).study
        if not changes.may_become(instance, study, new.attributes):
            outcome = Outcome.CONFLICTING
    return outcome, existing, pixels


def _record(
    changes: Changes, draft: Draft, instance: InstanceState, outcome: Outcome, existing: VersionState | None
) -> Recorded:
    new = draft.new
    identity = new.identity
    if outcome in (Outcome.REPEATED, Outcome.WITHDRAWN) and existing is not None:
        detail = _detail(outcome, new)
        changes.event("received", new.tenant, identity, existing.number, detail)
        return Recorded(outcome, existing.number, 0)
    version = changes.file(instance, changes.place(new.tenant, identity), draft.columns)
    if outcome is Outcome.CONFLICTING and existing is not None:
        changes.conflict(instance, version, existing)
        seq = 0
    elif outcome is Outcome.WITHDRAWN:
        seq = 0
    else:
        seq = changes.make_current(instance, version, new.attributes)
    detail = _detail(outcome, new) | {"place": draft.place}
    changes.event("durable", new.tenant, identity, version.number, detail)
    return Recorded(outcome, version.number, seq)


def _detail(outcome: Outcome, new: NewVersion) -> DICOMJSON:
    return {"outcome": outcome.name.lower(), "source": new.source, "file": new.file.hex()}


def remove(changes: Changes, instance: InstanceState) -> None:
    """Withdraw an instance and hide every version of it; raises `OnHold` if it has to stay in view."""
    changes.withdraw(instance)
    for version in instance.versions.values():
        version.change(removed=True)
    instance.is_changed = True
