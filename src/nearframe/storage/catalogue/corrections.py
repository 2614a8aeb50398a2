"""Corrections: made and undone in one transaction each, listed as the record of who changed what and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

import sqlalchemy as sa

from nearframe.errors import Conflict, NotFound
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.catalogue import SQLCatalogue
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.correcting import Correcting, correction_row
from nearframe.storage.catalogue.identities import Identities, forget_merged, note_merged
from nearframe.storage.catalogue.loading import chunks
from nearframe.storage.catalogue.recording import Draft, mark_withdrawn
from nearframe.storage.catalogue.states import InstanceState, VersionState
from nearframe.storage.catalogue.values import moment
from nearframe.storage.ports import (
    CorrectedInstance,
    CorrectionRecord,
    NewCorrection,
    NewVersion,
    PatientIdentity,
    PatientStudy,
    Revision,
    StudyRef,
    nothing,
)

_correction, _corrected = schema.correction.c, schema.corrected.c
_study, _version, _instance = schema.study.c, schema.version.c, schema.instance.c

_BEFORE: Final = schema.version.alias("before")
_AFTER: Final = schema.version.alias("after")
_INSTANCES: Final = (
    sa.select(
        _study.study_instance_uid,
        _instance.sop_instance_uid,
        _BEFORE.c.number.label("before_number"),
        _AFTER.c.number.label("after_number"),
    )
    .join_from(schema.corrected, schema.instance, _instance.id == _corrected.instance_id)
    .outerjoin(_BEFORE, _BEFORE.c.id == _corrected.before_id)
    .outerjoin(_AFTER, _AFTER.c.id == _corrected.after_id)
    .outerjoin(schema.study, _study.id == sa.func.coalesce(_AFTER.c.study_id, _BEFORE.c.study_id))
)


class Corrections:
    """The corrections of a catalogue. Any thread may call; every change is durable when its call returns.

    Attributes
    ----------
    identities
        What merges gave up, and what came under it later.
    """

    def __init__(self, catalogue: SQLCatalogue) -> None:
        self.identities = Identities(catalogue.database)
        self._catalogue = catalogue

    # -- making ----------------------------------------------------------------------------

    def make(
        self, new: NewCorrection, revisions: Iterable[Revision], durable: Callable[[], object] = nothing
    ) -> CorrectionRecord | None:
        """Make a correction: all of it, or nothing.

        Parameters
        ----------
        revisions
            At most one for an instance. Exhausted before the transaction begins.
        durable
            As of `Catalogue.record`.

        Returns
        -------
        CorrectionRecord | None
            None if an instance is not as its revision says: it changed meanwhile.

        Raises
        ------
        NotFound
            If a stored version that is to be current again is not here.
        Conflict
            If there are no revisions.
        """
        drafts = [_drafted(revision) for revision in revisions]
        if not drafts:
            raise Conflict("there is nothing to correct: everything that is selected says so already")
        places = {draft.new.identity.study_instance_uid for _, draft in drafts if draft is not None}
        with self._catalogue.changing() as changes:
            changes.load(new.tenant, [revision.sop_instance_uid for revision, _ in drafts], places)
            mark_withdrawn(changes)
            found = [(_instance_of(changes, new.tenant, revision), revision, draft) for revision, draft in drafts]
            if not all(_is_as_said(instance, revision) for instance, revision, _ in found):
                return None
            correcting = Correcting(changes, new)
            for instance, revision, draft in found:
                if draft is not None:
                    correcting.file(instance, draft)
                elif isinstance(revision.becomes, int):
                    correcting.again(instance, _numbered(instance, revision.becomes))
                else:
                    correcting.withdraw(instance, may_return=revision.may_return)
            _finish(changes, correcting)
            if new.merged is not None:
                note_merged(changes.connection, new.tenant, new.merged, new.made_at, correcting.id)
            durable()
        return self.find(new.tenant, correcting.id)

    def keep_apart(self, new: NewCorrection, identity: PatientIdentity) -> CorrectionRecord:
        """Record that an identifier which was merged away is in use again; raises `NotFound` if it was not."""
        with self._catalogue.changing() as changes:
            forget_merged(changes.connection, new.tenant, identity)
            correction_id = changes.new_id()
            changes.add(schema.correction, correction_row(correction_id, new, 0))
            changes.write()
        return self.find(new.tenant, correction_id)

    def undo(self, correction_id: int, new: NewCorrection) -> CorrectionRecord:
        """Bring back what was in view before a correction: all of it, or nothing. An undoing can be undone, too.

        Raises
        ------
        NotFound
            If the tenant has no such correction.
        Conflict
            If it is undone already, or an instance has changed since.
        """
        with self._catalogue.changing() as changes:
            undone = self._undoable(changes.connection, new.tenant, correction_id)
            if not undone.instances:
                raise Conflict("it changed no image: merge the patients, if they are one after all")
            rows = _rows_of(changes.connection, correction_id)
            if len(rows) < undone.instances:
                raise Conflict("what it would bring back was deleted for good")
            instances = self._load(changes, new.tenant, [row.instance_id for row in rows])
            changed = sum(not _is_as_left(instances[row.instance_id], row.after_id) for row in rows)
            if changed:
                raise Conflict(f"{changed} of its instances were changed since: undo what was done to them first")
            correcting = Correcting(changes, new, undoes=correction_id)
            for row in rows:
                _put_back(correcting, instances[row.instance_id], row.before_id)
            _finish(changes, correcting)
            _mark(changes.connection, correction_id, correcting.id)
            if undone.undoes is not None:
                _mark(changes.connection, undone.undoes, None)
        return self.find(new.tenant, correcting.id)

    # -- the record ------------------------------------------------------------------------

    def find(self, tenant: str, correction_id: int) -> CorrectionRecord:
        """Return a correction; raises `NotFound` if the tenant has none of this id."""
        with self._catalogue.database.read() as connection:
            return _find(connection, tenant, correction_id)

    def latest(
        self, tenant: str, *, study_instance_uid: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[CorrectionRecord]:
        """Return corrections, the latest first.

        Parameters
        ----------
        study_instance_uid
            Only those that changed something which is, or was, in this study.
        before
            Only those made before the one of this id.
        """
        statement = sa.select(schema.correction).where(_correction.tenant == tenant)
        if study_instance_uid is not None:
            touching = (
                sa.select(_corrected.correction_id)
                .join_from(schema.study, schema.version, _version.study_id == _study.id)
                .join(schema.corrected, _corrected.instance_id == _version.instance_id)
                .where(_study.tenant == tenant, _study.study_instance_uid == study_instance_uid)
            )
            statement = statement.where(_correction.id.in_(touching))
        if before is not None:
            statement = statement.where(_correction.id < before)
        with self._catalogue.database.read() as connection:
            rows = connection.execute(statement.order_by(_correction.id.desc()).limit(limit))
            return [_record(row) for row in rows]

    def instances(self, tenant: str, correction_id: int) -> list[CorrectedInstance]:
        """Return what a correction changed, ordered by UIDs; raises `NotFound`."""
        with self._catalogue.database.read() as connection:
            _find(connection, tenant, correction_id)
            rows = connection.execute(_INSTANCES.where(_corrected.correction_id == correction_id))
            found = [
                CorrectedInstance(
                    row.study_instance_uid or "", row.sop_instance_uid, row.before_number, row.after_number
                )
                for row in rows
            ]
        return sorted(found, key=lambda one: (one.study_instance_uid, one.sop_instance_uid))

    def of_instance(self, tenant: str, sop_instance_uid: str) -> dict[int, CorrectionRecord]:
        """Return the corrections that made versions of an instance, by the numbers of these."""
        statement = (
            sa.select(schema.correction, _AFTER.c.number)
            .join_from(schema.instance, schema.corrected, _corrected.instance_id == _instance.id)
            .join(_AFTER, _AFTER.c.id == _corrected.after_id)
            .join(schema.correction, _correction.id == _corrected.correction_id)
            .where(_instance.tenant == tenant, _instance.sop_instance_uid == sop_instance_uid)
        )
        with self._catalogue.database.read() as connection:
            return {row.number: _record(row) for row in connection.execute(statement)}

    def studies_touched(self, tenant: str, correction_id: int) -> list[StudyRef]:
        """Return the studies in which a correction changed something: where it came from, and where it went."""
        of_it = _corrected.correction_id == correction_id
        versions = sa.union(sa.select(_corrected.before_id).where(of_it), sa.select(_corrected.after_id).where(of_it))
        statement = (
            sa.select(_study.study_instance_uid)
            .distinct()
            .join_from(schema.version, schema.study, _study.id == _version.study_id)
            .where(_version.id.in_(versions), _study.tenant == tenant)
        )
        with self._catalogue.database.read() as connection:
            return [StudyRef(tenant, uid) for uid in sorted(connection.execute(statement).scalars())]

    def studies_of_patient(self, tenant: str, patient_id: str) -> list[PatientStudy]:
        """Return the studies in view of a Patient ID, whoever issued it: newest last."""
        statement = (
            sa.select(_study.study_instance_uid, _study.issuer_of_patient_id)
            .where(_study.tenant == tenant, _study.patient_id == patient_id, _study.listed == sa.true())
            .order_by(_study.seq)
        )
        with self._catalogue.database.read() as connection:
            return [
                PatientStudy(row.study_instance_uid, row.issuer_of_patient_id) for row in connection.execute(statement)
            ]

    # --------------------------------------------------------------------------------------

    def _load(self, changes: Changes, tenant: str, ids: Sequence[int]) -> dict[int, InstanceState]:
        for some in chunks(ids):
            statement = sa.select(_instance.sop_instance_uid).where(_instance.id.in_(some))
            changes.load(tenant, list(changes.connection.execute(statement).scalars()), [])
        found = {instance.id: instance for instance in changes.instances.values()}
        if not found.keys() >= set(ids):
            raise Conflict("an instance of it was deleted for good")
        mark_withdrawn(changes)
        return found

    def _undoable(self, connection: sa.Connection, tenant: str, correction_id: int) -> CorrectionRecord:
        found = _find(connection, tenant, correction_id)
        if found.undone_by is not None:
            raise Conflict(f"it is undone already, by correction {found.undone_by}")
        return found


def _instance_of(changes: Changes, tenant: str, revision: Revision) -> InstanceState:
    instance = changes.instances.get((tenant, revision.sop_instance_uid))
    if instance is None:
        raise NotFound("instance")
    return instance


def _drafted(revision: Revision) -> tuple[Revision, Draft | None]:
    becomes = revision.becomes
    if not isinstance(becomes, NewVersion):
        return revision, None
    draft = Draft(becomes)
    # The columns hold it compressed: thousands of instances as objects would take a gigabyte.
    draft.new = replace(becomes, metadata={})
    return replace(revision, becomes=draft.new), draft


def _is_as_said(instance: InstanceState, revision: Revision) -> bool:
    current = None if instance.current is None else instance.current.number
    return current == revision.based_on


def _numbered(instance: InstanceState, number: int) -> VersionState:
    version = instance.versions.get(number)
    if version is None or version.is_removed:
        raise NotFound("version")
    return version


def _put_back(correcting: Correcting, instance: InstanceState, version_id: int | None) -> None:
    """Show a version again, or nothing."""
    if version_id is not None:
        version = next((one for one in instance.versions.values() if one.id == version_id), None)
        if version is None:
            raise Conflict("a version that would be current again was deleted for good")
        correcting.again(instance, version)
    elif instance.current is None and instance.is_withdrawn:
        _let_come(correcting, instance)
    else:
        correcting.withdraw(instance)


def _let_come(correcting: Correcting, instance: InstanceState) -> None:
    """Show what came of an instance that was withdrawn before it came, or will come."""
    came = [version for version in instance.versions.values() if not version.is_removed]
    if came:
        correcting.again(instance, came[-1])
    else:
        correcting.release(instance)


def _finish(changes: Changes, correcting: Correcting) -> None:
    correcting.close()
    changes.write()
    correcting.follow_up()


def _rows_of(connection: sa.Connection, correction_id: int) -> list[Any]:
    statement = sa.select(schema.corrected).where(_corrected.correction_id == correction_id)
    return list(connection.execute(statement.order_by(_corrected.instance_id)))


def _is_as_left(instance: InstanceState, after_id: int | None) -> bool:
    """Return whether the bytes in view are those of a version, whatever number they have got since."""
    left = next((version for version in instance.versions.values() if version.id == after_id), None)
    if left is None or instance.current is None:
        return after_id is None and instance.current is None
    return instance.current.file == left.file


def _mark(connection: sa.Connection, correction_id: int, undone_by: int | None) -> None:
    statement = sa.update(schema.correction).where(_correction.id == correction_id)
    connection.execute(statement.values(undone_by=undone_by))


def _find(connection: sa.Connection, tenant: str, correction_id: int) -> CorrectionRecord:
    chosen = sa.and_(_correction.id == correction_id, _correction.tenant == tenant)
    row = connection.execute(sa.select(schema.correction).where(chosen)).first()
    if row is None:
        raise NotFound("correction")
    return _record(row)


def _record(row: Any) -> CorrectionRecord:
    return CorrectionRecord(
        id=row.id,
        tenant=row.tenant,
        action=row.action,
        principal=row.principal,
        reason=row.reason,
        made_at=moment(row.made_at),
        detail=json.loads(row.detail),
        instances=row.instances,
        undoes=row.undoes,
        undone_by=row.undone_by,
    )
