"""Legal holds of an object store, brought into line with those of the catalogue.

The catalogue's holds are the ones that count; a bucket's (S3 object lock) stand behind them, against
everybody else who can reach the bucket. They follow a commit of the catalogue: at once, and by a
round for what a crash left in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nearframe import log
from nearframe.errors import NotFound, Refused
from nearframe.storage.catalogue.holds import Holds
from nearframe.storage.ports import StudyRef
from nearframe.storage.stores import Store
from nearframe.units import counted
from nearframe.upkeep.rounds import Round, Tell

HOLDS: Final = "holds"
HOLDS_EVERY_S: Final = 600.0

_log = log.logger(__name__)


class StoreHolds:
    """Follows the holds of a catalogue. Sync: callers bring threads; any may call, and again."""

    def __init__(self, holds: Holds, store: Store) -> None:
        self._holds = holds
        self._store = store

    def follow(self, studies: Iterable[StudyRef]) -> None:
        """Have the store hold those of some studies that a hold keeps, and no others."""
        for study in studies:
            standing = self._holds.latest(study.tenant, study_instance_uid=study.study_instance_uid)
            change = self._store.hold if standing else self._store.end_hold
            try:
                change(study)
            except (NotFound, Refused) as error:  # purged by now, or a bucket without lock: the doctor says so
                _log.warning("store_hold_not_set", error=error)

    def follow_all(self) -> int:
        """Do that for every study of which the store says something else; return how many there were."""
        differing = self._store.held_otherwise(self._holds.kept())
        self.follow(differing)
        return len(differing)

    def round(self) -> Round:
        """Return it as work that comes round."""

        def run(_tell: Tell) -> str:
            return f"{counted(self.follow_all(), 'study')} brought into line"

        return Round(HOLDS, HOLDS_EVERY_S, run)
