"""The rows of an edge's studies in memory: found by study and by patient, counted, and written behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from nearframe.edge.census import Census
from nearframe.edge.tiers import StudyTier, TierFile
from nearframe.query.status import TierCounts
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef


class TierRows:
    """The rows. For one event loop, but for `find` and what is done while `changing`."""

    def __init__(self, file: TierFile, workers: Workers) -> None:
        self._file = file
        self._workers = workers
        self._tiers: dict[str, dict[str, StudyTier]] = {}
        self._patients: dict[tuple[str, bytes], set[StudyTier]] = {}
        self._dirty: set[StudyTier] = set()
        self._census = Census()
        self._changing = threading.Lock()
        self._saving = asyncio.Lock()

    def __iter__(self) -> Iterator[StudyTier]:
        return (tier for tiers in list(self._tiers.values()) for tier in list(tiers.values()))

    def find(self, tenant: str, uid: str) -> StudyTier | None:
        """Return a study's row, if there is one."""
        tiers = self._tiers.get(tenant)
        return None if tiers is None else tiers.get(uid)

    def same_patient(self, tier: StudyTier) -> list[StudyTier]:
        """Return the other studies of a study's patient."""
        found = self._patients.get((tier.study.tenant, tier.patient), set()) if tier.patient else set()
        return [one for one in found if one is not tier]

    def counts(self) -> tuple[dict[str, TierCounts], int]:
        """Return how many studies there are of each class, and how many may not go."""
        with self._changing:
            return self._census.classes(), self._census.pinned

    # -- changes ---------------------------------------------------------------------------

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change what other threads change too."""
        with self._changing:
            yield

    def put(self, tier: StudyTier) -> None:
        """Take in a row, with the patient that it names."""
        self._tiers.setdefault(tier.study.tenant, {})[tier.study.study_instance_uid] = tier
        self._of_patient(tier)

    def of_patient(self, tier: StudyTier, patient: bytes) -> None:
        """Say whose study a row is of."""
        self._patients.get((tier.study.tenant, tier.patient), set()).discard(tier)
        tier.patient = patient
        self._of_patient(tier)

    def counted(self, tier: StudyTier) -> None:
        """A row changed in what need not be written: it is counted anew."""
        self._census.changed(tier)

    def note(self, tier: StudyTier) -> None:
        """A row changed: it is to be written, and counted anew."""
        self._dirty.add(tier)
        self._census.changed(tier)

    async def forget(self, study: StudyRef) -> None:
        """Forget a row, here and in the file."""
        tier = self._tiers.get(study.tenant, {}).pop(study.study_instance_uid, None)
        if tier is None:
            return
        with self._changing:
            self._dirty.discard(tier)
            self._census.left(tier)
        self._patients.get((study.tenant, tier.patient), set()).discard(tier)
        await self._workers.run(self._file.forget, study)

    async def save(self) -> None:
        """Write the rows that changed; durable on return."""
        async with self._saving:
            with self._changing:
                changed, self._dirty = self._dirty, set()
            try:
                await self._workers.run(self._file.save, changed)
            except BaseException:
                with self._changing:
                    self._dirty |= changed
                raise

    def _of_patient(self, tier: StudyTier) -> None:
        if tier.patient:
            self._patients.setdefault((tier.study.tenant, tier.patient), set()).add(tier)
