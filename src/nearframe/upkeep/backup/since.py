"""What an archive did after the point that it was brought back to, as its last backup tells.

A backup is taken against losing things, so it forgets what was to be lost or kept since: holds that were placed
are placed again, since that loses nothing. What was purged is in view again, and it is for people to say whether
that was the purpose; `hide` takes it out again.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from nearframe.errors import NotFound
from nearframe.storage.catalogue import SQLCatalogue, schema
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.catalogue.values import microseconds, moment
from nearframe.storage.ports import Held, NewHold, StudyRef

_correction, _hold = schema.correction.c, schema.hold.c
_PURGE: Final = "purge"
_PRINCIPAL: Final = "nearframe restore"


@dataclass(frozen=True, slots=True)
class Since:
    """What the last backup knows and the restored archive does not.

    Attributes
    ----------
    until
        When the last backup was taken: of what came later there is none.
    corrections
        Made since, purges left out.
    purged
        Studies of which something was purged since, and is in view again.
    hidden
        Instances of them that were taken out of view again.
    holds_placed
        Placed since, and now again.
    holds_lost
        Placed since on what the restored archive does not have.
    holds_standing
        Released since, and standing again.
    """

    until: datetime
    corrections: int = 0
    purged: tuple[StudyRef, ...] = ()
    hidden: int = 0
    holds_placed: int = 0
    holds_lost: int = 0
    holds_standing: int = 0


def catch_up(
    restored: SQLCatalogue, last: SQLCatalogue, taken_at: datetime, until: datetime, *, hides_purged: bool
) -> Since:
    """Bring into a restored archive what must not be forgotten; return what else happened.

    Parameters
    ----------
    last
        The catalogue of the last backup.
    taken_at, until
        When the backup that was restored was taken, and the last one.
    hides_purged
        Take what was purged since out of view again. It can be brought back until it is purged again.
    """
    after = microseconds(taken_at)
    purged: dict[StudyRef, None] = {}
    corrections = 0
    with last.database.read() as connection:
        made = sa.select(_correction.tenant, _correction.action, _correction.detail).where(_correction.made_at > after)
        for row in connection.execute(made):
            if row.action != _PURGE:
                corrections += 1
                continue
            for uid in json.loads(row.detail)["studies"]:
                purged[StudyRef(row.tenant, uid)] = None
        placed = connection.execute(
            sa.select(schema.hold).where(_hold.placed_at > after, _hold.released_at.is_(None)).order_by(_hold.id)
        ).all()
        released = sa.select(sa.func.count()).select_from(schema.hold)
        standing = connection.execute(released.where(_hold.placed_at <= after, _hold.released_at > after)).scalar_one()
    in_view = tuple(study for study in purged if _lost(restored, last, study))
    hidden = sum(_hide(restored, last, study) for study in in_view) if hides_purged else 0
    again = sum(_place(restored, row) for row in placed)
    return Since(until, corrections, in_view, hidden, again, len(placed) - again, int(standing))


def _lost(restored: SQLCatalogue, last: SQLCatalogue, study: StudyRef) -> list[str]:
    """Return the instances in view of a study that the last backup does not show."""
    return sorted(_shown(restored, study) - _shown(last, study))


def _shown(catalogue: SQLCatalogue, study: StudyRef) -> set[str]:
    with suppress(NotFound):
        return {record.identity.sop_instance_uid for record in catalogue.list_instances(study)}
    return set()


def _hide(restored: SQLCatalogue, last: SQLCatalogue, study: StudyRef) -> int:
    lost = _lost(restored, last, study)
    for uid in lost:
        restored.delete(study, None, uid, _PRINCIPAL)
    return len(lost)


def _place(restored: SQLCatalogue, row: sa.Row[Any]) -> bool:
    held = Held(row.study_instance_uid, row.patient_id, row.issuer_of_patient_id)
    try:
        Holds(restored).place(NewHold(row.tenant, held, row.principal, row.reason, moment(row.placed_at)))
    except NotFound:
        return False
    return True
