"""Taking over what an upstream decided, beside what was taken in here and it has not decided on yet.

A version is the upstream's, and its source says so, or it is *local*. Local versions have
numbers of this node until the upstream has given them others; they stay in view until it
has decided. From then on what it shows is shown here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from nearframe.ids import Digest, Identity
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.outcome import Pixels, compare_pixels
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.catalogue.recording import Draft, remove
from nearframe.storage.catalogue.states import InstanceState, VersionState
from nearframe.storage.ports import AGAIN, UPSTREAM, Settled, StudyRef

_SAVE_PLACE = Prepared(
    sa.update(schema.version)
    .where(schema.version.c.id == sa.bindparam("id_"))
    .values(number=sa.bindparam("number_"), source=sa.bindparam("source_"))
)
_TOLD = ("file", "transfer_syntax_uid", "hdr", "pieces", "bulk", "pixel", "frames", "notes", "metadata")
_TOLD_OF = Prepared(
    sa.select(*(schema.version.c[name] for name in _TOLD)).where(schema.version.c.id == sa.bindparam("id_"))
)


class Replication:
    """One transaction's worth; the UIDs of everything it is told about are loaded."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        #: Versions that were local until this transaction.
        self._handed_over: set[int] = set()

    def settle(self, tenant: str, settled: Settled) -> None:
        """Hand local versions over that the upstream has recorded, under the numbers it gave them."""
        for (sop_instance_uid, file), number in settled.items():
            instance = self._changes.instances.get((tenant, sop_instance_uid))
            version = None if instance is None else _local(instance, file)
            if instance is None or version is None:
                continue
            self._make_way(instance, number, version)
            self._place(instance, version, version.number if number in instance.versions else number, UPSTREAM)
            self._handed_over.add(version.id)

    def take(self, draft: Draft, number: int, is_current: bool) -> None:
        """Store a version under the number its upstream gave it."""
        new, changes = draft.new, self._changes
        instance = changes.instance(new.tenant, new.identity.sop_instance_uid)
        shown = instance.current
        same = _local(instance, new.file)
        here = self._file(instance, draft, number, same)
        if same is not None and same is not here:
            same.change(removed=True)  # from now on it is known by the upstream's number
        if not is_current:
            if instance.current is here or instance.current is same:
                changes.withdraw(instance)
        elif instance.current is not here and not self._stays_behind(instance, here, shown, same):
            changes.make_current(instance, here, new.attributes)

    def keep(self, tenant: str, sop_instance_uid: str, files: Collection[Digest]) -> None:
        """Make versions local that an upstream lost when it was restored: they stay, and are forwarded in order."""
        instance = self._changes.instances.get((tenant, sop_instance_uid))
        if instance is None:
            return
        for version in list(instance.versions.values()):
            if version.file in files and not version.is_removed and not _is_local(version):
                self._keep(instance, version)

    def drop(self, study: StudyRef, sop_instance_uid: str) -> None:
        """Take an instance out of a study that its upstream no longer has there; elsewhere it stays."""
        instance = self._changes.instances.get((study.tenant, sop_instance_uid))
        if instance is None or instance.current is None:
            return
        if instance.current.series.study.uid != study.study_instance_uid:
            return
        if not any(_is_local(version) and not version.is_removed for version in instance.versions.values()):
            remove(self._changes, instance)
            return
        if not _is_local(instance.current):
            self._changes.withdraw(instance)
        for version in instance.versions.values():
            if not _is_local(version):
                version.change(removed=True)
        instance.is_changed = True

    def _keep(self, instance: InstanceState, version: VersionState) -> None:
        self._place(instance, version, version.number, AGAIN)
        series = version.series
        identity = Identity(version.sop_class_uid, instance.uid, series.uid, series.study.uid)
        detail = {"outcome": "kept", "source": AGAIN, "file": version.file.hex()}
        self._changes.event("durable", instance.tenant, identity, version.number, detail)

    def _file(self, instance: InstanceState, draft: Draft, number: int, same: VersionState | None) -> VersionState:
        """Return the version with a number, which now is what the upstream says."""
        new, changes = draft.new, self._changes
        self._make_way(instance, number, same)
        columns = draft.columns | {"source": UPSTREAM}
        here = instance.versions.get(number)
        if here is None:
            here = changes.file(instance, changes.place(new.tenant, new.identity), columns, number)
            detail = {"outcome": "replicated", "source": UPSTREAM}
            changes.event("durable", new.tenant, new.identity, number, detail)
        elif here is same or here.is_removed or self._differs(here, columns):
            changes.replace(instance, here, changes.place(new.tenant, new.identity), columns)
        return here

    def _stays_behind(
        self, instance: InstanceState, here: VersionState, shown: VersionState | None, same: VersionState | None
    ) -> bool:
        """Return whether what the upstream shows is not shown here: a later header of it waits to be sent.

        Where pixels differ the upstream's are shown, as they will be once it has decided.
        """
        if shown is None or shown is here or shown is same:
            return False
        waits = _is_local(shown)
        if not waits and shown.id not in self._handed_over:
            return False
        if compare_pixels(here.frames, here.bulk, shown.frames, shown.bulk) is not Pixels.SAME:
            self._changes.conflict(instance, shown, here)
            return False
        if waits:
            # Current for no time at all: `reading.replica` finds it as the last that the upstream showed.
            self._changes.touch(here.series)
            seq = here.series.study.seq
            here.change(current_from_seq=seq, current_to_seq=seq)
            instance.is_changed = True
        return waits

    def _differs(self, here: VersionState, columns: dict[str, Any]) -> bool:
        """Return whether a version is told otherwise than it stands here: a later release may describe it anew."""
        (row,) = _TOLD_OF.rows(self._changes.connection, id_=here.id)
        return any(row[name] != columns[name] for name in _TOLD)

    def _make_way(self, instance: InstanceState, number: int, but: VersionState | None) -> None:
        """Give a local version that stands at the upstream's number another one."""
        held = instance.versions.get(number)
        if held is not None and held is not but and _is_local(held):
            free = max(instance.last_number, number) + 1
            self._place(instance, held, free, held.row["source"])

    def _place(self, instance: InstanceState, version: VersionState, number: int, source: str) -> None:
        if instance.current is version and version.number != number:
            self._changes.touch(version.series)  # its number is part of the study's state
        del instance.versions[version.number]
        version.number = number
        version.row |= {"number": number, "source": source}
        instance.versions[number] = version
        instance.last_number = max(instance.last_number, number)
        instance.is_changed = True
        # At once: numbers are unique at the end of every statement.
        _SAVE_PLACE.run(self._changes.connection, [{"id_": version.id, "number_": number, "source_": source}])


def _is_local(version: VersionState) -> bool:
    return bool(version.row["source"] != UPSTREAM)


def _local(instance: InstanceState, file: Digest) -> VersionState | None:
    """Return the local version with these bytes, if one is in view."""
    for version in instance.versions.values():
        if version.file == file and _is_local(version) and not version.is_removed:
            return version
    return None
