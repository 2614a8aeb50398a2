"""Reading instances, versions and metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from nearframe.errors import NotFound
from nearframe.ids import Identity
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.values import moment, unpack_bulk, unpack_metadata, unpack_pieces, unpack_pixel
from nearframe.storage.ports import InstanceRecord, StudyRef
from nearframe.wire.frametable import FrameTable

_study, _series, _instance, _version = schema.study.c, schema.series.c, schema.instance.c, schema.version.c

_PLACED = (
    schema.version.join(schema.instance, _version.instance_id == _instance.id)
    .join(schema.series, _version.series_id == _series.id)
    .join(schema.study, _version.study_id == _study.id)
)
_IDENTITY = (
    _study.tenant,
    _study.study_instance_uid,
    _series.series_instance_uid,
    _instance.sop_instance_uid,
    _version.sop_class_uid,
    _version.number,
    _version.instance_number,
)
RECORD_COLUMNS = (
    *_IDENTITY,
    (_instance.current_id == _version.id).label("is_current"),
    _version.transfer_syntax_uid,
    _version.hdr,
    _version.file,
    _version.file_bytes,
    _version.received_at,
    _version.notes,
    _version.pixel,
    _version.pieces,
    _version.bulk,
    _version.frames,
)


def select_records() -> sa.Select[Any]:
    """Select what `to_record` reads, from every version; to be narrowed."""
    return sa.select(*RECORD_COLUMNS).select_from(_PLACED)


def to_record(row: Any) -> InstanceRecord:
    """Return a row of `select_records` as a value."""
    frames = FrameTable.decode(row.frames)
    return InstanceRecord(
        study=StudyRef(row.tenant, row.study_instance_uid),
        identity=_identity(row),
        version=row.number,
        is_current=bool(row.is_current),
        transfer_syntax_uid=row.transfer_syntax_uid,
        hdr=row.hdr,
        file=row.file,
        file_bytes=row.file_bytes,
        frames=frames,
        bulk=unpack_bulk(row.bulk),
        pieces=unpack_pieces(row.pieces, len(frames)),
        pixel=unpack_pixel(row.pixel),
        received_at=moment(row.received_at),
        notes=tuple(row.notes.split()),
    )


def find_instance(
    connection: sa.Connection,
    tenant: str,
    sop_instance_uid: str,
    *,
    study_instance_uid: str | None,
    series_instance_uid: str | None,
    version: int | None,
) -> InstanceRecord:
    """Return the current or numbered version of an instance; see `Catalogue.find_instance`."""
    statement = select_records().where(
        _instance.tenant == tenant,
        _instance.sop_instance_uid == sop_instance_uid,
        _version.removed.is_(False),
        _version.id == _instance.current_id if version is None else _version.number == version,
    )
    row = connection.execute(statement).first()
    if row is None:
        raise NotFound("instance" if version is None else "version")
    if study_instance_uid not in (None, row.study_instance_uid):
        raise NotFound("instance in this study")
    if series_instance_uid not in (None, row.series_instance_uid):
        raise NotFound("instance in this series")
    return to_record(row)


def record_of(connection: sa.Connection, version_id: int) -> InstanceRecord:
    """Return the version with an id."""
    return to_record(connection.execute(select_records().where(_version.id == version_id)).one())


def list_instances(
    connection: sa.Connection, study: StudyRef, series_instance_uid: str | None, at_seq: int | None
) -> list[InstanceRecord]:
    """Return the current versions of a study or series, or those current at a sequence."""
    statement = select_records().where(*_shown(study, series_instance_uid, None, at_seq))
    return [to_record(row) for row in _ordered(connection.execute(statement))]


def list_versions(connection: sa.Connection, tenant: str, sop_instance_uid: str) -> list[InstanceRecord]:
    """Return every version of an instance that was not removed, oldest first."""
    statement = (
        select_records()
        .where(
            _instance.tenant == tenant,
            _instance.sop_instance_uid == sop_instance_uid,
            _version.removed.is_(False),
        )
        .order_by(_version.number)
    )
    return [to_record(row) for row in connection.execute(statement)]


def metadata(
    connection: sa.Connection,
    study: StudyRef,
    series_instance_uid: str | None,
    sop_instance_uid: str | None,
    *,
    version: int | None,
    at_seq: int | None,
) -> list[tuple[Identity, bytes]]:
    """Return the DICOM JSON of instances; see `Catalogue.metadata`."""
    statement = sa.select(*_IDENTITY, _version.metadata).select_from(_PLACED)
    if version is None:
        statement = statement.where(*_shown(study, series_instance_uid, sop_instance_uid, at_seq))
    else:
        within = _within(study, series_instance_uid, sop_instance_uid)
        statement = statement.where(*within, _version.number == version, _version.removed.is_(False))
    rows = _ordered(connection.execute(statement))
    return [(_identity(row), unpack_metadata(row.metadata)) for row in rows]


def state(connection: sa.Connection, study: StudyRef, series_instance_uid: str | None) -> int:
    """Return the sequence of the last change of a study or series in view."""
    column = _study.seq if series_instance_uid is None else _series.seq
    statement = sa.select(column).where(
        _study.tenant == study.tenant,
        _study.study_instance_uid == study.study_instance_uid,
        _study.listed.is_(True),
    )
    if series_instance_uid is not None:
        statement = statement.join_from(schema.study, schema.series, _series.study_id == _study.id)
        statement = statement.where(_series.series_instance_uid == series_instance_uid, _series.listed.is_(True))
    seq: int | None = connection.execute(statement).scalar()
    if seq is None:
        raise NotFound("study" if series_instance_uid is None else "series")
    return seq


def _shown(
    study: StudyRef, series_instance_uid: str | None, sop_instance_uid: str | None, at_seq: int | None
) -> list[sa.ColumnElement[bool]]:
    within = _within(study, series_instance_uid, sop_instance_uid)
    if at_seq is None:
        return [*within, _version.id == _instance.current_id]
    ended = sa.or_(_version.current_to_seq.is_(None), _version.current_to_seq > at_seq)
    return [*within, _version.current_from_seq <= at_seq, ended]


def _within(
    study: StudyRef, series_instance_uid: str | None, sop_instance_uid: str | None
) -> list[sa.ColumnElement[bool]]:
    conditions = [_study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid]
    if series_instance_uid is not None:
        conditions.append(_series.series_instance_uid == series_instance_uid)
    if sop_instance_uid is not None:
        conditions += [_instance.tenant == study.tenant, _instance.sop_instance_uid == sop_instance_uid]
    return conditions


def _ordered(rows: Iterable[Any]) -> list[Any]:
    # Sorted here: a database's own order depends on its collation and on where it puts NULL.
    return sorted(rows, key=_order)


def _order(row: Any) -> tuple[str, bool, int, str]:
    number = row.instance_number
    return row.series_instance_uid, number is None, number or 0, row.sop_instance_uid


def _identity(row: Any) -> Identity:
    return Identity(
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
    )
