"""Versions that were stored but are not current because their pixels differ."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from nearframe.dicom.attributes import attributes_of
from nearframe.errors import MalformedRequest, NotFound
from nearframe.ids import Identity
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.values import moment, unpack_metadata
from nearframe.storage.ports import ConflictRecord, StudyRef

_conflict, _version, _instance = schema.conflict.c, schema.version.c, schema.instance.c

_SELECT = (
    sa.select(
        _conflict.id,
        _conflict.tenant,
        _conflict.current_number,
        _conflict.resolved_at,
        _conflict.resolution,
        _version.number,
        _version.source,
        _version.received_at,
        _version.sop_class_uid,
        _instance.sop_instance_uid,
        schema.series.c.series_instance_uid,
        schema.study.c.study_instance_uid,
    )
    .join_from(schema.conflict, schema.version, _conflict.version_id == _version.id)
    .join(schema.instance, _version.instance_id == _instance.id)
    .join(schema.series, _version.series_id == schema.series.c.id)
    .join(schema.study, _version.study_id == schema.study.c.id)
)


def conflicts(connection: sa.Connection, tenant: str, *, open_only: bool) -> list[ConflictRecord]:
    """Return the conflicts of a tenant, oldest first."""
    statement = _SELECT.where(_conflict.tenant == tenant).order_by(_conflict.id)
    if open_only:
        statement = statement.where(_conflict.resolved_at.is_(None))
    return [_to_record(row) for row in connection.execute(statement)]


def count_open(connection: sa.Connection) -> int:
    """Return how many conflicts of all tenants are not resolved."""
    counted = sa.select(sa.func.count()).select_from(schema.conflict).where(_conflict.resolved_at.is_(None))
    return int(connection.execute(counted).scalar_one())


def resolve(changes: Changes, connection: sa.Connection, conflict_id: int, keep: str) -> None:
    """Make the incoming version current if it is to be kept; see `Catalogue.resolve_conflict`."""
    if keep not in ("current", "incoming"):
        raise MalformedRequest('a conflict is resolved by keeping "current" or "incoming"')
    found = conflict(connection, conflict_id)
    if found.resolved_at is not None:
        raise MalformedRequest("this conflict is resolved already")
    if keep == "incoming":
        uid = found.identity.sop_instance_uid
        changes.load(found.study.tenant, [uid], [found.study.study_instance_uid])
        instance = changes.instance(found.study.tenant, uid)
        version = instance.versions[found.version]
        stored = connection.execute(sa.select(_version.metadata).where(_version.id == version.id)).scalar_one()
        changes.make_current(instance, version, attributes_of(json.loads(unpack_metadata(stored))))
        detail = {"outcome": "resolved"}
        changes.event("durable", found.study.tenant, found.identity, version.number, detail)


def conflict(connection: sa.Connection, conflict_id: int) -> ConflictRecord:
    """Return one conflict."""
    row = connection.execute(_SELECT.where(_conflict.id == conflict_id)).first()
    if row is None:
        raise NotFound("conflict")
    return _to_record(row)


def close(
    connection: sa.Connection, which: sa.ColumnElement[bool], resolution: str, principal: str | None, now: int
) -> None:
    """Mark the open conflicts that `which` selects as resolved."""
    statement = sa.update(schema.conflict).where(_conflict.resolved_at.is_(None), which)
    connection.execute(statement.values(resolved_at=now, resolution=resolution, principal=principal))


def close_removed(connection: sa.Connection, version_ids: Collection[int], now: int) -> None:
    """Close the conflicts of versions that were removed: there is nothing left to choose."""
    close(connection, _conflict.version_id.in_(version_ids), "removed", None, now)


def _to_record(row: Any) -> ConflictRecord:
    identity = Identity(row.sop_class_uid, row.sop_instance_uid, row.series_instance_uid, row.study_instance_uid)
    return ConflictRecord(
        id=row.id,
        study=StudyRef(row.tenant, row.study_instance_uid),
        identity=identity,
        version=row.number,
        current_version=row.current_number,
        source=row.source,
        received_at=moment(row.received_at),
        resolved_at=None if row.resolved_at is None else moment(row.resolved_at),
        resolution=row.resolution,
    )
