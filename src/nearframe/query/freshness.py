"""Whether something remembered about a study still holds.

Everything cached about a study carries the study's `Stamp`. A change to the study breaks
the stamp; whatever carries it is out of date from then on, at the cost of one attribute
look-up per read and one write per change::

    1. stamp = freshness.stamp(study)      taken before the catalogue is read
    2. value = catalogue.…                 a change in between breaks the stamp
    3. cache (stamp, value)                so an outdated value is never believed

Changes made in this process are told at once (`changed`), so a client reads what it has
stored. Changes made by other processes arrive by the feed (`follow_once`).
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from nearframe.errors import Gone
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, FeedCursor, StudyRef

FEED_PAGE = 1000


class Stamp:
    """Says whether what was read under it is still the current state of the study."""

    __slots__ = ("__weakref__", "valid")

    def __init__(self) -> None:
        self.valid = True


class Freshness:
    """The stamps of studies. `stamp` and `changed` may be called from any thread."""

    def __init__(self) -> None:
        # A stamp lives as long as something carries it.
        self._stamps: WeakValueDictionary[StudyRef, Stamp] = WeakValueDictionary()
        self._cursor: FeedCursor | None = None
        #: Grows with every change told here.
        self.generation = 0

    def stamp(self, study: StudyRef) -> Stamp:
        """Return the study's stamp; take it before reading what it shall stand for."""
        stamp = self._stamps.get(study)
        if stamp is None or not stamp.valid:
            stamp = self._stamps[study] = Stamp()
        return stamp

    def changed(self, study: StudyRef) -> None:
        """Break the study's stamp."""
        self.generation += 1
        stamp = self._stamps.pop(study, None)
        if stamp is not None:
            stamp.valid = False

    def everything_changed(self) -> None:
        """Break every stamp."""
        self.generation += 1
        for study in list(self._stamps):
            self.changed(study)

    async def follow_once(self, catalogue: Catalogue, workers: Workers) -> int:
        """Break the stamps of studies changed since the last call; return how many entries there were.

        The first call only notes where the feed ends.
        """
        if self._cursor is None:
            self._cursor = await workers.run(catalogue.head)
            self.everything_changed()
            return 0
        seen = 0
        while True:
            try:
                entries = await workers.run(catalogue.feed, self._cursor, FEED_PAGE)
            except Gone:  # restored: nothing remembered can be trusted
                self._cursor = None
                return await self.follow_once(catalogue, workers)
            for entry in entries:
                self.changed(StudyRef(entry.tenant, entry.study_instance_uid))
            seen += len(entries)
            if entries:
                self._cursor = FeedCursor(self._cursor.epoch, entries[-1].seq)
            if len(entries) < FEED_PAGE:
                return seen
