"""Deleting: first from view, then for good."""

from __future__ import annotations

import sqlalchemy as sa

from nearframe.errors import NotFound
from nearframe.storage.catalogue import reading, schema
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.recording import remove
from nearframe.storage.ports import InstanceRecord, StudyRef

_study, _series, _instance, _version = schema.study.c, schema.series.c, schema.instance.c, schema.version.c


def delete(
    changes: Changes,
    connection: sa.Connection,
    study: StudyRef,
    series_instance_uid: str | None,
    sop_instance_uid: str | None,
) -> list[InstanceRecord]:
    """Take a study, series or instance out of view; see `Catalogue.delete`."""
    uids = _current_uids(connection, study, series_instance_uid, sop_instance_uid)
    if not uids:
        raise NotFound("instance" if sop_instance_uid else "series" if series_instance_uid else "study")
    changes.load(study.tenant, uids, [])
    removed: list[InstanceRecord] = []
    for uid in uids:
        removed += reading.list_versions(connection, study.tenant, uid)
        remove(changes, changes.instance(study.tenant, uid))
    return removed


def purge(connection: sa.Connection, study: StudyRef) -> None:
    """Forget the removed versions of a study and what is derived from them; see `Catalogue.purge`."""
    owner = sa.select(_study.id).where(
        _study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid
    )
    gone = sa.select(_version.id).where(_version.study_id.in_(owner), _version.removed.is_(True))
    instances = sa.select(_version.instance_id).where(_version.id.in_(gone))
    kept = sa.select(_version.instance_id).where(_version.instance_id == _instance.id, _version.removed.is_(False))
    for statement in (
        sa.delete(schema.perceptual).where(schema.perceptual.c.version_id.in_(gone)),
        sa.delete(schema.conflict).where(schema.conflict.c.version_id.in_(gone)),
        sa.delete(schema.study_root).where(schema.study_root.c.study_id.in_(owner)),
        # An instance that was stored again after its removal stays, in view or taken out of it by a correction.
        sa.delete(schema.instance).where(_instance.id.in_(instances), ~kept.exists()),
        sa.delete(schema.version).where(_version.study_id.in_(owner), _version.removed.is_(True)),
    ):
        connection.execute(statement)


def _current_uids(
    connection: sa.Connection, study: StudyRef, series_instance_uid: str | None, sop_instance_uid: str | None
) -> list[str]:
    statement = (
        sa.select(_instance.sop_instance_uid)
        .join_from(schema.study, schema.series, _series.study_id == _study.id)
        .join(schema.instance, _instance.series_id == _series.id)
        .where(_study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid)
    )
    if series_instance_uid is not None:
        statement = statement.where(_series.series_instance_uid == series_instance_uid)
    if sop_instance_uid is not None:
        statement = statement.where(_instance.sop_instance_uid == sop_instance_uid)
    return list(connection.execute(statement).scalars())
