"""What is made from frames and can be made again: renditions, and perceptual hashes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nearframe.errors import NotFound
from nearframe.ids import Digest, Identity
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.loading import chunks
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.ports import PerceptualRow, Rendition, StudyRef
from nearframe.wire.frametable import FrameTable

_rendition, _perceptual = schema.rendition.c, schema.perceptual.c
_study, _series, _instance, _version = schema.study.c, schema.series.c, schema.instance.c, schema.version.c

_COLUMNS = sa.select(
    schema.perceptual,
    _version.number,
    _version.sop_class_uid,
    _instance.sop_instance_uid,
    _series.series_instance_uid,
    _study.study_instance_uid,
)
_CURRENT_VERSION = (
    schema.study.join(schema.series, _series.study_id == _study.id)
    .join(schema.instance, _instance.series_id == _series.id)
    .join(schema.version, _version.id == _instance.current_id)
    .join(schema.perceptual, _perceptual.version_id == _version.id)
)
_EVERY_VERSION = (
    schema.study.join(schema.version, _version.study_id == _study.id)
    .join(schema.series, _version.series_id == _series.id)
    .join(schema.instance, _version.instance_id == _instance.id)
    .join(schema.perceptual, _perceptual.version_id == _version.id)
)


_ONE_RENDITION = Prepared(
    sa.select(schema.rendition).where(
        _rendition.tenant == sa.bindparam("tenant"),
        _rendition.source == sa.bindparam("source"),
        _rendition.transfer_syntax_uid == sa.bindparam("transfer_syntax_uid"),
    )
)
#: Up to so many are looked up one by one: writing one query for them takes longer.
_FEW = 8


def rendition(connection: sa.Connection, tenant: str, source: Digest, transfer_syntax_uid: str) -> Rendition | None:
    """Return the rendition of a frame in a transfer syntax, if there is one."""
    rows = _ONE_RENDITION.rows(connection, tenant=tenant, source=source, transfer_syntax_uid=transfer_syntax_uid)
    return _to_rendition(rows[0]) if rows else None


def renditions(
    connection: sa.Connection, tenant: str, sources: Sequence[Digest], transfer_syntax_uid: str
) -> dict[Digest, Rendition]:
    """Return the renditions that there are of frames in a transfer syntax, by frame."""
    wanted = list(dict.fromkeys(sources))
    if len(wanted) <= _FEW:
        looked_up = (rendition(connection, tenant, source, transfer_syntax_uid) for source in wanted)
        return {one.source: one for one in looked_up if one is not None}
    found: dict[Digest, Rendition] = {}
    for chunk in chunks(wanted):
        statement = sa.select(schema.rendition).where(
            _rendition.tenant == tenant,
            _rendition.source.in_(chunk),
            _rendition.transfer_syntax_uid == transfer_syntax_uid,
        )
        found |= {row.source: _to_rendition(row._asdict()) for row in connection.execute(statement)}
    return found


def add_renditions(connection: sa.Connection, tenant: str, renditions: Sequence[Rendition]) -> None:
    """Remember renditions, each in the place of an earlier one."""
    rows = {
        (one.source, one.transfer_syntax_uid): {
            "tenant": tenant,
            "source": one.source,
            "transfer_syntax_uid": one.transfer_syntax_uid,
            "digest": one.digest,
            "length": one.length,
            "resolution_offsets": json.dumps(one.resolution_offsets),
        }
        for one in renditions
    }
    if not rows:
        return
    # Two statements for all of them: a series of 300 slices took 130 ms one by one, and somebody waits for it.
    earlier = sa.delete(schema.rendition).where(
        _rendition.tenant == tenant,
        _rendition.source == sa.bindparam("source_"),
        _rendition.transfer_syntax_uid == sa.bindparam("transfer_syntax_uid_"),
    )
    connection.execute(earlier, [{"source_": source, "transfer_syntax_uid_": syntax} for source, syntax in rows])
    connection.execute(sa.insert(schema.rendition), list(rows.values()))


def add_hashes(connection: sa.Connection, rows: Sequence[PerceptualRow]) -> None:
    """Remember the hashes of frames; those of versions that are gone are left out."""
    versions: dict[tuple[str, str, int], tuple[int, FrameTable] | None] = {}
    for row in rows:
        key = row.study.tenant, row.identity.sop_instance_uid, row.version
        if key not in versions:
            versions[key] = found = _version_of(connection, *key)
            if found is not None:
                connection.execute(sa.delete(schema.perceptual).where(_perceptual.version_id == found[0]))
    values = {
        (found[0], row.frame_index): _hash_row(*found, row)
        for row in rows
        if (found := versions[row.study.tenant, row.identity.sop_instance_uid, row.version]) is not None
    }
    if values:
        connection.execute(sa.insert(schema.perceptual), list(values.values()))


def set_pix(connection: sa.Connection, tenant: str, sop_instance_uid: str, version: int, frames: FrameTable) -> None:
    """Fill in `pix` digests of a version; see `Catalogue.set_pix`."""
    owner = sa.select(_instance.id).where(_instance.tenant == tenant, _instance.sop_instance_uid == sop_instance_uid)
    chosen = sa.and_(_version.instance_id == owner.scalar_subquery(), _version.number == version)
    version_id = connection.execute(sa.select(_version.id).where(chosen)).scalar()
    if version_id is None:
        raise NotFound("version")
    connection.execute(sa.update(schema.version).where(chosen).values(frames=frames.encode()))
    _set_hash_pix(connection, version_id, frames)


def _set_hash_pix(connection: sa.Connection, version_id: int, frames: FrameTable) -> None:
    """Bring the hashes of a version up to date with its frame table."""
    rows = [{"pix_": frames.pix_of(index), "index_": index} for index in range(len(frames))]
    statement = sa.update(schema.perceptual).where(
        _perceptual.version_id == version_id, _perceptual.frame_index == sa.bindparam("index_")
    )
    if rows:
        connection.execute(statement.values(pix=sa.bindparam("pix_")), rows)


def hashes(connection: sa.Connection, study: StudyRef) -> list[PerceptualRow]:
    """Return the hashes of every current frame of the patient of a study.

    A patient is one ID of one issuer within the tenant; a study without a Patient ID is a
    scope of its own, since an empty ID is everybody's.
    """
    asked = connection.execute(
        sa.select(_study.id, _study.patient_id, _study.issuer_of_patient_id).where(
            _study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid
        )
    ).first()
    if asked is None:
        return []
    scope = [_study.id == asked.id]
    if asked.patient_id:
        scope = [
            _study.tenant == study.tenant,
            _study.patient_id == asked.patient_id,
            _study.issuer_of_patient_id == asked.issuer_of_patient_id,
        ]
    statement = _COLUMNS.select_from(_CURRENT_VERSION).where(*scope)
    statement = statement.order_by(_study.id, _series.id, _instance.id, _perceptual.frame_index)
    return [_to_hash(study.tenant, row) for row in connection.execute(statement)]


def _to_rendition(row: Mapping[str, Any]) -> Rendition:
    offsets = tuple(json.loads(row["resolution_offsets"]))
    return Rendition(row["source"], row["transfer_syntax_uid"], row["digest"], row["length"], offsets)


def hashed_studies(connection: sa.Connection, tenant: str) -> list[StudyRef]:
    """Return the studies of which any version has hashes."""
    statement = (
        sa.select(_study.study_instance_uid).select_from(_EVERY_VERSION).where(_study.tenant == tenant).distinct()
    )
    return [StudyRef(tenant, uid) for uid in connection.execute(statement).scalars()]


def forget_hashes(connection: sa.Connection, study: StudyRef) -> None:
    """Forget the hashes of every version of a study."""
    versions = (
        sa.select(_version.id)
        .join_from(schema.study, schema.version, _version.study_id == _study.id)
        .where(_study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid)
    )
    connection.execute(sa.delete(schema.perceptual).where(_perceptual.version_id.in_(versions)))


def is_hashed(connection: sa.Connection, tenant: str, sop_instance_uid: str, version: int) -> bool:
    """Return whether frames of a version have been looked at."""
    statement = (
        sa.select(_perceptual.version_id)
        .join_from(schema.instance, schema.version, _version.instance_id == _instance.id)
        .join(schema.perceptual, _perceptual.version_id == _version.id)
        .where(_instance.tenant == tenant, _instance.sop_instance_uid == sop_instance_uid, _version.number == version)
        .limit(1)
    )
    return connection.execute(statement).first() is not None


def count_tenant_hashes(connection: sa.Connection, tenant: str) -> int:
    """Return how many frames of a tenant have been looked at."""
    statement = sa.select(sa.func.count()).select_from(_EVERY_VERSION).where(_study.tenant == tenant)
    return int(connection.execute(statement).scalar_one())


def tenant_hashes(connection: sa.Connection, tenant: str) -> list[PerceptualRow]:
    """Return the hashes of every frame of every version of a tenant."""
    statement = _COLUMNS.select_from(_EVERY_VERSION).where(_study.tenant == tenant, _version.removed.is_(False))
    return [_to_hash(tenant, row) for row in connection.execute(statement)]


def patient_scopes(connection: sa.Connection, tenant: str) -> dict[str, str]:
    """Return for each study, by UID, a value that is equal for the studies of one patient."""
    statement = sa.select(_study.id, _study.study_instance_uid, _study.patient_id, _study.issuer_of_patient_id).where(
        _study.tenant == tenant
    )
    return {
        row.study_instance_uid: json.dumps([row.patient_id, row.issuer_of_patient_id] if row.patient_id else row.id)
        for row in connection.execute(statement)
    }


def _version_of(
    connection: sa.Connection, tenant: str, sop_instance_uid: str, number: int
) -> tuple[int, FrameTable] | None:
    statement = (
        sa.select(_version.id, _version.frames)
        .join_from(schema.instance, schema.version, _version.instance_id == _instance.id)
        .where(_instance.tenant == tenant, _instance.sop_instance_uid == sop_instance_uid, _version.number == number)
    )
    row = connection.execute(statement).first()
    return None if row is None else (row.id, FrameTable.decode(row.frames))


def _hash_row(version_id: int, frames: FrameTable, row: PerceptualRow) -> dict[str, Any]:
    return {
        "version_id": version_id,
        "frame_index": row.frame_index,
        "enc": row.enc,
        "pix": row.pix or frames.pix_of(row.frame_index),  # found since the frame was looked at
        "hash": row.hash,
        "quality": row.quality,
        "modality": row.modality,
        "length": row.length,
    }


def _to_hash(tenant: str, row: Any) -> PerceptualRow:
    return PerceptualRow(
        study=StudyRef(tenant, row.study_instance_uid),
        identity=Identity(row.sop_class_uid, row.sop_instance_uid, row.series_instance_uid, row.study_instance_uid),
        version=row.number,
        frame_index=row.frame_index,
        enc=row.enc,
        pix=row.pix,
        hash=row.hash,
        quality=row.quality,
        modality=row.modality,
        length=row.length,
    )
