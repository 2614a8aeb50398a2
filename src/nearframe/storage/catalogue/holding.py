"""Legal holds, as a transaction minds them: what is held stays in view, where it is and whose it is.

Asked where something is about to leave a view, so that no way of changing the catalogue goes
around it. A study that a hold has kept once is kept until that hold is released, whoever it
names meanwhile; one that comes to name a patient on hold is kept from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import sqlalchemy as sa

from nearframe.dicom.model import DICOMJSON
from nearframe.errors import OnHold
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.attributes import string
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.catalogue.states import StudyState

_hold, _held = schema.hold.c, schema.held.c

#: The studies that a hold keeps now, as a subquery of their ids.
KEPT: Final = (
    sa.select(_held.study_id)
    .join_from(schema.held, schema.hold, _hold.id == _held.hold_id)
    .where(_hold.released_at.is_(None))
)
_OF_STUDY: Final = Prepared(
    sa.select(_hold.id)
    .join_from(schema.held, schema.hold, _hold.id == _held.hold_id)
    .where(_held.study_id == sa.bindparam("study_id"), _hold.released_at.is_(None))
    .order_by(_hold.id)
)
_OF_PATIENT: Final = Prepared(
    sa.select(_hold.id)
    .where(_hold.tenant == sa.bindparam("tenant"), _hold.patient_id == sa.bindparam("patient_id"))
    .where(_hold.issuer_of_patient_id == sa.bindparam("issuer"), _hold.released_at.is_(None))
)


class Holding:
    """The holds that stand, for one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._known: dict[int, tuple[int, ...]] = {}

    def on(self, study: StudyState) -> tuple[int, ...]:
        """Return the holds that keep a study."""
        if study.is_new:
            return ()
        if study.id not in self._known:
            rows = _OF_STUDY.rows(self._connection, study_id=study.id)
            self._known[study.id] = tuple(row["id"] for row in rows)
        return self._known[study.id]

    def keep(self, study: StudyState) -> None:
        """Refuse what takes something of a study out of view; raises `OnHold`."""
        if holds := self.on(study):
            raise OnHold(holds)

    def newly_kept(self, studies: Iterable[StudyState]) -> Iterator[dict[str, Any]]:
        """Yield the rows of studies that have come to name a patient on hold."""
        for study in studies:
            patient_id, issuer = patient_of(study.attributes)
            if not patient_id or not (study.is_new or study.is_other):
                continue
            rows = _OF_PATIENT.rows(self._connection, tenant=study.tenant, patient_id=patient_id, issuer=issuer)
            for hold_id in {row["id"] for row in rows} - set(self.on(study)):
                yield {"study_id": study.id, "hold_id": hold_id}


def patient_of(attributes: DICOMJSON) -> tuple[str, str]:
    """Return whose study it is: Patient ID, and who issued it."""
    return string(attributes, "00100020"), string(attributes, "00100021")
