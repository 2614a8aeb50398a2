"""Removing from view what may come again: DICOMweb's DELETE, recorded like a correction."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from nearframe.errors import NotFound
from nearframe.storage.catalogue import reading, schema
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.correcting import Correcting
from nearframe.storage.ports import InstanceRecord, NewCorrection, StudyRef

_study, _series, _instance = schema.study.c, schema.series.c, schema.instance.c


def delete(
    changes: Changes,
    connection: sa.Connection,
    study: StudyRef,
    series_instance_uid: str | None,
    sop_instance_uid: str | None,
    principal: str,
    now: datetime,
) -> list[InstanceRecord]:
    """Take a study, series or instance out of view; see `Catalogue.delete`."""
    uids = _current_uids(connection, study, series_instance_uid, sop_instance_uid)
    if not uids:
        raise NotFound("instance" if sop_instance_uid else "series" if series_instance_uid else "study")
    changes.load(study.tenant, uids, [])
    named = {"study": study.study_instance_uid, "series": series_instance_uid, "instance": sop_instance_uid}
    detail = {level: uid for level, uid in named.items() if uid is not None}
    removing = Correcting(changes, NewCorrection(study.tenant, "remove", principal, "DICOMweb DELETE", now, detail))
    removed: list[InstanceRecord] = []
    for uid in uids:
        removed += reading.list_versions(connection, study.tenant, uid)
        removing.withdraw(changes.instance(study.tenant, uid), may_return=True)
    removing.close()
    return removed


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
