"""Reading instances, versions and metadata."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from nearframe.errors import NotFound
from nearframe.ids import Identity
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.catalogue.values import moment, unpack_bulk, unpack_metadata, unpack_pieces, unpack_pixel
from nearframe.storage.ports import UPSTREAM, InstanceRecord, StudyRef, TakenIn
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
    _version.source,
    _version.notes,
    _version.pixel,
    _version.pieces,
    _version.bulk,
    _version.frames,
)


RECORDS = sa.select(*RECORD_COLUMNS).select_from(_PLACED)
_METADATA = sa.select(*_IDENTITY, _version.metadata).select_from(_PLACED)

# Statements are built once: on the path of every frame, making one costs more than running it.
_NAMED = (
    _instance.tenant == sa.bindparam("tenant"),
    _instance.sop_instance_uid == sa.bindparam("sop_instance_uid"),
    _version.removed == sa.false(),
)
_FIND_CURRENT = Prepared(RECORDS.where(*_NAMED, _version.id == _instance.current_id))
_FIND_NUMBERED = Prepared(RECORDS.where(*_NAMED, _version.number == sa.bindparam("number")))
_LIST_VERSIONS = RECORDS.where(*_NAMED).order_by(_version.number)
_BY_ID = RECORDS.where(_version.id == sa.bindparam("id"))
_LISTED_STUDY = (
    _study.tenant == sa.bindparam("tenant"),
    _study.study_instance_uid == sa.bindparam("study_instance_uid"),
    _study.listed == sa.true(),
)
_STUDY_STATE = sa.select(_study.seq).where(*_LISTED_STUDY)
_SERIES_STATE = (
    sa.select(_series.seq)
    .join_from(schema.study, schema.series, _series.study_id == _study.id)
    .where(
        *_LISTED_STUDY,
        _series.series_instance_uid == sa.bindparam("series_instance_uid"),
        _series.listed == sa.true(),
    )
)

_OF_STUDY = (
    _study.tenant == sa.bindparam("tenant"),
    _study.study_instance_uid == sa.bindparam("study_instance_uid"),
    _version.removed == sa.false(),
)
_LOCAL = (
    sa.select(_version.id)
    .join_from(schema.version, schema.study, _version.study_id == _study.id)
    .where(*_OF_STUDY, _version.source != UPSTREAM)
    .limit(1)
)
_CURRENT = schema.version.alias("shown")
_SHOWN_UPSTREAM = (
    sa.select(_version.id, _version.instance_id, _instance.current_id, _CURRENT.c.source.label("current_source"))
    .select_from(_PLACED.join(_CURRENT, _CURRENT.c.id == _instance.current_id))
    .where(*_OF_STUDY, _version.source == UPSTREAM, _version.current_from_seq.is_not(None))
    .order_by(_version.current_from_seq, _version.number)
)
_REPLICA = (
    sa.select(*RECORD_COLUMNS, _version.id.label("version_id"), _version.metadata)
    .select_from(_PLACED)
    .where(*_OF_STUDY, _version.source == UPSTREAM)
)
_TAKEN_IN = (
    sa.select(*_IDENTITY, _version.id, _version.file, _version.received_at)
    .select_from(_PLACED)
    .where(_version.source != UPSTREAM, _version.removed == sa.false(), _version.id > sa.bindparam("after"))
    .order_by(_version.id)
    .limit(sa.bindparam("limit"))
)
_CURRENT_OF = sa.select(_instance.current_id).where(
    _instance.tenant == sa.bindparam("tenant"), _instance.sop_instance_uid == sa.bindparam("sop_instance_uid")
)
_EVERY_VERSION = (
    sa.select(*RECORD_COLUMNS, _version.id.label("version_id"))
    .select_from(_PLACED)
    .where(_version.id > sa.bindparam("after"))
    .order_by(_version.id)
    .limit(sa.bindparam("limit"))
)


def to_record(row: Any) -> InstanceRecord:
    """Return a row of `RECORD_COLUMNS` as a value."""
    # Unpacked at once: a study has thousands, and a look-up by name costs as much as reading a column.
    tenant, study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, number, _, *rest = row
    is_current, transfer_syntax_uid, hdr, file, file_bytes, received_at, source, notes, pixel, pieces, bulk, table = (
        rest
    )
    frames = FrameTable.decode(table)
    return InstanceRecord(
        study=StudyRef(tenant, study_instance_uid),
        identity=Identity(sop_class_uid, sop_instance_uid, series_instance_uid, study_instance_uid),
        version=number,
        is_current=bool(is_current),
        transfer_syntax_uid=transfer_syntax_uid,
        hdr=hdr,
        file=file,
        file_bytes=file_bytes,
        frames=frames,
        bulk=unpack_bulk(bulk) if bulk else (),
        pieces=unpack_pieces(pieces, len(frames)),
        pixel=unpack_pixel(pixel),
        received_at=moment(received_at),
        notes=tuple(notes.split()),
        source=source,
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
    named = {"tenant": tenant, "sop_instance_uid": sop_instance_uid}
    if version is None:
        row = _FIND_CURRENT.first(connection, **named)
    else:
        row = _FIND_NUMBERED.first(connection, **named, number=version)
    if row is None:
        raise NotFound("instance" if version is None else "version")
    found = to_record(row)
    if study_instance_uid not in (None, found.study.study_instance_uid):
        raise NotFound("instance in this study")
    if series_instance_uid not in (None, found.identity.series_instance_uid):
        raise NotFound("instance in this series")
    return found


def record_of(connection: sa.Connection, version_id: int) -> InstanceRecord:
    """Return the version with an id."""
    return to_record(connection.execute(_BY_ID, {"id": version_id}).one())


def list_instances(
    connection: sa.Connection, study: StudyRef, series_instance_uid: str | None, at_seq: int | None
) -> list[InstanceRecord]:
    """Return the current versions of a study or series, or those current at a sequence."""
    wanted = _Wanted(study, series_instance_uid, at_seq=at_seq)
    return [to_record(row) for row in wanted.rows(connection, RECORDS)]


def list_versions(connection: sa.Connection, tenant: str, sop_instance_uid: str) -> list[InstanceRecord]:
    """Return every version of an instance that was not removed, oldest first."""
    rows = connection.execute(_LIST_VERSIONS, {"tenant": tenant, "sop_instance_uid": sop_instance_uid})
    return [to_record(row) for row in rows]


def was_removed(connection: sa.Connection, tenant: str, sop_instance_uid: str) -> bool:
    """Return whether an instance was here once and is in view no more."""
    found = connection.execute(_CURRENT_OF, {"tenant": tenant, "sop_instance_uid": sop_instance_uid}).first()
    return found is not None and found.current_id is None


def holds_local(connection: sa.Connection, study: StudyRef) -> bool:
    """Return whether a study has a version that was taken in here and that its upstream has not decided on."""
    return connection.execute(_LOCAL, _named(study)).first() is not None


def replica(connection: sa.Connection, study: StudyRef) -> list[tuple[InstanceRecord, bytes]]:
    """Return what the upstream showed of a study when it was last followed; see `Catalogue.replica`."""
    latest: dict[int, Any] = {}
    for row in connection.execute(_SHOWN_UPSTREAM, _named(study)):
        if row.current_source != UPSTREAM or row.current_id == row.id:
            latest[row.instance_id] = row
    chosen = {row.id for row in latest.values()}
    rows = [row for row in connection.execute(_REPLICA, _named(study)) if row.version_id in chosen]
    return [(to_record(row[: len(RECORD_COLUMNS)]), unpack_metadata(row.metadata)) for row in sorted(rows, key=_order)]


def taken_in(connection: sa.Connection, after: int, limit: int) -> list[TakenIn]:
    """Return local versions, in the order they came; see `Catalogue.taken_in`."""
    rows = connection.execute(_TAKEN_IN, {"after": after, "limit": limit})
    return [TakenIn(row.id, row.tenant, _identity(row), row.file, moment(row.received_at)) for row in rows]


def every_version(connection: sa.Connection, after: int, limit: int) -> list[tuple[int, InstanceRecord]]:
    """Return stored versions of all tenants with an id beyond `after`, also those that were removed from view."""
    rows = connection.execute(_EVERY_VERSION, {"after": after, "limit": limit})
    return [(row.version_id, to_record(row[: len(RECORD_COLUMNS)])) for row in rows]


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
    wanted = _Wanted(study, series_instance_uid, sop_instance_uid, version=version, at_seq=at_seq)
    return [(_identity(row), unpack_metadata(row.metadata)) for row in wanted.rows(connection, _METADATA)]


def state(connection: sa.Connection, study: StudyRef, series_instance_uid: str | None) -> int:
    """Return the sequence of the last change of a study or series in view."""
    named = _named(study)
    if series_instance_uid is None:
        seq: int | None = connection.execute(_STUDY_STATE, named).scalar()
    else:
        seq = connection.execute(_SERIES_STATE, named | {"series_instance_uid": series_instance_uid}).scalar()
    if seq is None:
        raise NotFound("study" if series_instance_uid is None else "series")
    return seq


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Versions of a study: of one series or instance if named, current ones unless told otherwise."""

    study: StudyRef
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    version: int | None = None
    at_seq: int | None = None

    def rows(self, connection: sa.Connection, columns: sa.Select[Any]) -> list[Any]:
        parameters = {
            "tenant": self.study.tenant,
            "study_instance_uid": self.study.study_instance_uid,
            "series_instance_uid": self.series_instance_uid,
            "sop_instance_uid": self.sop_instance_uid,
            "version": self.version,
            "at_seq": self.at_seq,
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        # Sorted here: a database's own order depends on its collation and on where it puts NULL.
        return sorted(connection.execute(_statement(columns, frozenset(given)), given).all(), key=_order)


@cache
def _statement(columns: sa.Select[Any], given: frozenset[str]) -> sa.Select[Any]:
    """Narrow a selection by the parameters given."""
    conditions = {
        "tenant": _study.tenant == sa.bindparam("tenant"),
        "study_instance_uid": _study.study_instance_uid == sa.bindparam("study_instance_uid"),
        "series_instance_uid": _series.series_instance_uid == sa.bindparam("series_instance_uid"),
        "sop_instance_uid": sa.and_(
            _instance.tenant == sa.bindparam("tenant"), _instance.sop_instance_uid == sa.bindparam("sop_instance_uid")
        ),
        "version": sa.and_(_version.number == sa.bindparam("version"), _version.removed == sa.false()),
        "at_seq": sa.and_(
            _version.current_from_seq <= sa.bindparam("at_seq"),
            sa.or_(_version.current_to_seq.is_(None), _version.current_to_seq > sa.bindparam("at_seq")),
        ),
    }
    statement = columns.where(*(conditions[name] for name in sorted(given)))
    return statement if given & {"version", "at_seq"} else statement.where(_version.id == _instance.current_id)


def _order(row: Any) -> tuple[str, bool, int, str]:
    number = row.instance_number
    return row.series_instance_uid, number is None, number or 0, row.sop_instance_uid


def _named(study: StudyRef) -> dict[str, str]:
    return {"tenant": study.tenant, "study_instance_uid": study.study_instance_uid}


def _identity(row: Any) -> Identity:
    return Identity(
        sop_class_uid=row.sop_class_uid,
        sop_instance_uid=row.sop_instance_uid,
        series_instance_uid=row.series_instance_uid,
        study_instance_uid=row.study_instance_uid,
    )
