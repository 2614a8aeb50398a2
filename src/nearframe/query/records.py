"""Catalogue look-ups for retrieval, remembered while they hold."""

from __future__ import annotations

from typing import NamedTuple

from nearframe.cache.sizedlru import SizedLRU
from nearframe.context import Context
from nearframe.errors import AccessError
from nearframe.query.freshness import Freshness, Stamp
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, InstanceRecord, StudyRef

#: Frames whose digests weigh as much as the rest of a record.
_FRAMES_PER_ENTRY = 16


class _Key(NamedTuple):
    tenant: str
    study_instance_uid: str
    series_instance_uid: str | None
    sop_instance_uid: str
    version: int | None


class InstanceRecords:
    """Finds instances. Authorises before it looks anywhere.

    Parameters
    ----------
    entries
        Records kept in memory; one with many frames counts as several.
    """

    def __init__(self, catalogue: Catalogue, workers: Workers, freshness: Freshness, entries: int) -> None:
        self.catalogue = catalogue
        self.freshness = freshness
        self._workers = workers
        self._known: SizedLRU[_Key, tuple[Stamp, InstanceRecord]] = SizedLRU(entries)

    def study(self, context: Context, study_instance_uid: str) -> StudyRef:
        """Return a study that the caller may reach, whether it exists or not.

        Raises
        ------
        AccessError
        """
        if not context.scope.admits(study_instance_uid):
            raise AccessError("this study is outside what the session may reach")
        return StudyRef(context.tenant, study_instance_uid)

    async def find(
        self,
        context: Context,
        study_instance_uid: str,
        series_instance_uid: str | None,
        sop_instance_uid: str,
        version: int | None = None,
    ) -> InstanceRecord:
        """Return the current version of an instance, or the numbered one.

        Raises
        ------
        NotFound, AccessError
        """
        study = self.study(context, study_instance_uid)
        key = _Key(study.tenant, study_instance_uid, series_instance_uid, sop_instance_uid, version)
        known = self._known.get(key)
        if known is not None and known[0].valid:
            return known[1]
        stamp = self.freshness.stamp(study)
        record = await self._workers.run(
            self.catalogue.find_instance,
            study.tenant,
            sop_instance_uid,
            study_instance_uid=study_instance_uid,
            series_instance_uid=series_instance_uid,
            version=version,
        )
        self._known.put(key, (stamp, record), 1 + len(record.frames) // _FRAMES_PER_ENTRY)
        return record

    async def list(
        self,
        context: Context,
        study_instance_uid: str,
        series_instance_uid: str | None = None,
        *,
        at_seq: int | None = None,
    ) -> list[InstanceRecord]:
        """Return the instances of a study or series, in the catalogue's order.

        Raises
        ------
        NotFound, AccessError
        """
        study = self.study(context, study_instance_uid)
        records = await self._workers.run(self.catalogue.list_instances, study, series_instance_uid, at_seq=at_seq)
        if not records:
            # Tells a study that is not here (NotFound) from one that is empty at that sequence.
            await self._workers.run(self.catalogue.state, study, series_instance_uid)
        return records
