"""Legal holds: placed and released, and listed as the record of who keeps what, and why."""

from __future__ import annotations

import json
from typing import Any, Final

import sqlalchemy as sa

from nearframe.errors import Conflict, NotFound
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.catalogue import SQLCatalogue
from nearframe.storage.catalogue.holding import KEPT, patient_of
from nearframe.storage.catalogue.values import microseconds, moment, unpack_metadata
from nearframe.storage.ports import Held, HoldRecord, NewHold, Release, StudyRef

_hold, _held = schema.hold.c, schema.held.c
_study, _version = schema.study.c, schema.version.c

_STUDIES: Final = (
    sa.select(sa.func.count())
    .where(_held.hold_id == _hold.id)
    .correlate(schema.hold)
    .scalar_subquery()
    .label("studies")
)
#: Whether anything of a study is stored: what was purged leaves its row behind.
_IS_STORED: Final = sa.select(_version.id).where(_version.study_id == _study.id).exists()


class Holds:
    """The holds of a catalogue. Any thread may call; every change is durable when its call returns."""

    def __init__(self, catalogue: SQLCatalogue) -> None:
        self._catalogue = catalogue

    def place(self, new: NewHold) -> HoldRecord:
        """Place a hold; it also keeps what was taken out of view and is not purged yet.

        Raises
        ------
        NotFound
            If nothing of such a study or patient is stored.
        """
        with self._catalogue.changing() as changes:
            studies = _studies_of(changes.connection, new.tenant, new.held)
            if not studies:
                raise NotFound("study" if new.held.study_instance_uid else "patient")
            hold_id = changes.new_id()
            changes.add(schema.hold, _row(hold_id, new))
            for study_id in studies:
                changes.add(schema.held, {"study_id": study_id, "hold_id": hold_id})
            changes.write()
        return self.find(new.tenant, hold_id)

    def release(self, tenant: str, hold_id: int, release: Release) -> HoldRecord:
        """End a hold; the record of it stays.

        Raises
        ------
        NotFound
            If the tenant has no such hold.
        Conflict
            If it has ended already.
        """
        with self._catalogue.database.write() as connection:
            if _find(connection, tenant, hold_id).release is not None:
                raise Conflict("this hold is released already")
            connection.execute(
                sa.update(schema.hold)
                .where(_hold.id == hold_id)
                .values(
                    released_at=microseconds(release.released_at),
                    released_by=release.principal,
                    release_reason=release.reason,
                )
            )
            return _find(connection, tenant, hold_id)

    def find(self, tenant: str, hold_id: int) -> HoldRecord:
        """Return a hold; raises `NotFound` if the tenant has none of this id."""
        with self._catalogue.database.read() as connection:
            return _find(connection, tenant, hold_id)

    def latest(self, tenant: str, *, open_only: bool = True, study_instance_uid: str | None = None) -> list[HoldRecord]:
        """Return holds, the latest first.

        Parameters
        ----------
        open_only
            Without those that are released.
        study_instance_uid
            Only those that keep, or kept, this study.
        """
        statement = sa.select(schema.hold, _STUDIES).where(_hold.tenant == tenant).order_by(_hold.id.desc())
        if open_only:
            statement = statement.where(_hold.released_at.is_(None))
        if study_instance_uid is not None:
            of_study = (
                sa.select(_held.hold_id)
                .join_from(schema.held, schema.study, _study.id == _held.study_id)
                .where(_study.tenant == tenant, _study.study_instance_uid == study_instance_uid)
            )
            statement = statement.where(_hold.id.in_(of_study))
        with self._catalogue.database.read() as connection:
            return [_record(row) for row in connection.execute(statement)]

    def kept(self) -> list[StudyRef]:
        """Return every study, of all tenants, that a hold keeps now."""
        statement = sa.select(_study.tenant, _study.study_instance_uid).where(_study.id.in_(KEPT)).order_by(_study.id)
        with self._catalogue.database.read() as connection:
            return [StudyRef(row.tenant, row.study_instance_uid) for row in connection.execute(statement)]

    def studies(self, tenant: str, hold_id: int) -> list[StudyRef]:
        """Return the studies that a hold keeps, ordered by UID; raises `NotFound`."""
        statement = (
            sa.select(_study.study_instance_uid)
            .join_from(schema.held, schema.study, _study.id == _held.study_id)
            .where(_held.hold_id == hold_id)
            .order_by(_study.study_instance_uid)
        )
        with self._catalogue.database.read() as connection:
            _find(connection, tenant, hold_id)
            return [StudyRef(tenant, uid) for uid in connection.execute(statement).scalars()]


def _studies_of(connection: sa.Connection, tenant: str, held: Held) -> list[int]:
    stored = sa.select(_study.id).where(_study.tenant == tenant, _IS_STORED)
    if held.study_instance_uid:
        found = connection.execute(stored.where(_study.study_instance_uid == held.study_instance_uid))
        return list(found.scalars())
    named = stored.where(_study.patient_id == held.patient_id, _study.issuer_of_patient_id == held.issuer)
    ids = list(connection.execute(named).scalars())
    # A study of which nothing is in view has no attributes of its own: its latest version says whose it was.
    for study_id in connection.execute(stored.where(_study.listed.is_(False))).scalars():
        latest = sa.select(_version.metadata).where(_version.study_id == study_id).order_by(_version.id.desc()).limit(1)
        metadata = json.loads(unpack_metadata(connection.execute(latest).scalar_one()))
        if patient_of(metadata) == (held.patient_id, held.issuer):
            ids.append(study_id)
    return ids


def _row(hold_id: int, new: NewHold) -> dict[str, Any]:
    return {
        "id": hold_id,
        "tenant": new.tenant,
        "study_instance_uid": new.held.study_instance_uid,
        "patient_id": new.held.patient_id,
        "issuer_of_patient_id": new.held.issuer,
        "principal": new.principal,
        "reason": new.reason,
        "placed_at": microseconds(new.placed_at),
    }


def _find(connection: sa.Connection, tenant: str, hold_id: int) -> HoldRecord:
    chosen = sa.and_(_hold.id == hold_id, _hold.tenant == tenant)
    row = connection.execute(sa.select(schema.hold, _STUDIES).where(chosen)).first()
    if row is None:
        raise NotFound("hold")
    return _record(row)


def _record(row: Any) -> HoldRecord:
    ended = row.released_at is not None
    return HoldRecord(
        id=row.id,
        tenant=row.tenant,
        held=Held(row.study_instance_uid, row.patient_id, row.issuer_of_patient_id),
        principal=row.principal,
        reason=row.reason,
        placed_at=moment(row.placed_at),
        studies=row.studies,
        release=Release(row.released_by, row.release_reason, moment(row.released_at)) if ended else None,
    )
