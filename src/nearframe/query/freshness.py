"""Whether something remembered about a study still holds.

Everything cached about a study carries the study's `Stamp`. A change to the study breaks
the stamp; whatever carries it is out of date from then on, at the cost of one attribute
look-up per read and one write per change::

    1. stamp = freshness.stamp(study)      taken before the catalogue is read
    2. value = catalogue.…                 a change in between breaks the stamp
    3. cache (stamp, value)                so an outdated value is never believed

Changes made in this process are told at once (`changed`), so a client reads what it has
stored. Changes made by other processes arrive by the feed (`follow_once`). Behind a balancer
the process that stored and the one that is asked next differ: there each request waits for
one look at the feed that began after it came (`SeesLatest`).
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from nearframe import log, tasks
from nearframe.errors import Gone, StorageError
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, FeedCursor, StudyRef

FEED_PAGE = 1000

_log = log.logger(__name__)


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


class SeesLatest:
    """Has a request see whatever was committed before it came, by whichever process. For one event loop.

    Who comes while a look is under way waits for the next one, together with all others that do: under
    load the number of looks does not grow with that of requests.
    """

    def __init__(self, freshness: Freshness, catalogue: Catalogue, workers: Workers) -> None:
        self._freshness = freshness
        self._catalogue = catalogue
        self._workers = workers
        self._next: asyncio.Future[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Return once caches know what was committed before the call.

        While the database is away there is nothing to know: what is remembered is still served.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        waited = self._next
        if self._looking is None:
            self._looking = tasks.spawn(self._look(), name="see latest")
        await asyncio.shield(waited)

    async def close(self) -> None:
        """Look no more; nobody may ask any more."""
        if self._looking is not None:
            await tasks.cancel([self._looking])

    async def _look(self) -> None:
        try:
            while (waiting := self._next) is not None:
                self._next = None
                try:
                    await self._freshness.follow_once(self._catalogue, self._workers)
                except StorageError as error:
                    _log.warning("latest_not_seen", error=error)
                waiting.set_result(None)
        finally:
            self._looking = None
