"""Identifiers that were merged away, and what came under them all the same.

A merge moves what is here. What comes later from a scanner whose worklist was not corrected,
or from an edge that was offline, still names the identifier that was given up: it is shown
as it came, and listed until somebody merges it too, or undoes the merge.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from nearframe.errors import NotFound
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.values import microseconds, moment
from nearframe.storage.ports import MergedIdentity, PatientIdentity, StrayStudy

_merged, _study = schema.merged_identifier.c, schema.study.c


class Identities:
    """The merged identifiers of a catalogue. Any thread may call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, tenant: str, merged: Sequence[MergedIdentity], merged_at: datetime) -> None:
        """Remember identifiers that were merged away while nothing of them was here; durable on return."""
        with self._database.write() as connection:
            for one in merged:
                if not _is_noted(connection, tenant, one):
                    note_merged(connection, tenant, one, merged_at, None)

    def strays(self, tenant: str) -> list[StrayStudy]:
        """Return the studies in view under identifiers that were merged away, the oldest merge first."""
        same = sa.and_(
            _study.tenant == _merged.tenant,
            _study.patient_id == _merged.patient_id,
            _study.issuer_of_patient_id == _merged.issuer,
            _study.listed == sa.true(),
        )
        statement = (
            sa.select(schema.merged_identifier, _study.study_instance_uid, _study.instance_count)
            .join_from(schema.merged_identifier, schema.study, same)
            .outerjoin(schema.correction, schema.correction.c.id == _merged.correction_id)
            # A merge that was undone is none, until its undoing is undone.
            .where(_merged.tenant == tenant, schema.correction.c.undone_by.is_(None))
            .order_by(_merged.merged_at, _study.seq)
        )
        with self._database.read() as connection:
            return [
                StrayStudy(
                    row.study_instance_uid,
                    row.instance_count,
                    PatientIdentity(row.patient_id, row.issuer),
                    PatientIdentity(row.into_id, row.into_issuer),
                    moment(row.merged_at),
                )
                for row in connection.execute(statement)
            ]


def note_merged(
    connection: sa.Connection, tenant: str, merged: MergedIdentity, merged_at: datetime, correction_id: int | None
) -> None:
    """Remember an identifier that is merged away, in the transaction that does it. The other one is in use again."""
    for identity in (merged.prior, merged.into):
        connection.execute(sa.delete(schema.merged_identifier).where(*_is(tenant, identity)))
    values = {
        "tenant": tenant,
        "patient_id": merged.prior.id,
        "issuer": merged.prior.issuer,
        "into_id": merged.into.id,
        "into_issuer": merged.into.issuer,
        "merged_at": microseconds(merged_at),
        "correction_id": correction_id,
    }
    connection.execute(sa.insert(schema.merged_identifier).values(values))


def forget_merged(connection: sa.Connection, tenant: str, identity: PatientIdentity) -> None:
    """Forget that an identifier was merged away; raises `NotFound` if it was not."""
    if not connection.execute(sa.delete(schema.merged_identifier).where(*_is(tenant, identity))).rowcount:
        raise NotFound("merge of this identifier")


def _is_noted(connection: sa.Connection, tenant: str, merged: MergedIdentity) -> bool:
    found = sa.select(_merged.patient_id).where(*_is(tenant, merged.prior), _merged.into_id == merged.into.id)
    return connection.execute(found).first() is not None


def _is(tenant: str, identity: PatientIdentity) -> tuple[sa.ColumnElement[bool], ...]:
    return _merged.tenant == tenant, _merged.patient_id == identity.id, _merged.issuer == identity.issuer
