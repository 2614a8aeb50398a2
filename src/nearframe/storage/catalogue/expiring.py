"""What retention asks of the catalogue: every study with its attributes, and whose it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from nearframe.dicom.model import DICOMJSON
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.catalogue import SQLCatalogue
from nearframe.storage.catalogue.holding import KEPT
from nearframe.storage.catalogue.values import moment
from nearframe.storage.ports import StudyRef

_study, _series, _version = schema.study.c, schema.series.c, schema.version.c

_PAGE: Final = 500
_STUDIES: Final = (
    sa.select(
        _study.id,
        _study.tenant,
        _study.study_instance_uid,
        _study.patient_id,
        _study.issuer_of_patient_id,
        _study.patient_birth_date,
        _study.study_date,
        _study.attributes,
        _study.id.in_(KEPT).label("is_held"),
    )
    .where(_study.tenant == sa.bindparam("tenant"), _study.listed == sa.true(), _study.id > sa.bindparam("after"))
    .order_by(_study.id)
    .limit(_PAGE)
)
_DATES: Final = sa.select(_study.study_date).where(
    _study.tenant == sa.bindparam("tenant"),
    _study.listed == sa.true(),
    _study.patient_id == sa.bindparam("patient_id"),
    _study.issuer_of_patient_id == sa.bindparam("issuer"),
)
_RECEIVED: Final = (
    sa.select(sa.func.max(_version.received_at))
    .join_from(schema.study, schema.version, _version.study_id == _study.id)
    .where(_study.tenant == sa.bindparam("tenant"), _study.study_instance_uid == sa.bindparam("study"))
)


@dataclass(frozen=True, slots=True)
class FiledStudy:
    """A study in view.

    Attributes
    ----------
    series
        Attributes of study and series together, for each series in view.
    is_held
        A legal hold keeps it.
    """

    study: StudyRef
    patient_id: str
    issuer: str
    birth_date: str
    study_date: str
    series: tuple[DICOMJSON, ...]
    is_held: bool


class Expiring:
    """The studies of a catalogue, one after the other. Any thread may call."""

    def __init__(self, catalogue: SQLCatalogue) -> None:
        self._catalogue = catalogue

    def studies(self, tenant: str) -> Iterator[FiledStudy]:
        """Yield every study in view; what changes meanwhile may be seen or not."""
        after = 0
        while True:
            with self._catalogue.database.read() as connection:
                rows = connection.execute(_STUDIES, {"tenant": tenant, "after": after}).all()
                series = _series_of(connection, [row.id for row in rows])
            for row in rows:
                own = json.loads(row.attributes)
                yield FiledStudy(
                    StudyRef(row.tenant, row.study_instance_uid),
                    row.patient_id,
                    row.issuer_of_patient_id,
                    row.patient_birth_date,
                    row.study_date,
                    tuple(own | attributes for attributes in series.get(row.id, ())),
                    bool(row.is_held),
                )
            if len(rows) < _PAGE:
                return
            after = rows[-1].id

    def dates_of_patient(self, tenant: str, patient_id: str, issuer: str) -> list[str]:
        """Return the dates of a patient's studies in view, as DICOM writes them."""
        named = {"tenant": tenant, "patient_id": patient_id, "issuer": issuer}
        with self._catalogue.database.read() as connection:
            return list(connection.execute(_DATES, named).scalars())

    def last_received(self, study: StudyRef) -> datetime | None:
        """Return when something of a study came last."""
        named = {"tenant": study.tenant, "study": study.study_instance_uid}
        with self._catalogue.database.read() as connection:
            found = connection.execute(_RECEIVED, named).scalar()
        return None if found is None else moment(found)

    def tenants(self) -> list[str]:
        """Return the tenants that have studies."""
        with self._catalogue.database.read() as connection:
            return sorted(connection.execute(sa.select(_study.tenant).distinct()).scalars())


def _series_of(connection: sa.Connection, study_ids: list[int]) -> dict[int, list[DICOMJSON]]:
    found: dict[int, list[DICOMJSON]] = {}
    statement = sa.select(_series.study_id, _series.attributes).where(
        _series.study_id.in_(study_ids), _series.listed == sa.true()
    )
    for row in connection.execute(statement):
        found.setdefault(row.study_id, []).append(json.loads(row.attributes))
    return found
