"""Correcting, within the transaction that does it: one instance after the other, and the record of it.

Every move is one of `Changes`: a correction files a version and makes it current, or withdraws
an instance. What was current before stays, and is readable by its number. A version that is
to be current again is filed once more, with the same bytes and a number of its own: which
state the study had at which sequence stays known, and numbers only grow.
"""

from __future__ import annotations

import json
from typing import Any, Final

import sqlalchemy as sa

from nearframe.dicom.attributes import attributes_of
from nearframe.dicom.model import Attributes
from nearframe.errors import Conflict
from nearframe.ids import Identity
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.attributes import dump
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.loading import chunks
from nearframe.storage.catalogue.recording import Draft
from nearframe.storage.catalogue.states import InstanceState, SeriesState, VersionState
from nearframe.storage.catalogue.values import microseconds, unpack_metadata
from nearframe.storage.ports import NewCorrection

#: Columns of a version that say what it is, not where and when it was recorded.
_OWN: Final = tuple(
    column
    for column in schema.version.c
    if column.name
    not in ("id", "instance_id", "number", "study_id", "series_id", "current_from_seq", "current_to_seq", "removed")
)
_HASHES: Final = [column.name for column in schema.perceptual.c if column.name != "version_id"]
_COPY_HASHES: Final = sa.insert(schema.perceptual).from_select(
    ["version_id", *_HASHES],
    sa.select(sa.bindparam("to_", type_=sa.BigInteger), *(schema.perceptual.c[name] for name in _HASHES)).where(
        schema.perceptual.c.version_id == sa.bindparam("from_")
    ),
)


class Correcting:
    """One correction; the UIDs of everything it is told about are loaded. Close it before the changes are written."""

    def __init__(self, changes: Changes, new: NewCorrection, undoes: int | None = None) -> None:
        self.id = changes.new_id()
        self._changes = changes
        self._new = new
        self._undoes = undoes
        self._source = f"{new.action} {new.principal}"
        self._instances = 0
        self._hashes: list[dict[str, int]] = []
        self._released: list[int] = []

    def file(self, instance: InstanceState, draft: Draft) -> None:
        """Make a new version current."""
        before = instance.current
        columns = draft.columns | {"source": self._source}
        series = self._changes.place(instance.tenant, draft.new.identity)
        after = self._show(instance, series, columns, draft.new.attributes)
        self._note(instance, before, after, hashed=before)

    def again(self, instance: InstanceState, version: VersionState) -> None:
        """Make a stored version current again.

        Raises
        ------
        Conflict
            If it was purged.
        """
        before = instance.current
        found = self._changes.connection.execute(sa.select(*_OWN).where(schema.version.c.id == version.id)).first()
        if found is None:
            raise Conflict("a version that would be current again was deleted for good")
        columns = dict(found._mapping) | {
            "source": self._source,
            "received_at": microseconds(self._new.made_at),
        }
        attributes = attributes_of(json.loads(unpack_metadata(columns["metadata"])))
        after = self._show(instance, version.series, columns, attributes)
        self._note(instance, before, after, hashed=version)

    def withdraw(self, instance: InstanceState, *, may_return: bool = False) -> None:
        """Take an instance out of view.

        Parameters
        ----------
        may_return
            True if it may be stored once more, as if it had never been here.
        """
        before = instance.current
        self._changes.withdraw(instance)
        if may_return:
            for version in instance.versions.values():
                version.change(removed=True)
        elif not instance.is_withdrawn:
            self._changes.add(schema.withdrawn, {"instance_id": instance.id, "correction_id": self.id})
            instance.is_withdrawn = True
        instance.is_changed = True
        self._note(instance, before, None)

    def release(self, instance: InstanceState) -> None:
        """Let an instance that was never shown be shown when it comes."""
        self._let_go(instance)
        self._note(instance, instance.current, instance.current)

    def close(self) -> None:
        """Write the record of the correction."""
        self._changes.add(schema.correction, correction_row(self.id, self._new, self._instances, self._undoes))

    def follow_up(self) -> None:
        """Change what is derived. Call after the changes were written."""
        connection = self._changes.connection
        if self._hashes:
            connection.execute(_COPY_HASHES, self._hashes)
        for ids in chunks(self._released):
            connection.execute(sa.delete(schema.withdrawn).where(schema.withdrawn.c.instance_id.in_(ids)))

    def _show(
        self, instance: InstanceState, series: SeriesState, columns: dict[str, Any], attributes: Attributes
    ) -> VersionState:
        after = self._changes.file(instance, series, columns)
        self._changes.make_current(instance, after, attributes)
        self._let_go(instance)
        identity = Identity(after.sop_class_uid, instance.uid, series.uid, series.study.uid)
        detail = {"outcome": "corrected", "source": self._source, "file": after.file.hex()}
        self._changes.event("durable", instance.tenant, identity, after.number, detail)
        return after

    def _let_go(self, instance: InstanceState) -> None:
        if instance.is_withdrawn:
            self._released.append(instance.id)
            instance.is_withdrawn = False

    def _note(
        self,
        instance: InstanceState,
        before: VersionState | None,
        after: VersionState | None,
        hashed: VersionState | None = None,
    ) -> None:
        if hashed is not None and after is not None:
            # The same frames look the same: nobody decodes them for a new name.
            self._hashes.append({"from_": hashed.id, "to_": after.id})
        self._instances += 1
        row = {
            "correction_id": self.id,
            "instance_id": instance.id,
            "before_id": None if before is None else before.id,
            "after_id": None if after is None else after.id,
        }
        self._changes.add(schema.corrected, row)


def correction_row(correction_id: int, new: NewCorrection, instances: int, undoes: int | None = None) -> dict[str, Any]:
    """Return the record of a correction, as a row."""
    return {
        "id": correction_id,
        "tenant": new.tenant,
        "action": new.action,
        "principal": new.principal,
        "reason": new.reason,
        "made_at": microseconds(new.made_at),
        "instances": instances,
        "undoes": undoes,
        "undone_by": None,
        "detail": dump(new.detail),
    }
