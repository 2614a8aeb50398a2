"""An edge in front of an archive, put together."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp

from nearframe import tasks
from nearframe.clock import Clock
from nearframe.config import Settings
from nearframe.context import Urgency
from nearframe.dicom.limits import Limits
from nearframe.dicomweb.call import Gate
from nearframe.edge.front import EdgeFront
from nearframe.edge.pacs.contents import MirroredContents
from nearframe.edge.pacs.front import PacsFront
from nearframe.edge.pacs.ledger import Ledger
from nearframe.edge.pacs.mirror import Keeping, Mirror
from nearframe.edge.pacs.passing import Passing
from nearframe.edge.pacs.ports import Archive
from nearframe.edge.pacs.priors import Priors
from nearframe.edge.pacs.watch import ArchiveWatch
from nearframe.errors import NearframeError
from nearframe.intake.spool import Spool
from nearframe.metrics import (
    EDGE_READ_BYTES,
    PACS_INSTANCES,
    UPSTREAM_BYTES,
    UPSTREAM_HEALTHY,
    UPSTREAM_IN_USE,
    Metrics,
)
from nearframe.query import status
from nearframe.query.freshness import Freshness
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, ContentStore, StudyRef

#: Studies opened within this time are compared again and again.
_RECENT_S: Final = 24 * 3600.0
_RECENT_STUDIES: Final = 1000


@dataclass(frozen=True, slots=True)
class PacsKept:
    """Where such an edge keeps what it retrieves, and the threads to reach it."""

    home: Path
    store: ContentStore
    catalogue: Catalogue
    freshness: Freshness
    spool: Spool
    limits: Limits
    sql: Workers
    disk: Workers
    metrics: Metrics


class PacsEdge:
    """Keeps what was opened of an archive, and passes the rest on. For one event loop.

    Parameters
    ----------
    nudge
        Told that something changed here: wakes those who follow this edge.

    Attributes
    ----------
    priors
        Brings what will be wanted next; None where the archive cannot be asked for it.
    """

    priors: Priors | None = None

    def __init__(
        self,
        settings: Settings,
        archive: Archive,
        kept: PacsKept,
        gate: Gate,
        *,
        nudge: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.archive = archive
        self._kept = kept
        self._gate = gate
        self._nudge = nudge
        self._clock = clock
        self._every_s = settings.compare_minutes * 60.0
        self.watch = ArchiveWatch(archive)
        self._ledger = Ledger(kept.home, kept.metrics)
        keeping = Keeping(kept.catalogue, kept.store, kept.spool, kept.limits, kept.disk, kept.metrics, clock)
        self.mirror = Mirror(archive, self._ledger, keeping, self._changed)
        self.contents = MirroredContents(kept.store, kept.disk, kept.catalogue, kept.sql, self.mirror, kept.metrics)
        #: When somebody last asked for something of a study, by the monotonic clock; the latest last.
        self._opened_s: OrderedDict[StudyRef, float] = OrderedDict()
        self._comparing: asyncio.Task[None] | None = None
        kept.metrics.before_reading(self._measure)

    def start(self) -> None:
        """Begin to look after the archive, and to compare what is open, again and again."""
        self.watch.start()
        if self.priors is not None:
            self.priors.start()
        self._comparing = tasks.spawn(self._keep_comparing(), name="compare studies")

    async def stop(self) -> None:
        """Stop; what was being brought is brought another time."""
        await self.watch.stop()
        if self.priors is not None:
            await self.priors.stop()
        if self._comparing is not None:
            await tasks.cancel([self._comparing])
        await self.mirror.stop()
        await self.archive.close()
        for workers in (self._kept.disk, self._kept.sql):
            await workers.drained()
        await self._kept.disk.run(self._ledger.close)

    def wrap(self, dicomweb: ASGIApp, passing: Passing | None) -> ASGIApp:
        """Return the DICOMweb application of this edge, given the one that every node has; see `PacsFront`."""
        front = PacsFront(dicomweb, passing, self.mirror, self._gate, self._asked)
        return EdgeFront(front, self.archive, requested=_nothing_to_find_out, answered=lambda noted: None)

    async def study_wanted(self, study: StudyRef) -> None:
        """Open a study of which nothing is here, for who asks otherwise than by DICOMweb."""
        if not self.mirror.is_whole(study) and not await self.mirror.holds_some(study):
            await self.mirror.bring_study(study, Urgency.ACTIVE)
        self._opened(study)

    def upstream_status(self) -> status.Upstream:
        """Return how the line stands; an archive has no feed to be behind of."""
        return {
            "kind": self.archive.kind,
            "reachable": self.watch.is_reachable,
            "problem": self.watch.problem,
            "last_contact_s": self.archive.last_contact_s,
        }

    def moved(self) -> status.MovedFiles:
        """Return what came over the line since the start: files and documents, as the archive sends them."""
        value = self._kept.metrics.value
        return {
            "files": int(value(PACS_INSTANCES)),
            "file_bytes": int(value(UPSTREAM_BYTES, kind="file")),
            "document_bytes": int(value(UPSTREAM_BYTES, kind="answer")),
            "saved_bytes": int(value(EDGE_READ_BYTES, how="held")),
        }

    def _measure(self) -> None:
        self._kept.metrics.set(UPSTREAM_HEALTHY, self.archive.is_reachable, rank="0")
        self._kept.metrics.set(UPSTREAM_IN_USE, True, rank="0")

    def _changed(self, study: StudyRef) -> None:
        self._kept.freshness.changed(study)
        self._nudge()

    def _asked(self, study: StudyRef, *, is_opening: bool) -> None:
        self._opened(study)
        if is_opening and self.priors is not None:
            self.priors.opened(study)

    def _opened(self, study: StudyRef) -> None:
        self._opened_s[study] = self._clock.monotonic()
        self._opened_s.move_to_end(study)
        if len(self._opened_s) > _RECENT_STUDIES:
            self._opened_s.popitem(last=False)

    async def _keep_comparing(self) -> None:
        while True:
            await asyncio.sleep(self._every_s * random.uniform(0.9, 1.1))  # many edges must not ask in step
            for study in self._recent():
                with suppress(NearframeError):
                    await self.mirror.bring_study(study)

    def _recent(self) -> list[StudyRef]:
        since_s = self._clock.monotonic() - _RECENT_S
        return [study for study, at_s in self._opened_s.items() if at_s >= since_s]


async def _nothing_to_find_out(_: str) -> None:
    return
