"""Catalogue look-ups for retrieval, remembered while they hold.

A viewer asks for the instances of a series one by one. The first is looked up alone; when a
second one is asked for, the whole series is, in one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nearframe.cache.singleflight import SingleFlight
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


class _Series(NamedTuple):
    """What is known of a series at a stamp: that one of its instances was asked for, or all of them."""

    stamp: Stamp
    records: Sequence[InstanceRecord] | None


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
        self._series: SizedLRU[tuple[StudyRef, str], _Series] = SizedLRU(entries)
        self._loads: SingleFlight[tuple[StudyRef, str, Stamp], Sequence[InstanceRecord]] = SingleFlight(
            "series records"
        )

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
        if version is None and series_instance_uid is not None:
            found = await self._in_series(study, series_instance_uid, stamp, sop_instance_uid)
            if found is not None:
                return found
        record = await self._workers.run(
            self.catalogue.find_instance,
            study.tenant,
            sop_instance_uid,
            study_instance_uid=study_instance_uid,
            series_instance_uid=series_instance_uid,
            version=version,
        )
        self._known.put(key, (stamp, record), _weight(record))
        return record

    def beside(self, record: InstanceRecord) -> Sequence[InstanceRecord]:
        """Return what is known of an instance's series without looking: all of it, or the instance alone."""
        known = self._series.get((record.study, record.identity.series_instance_uid))
        return known.records if known is not None and known.stamp.valid and known.records else (record,)

    async def _in_series(
        self, study: StudyRef, series_instance_uid: str, stamp: Stamp, sop_instance_uid: str
    ) -> InstanceRecord | None:
        """Return an instance out of the whole of its series, if another one of it was asked for before."""
        known = self._series.get((study, series_instance_uid))
        if known is None or known.stamp is not stamp:
            self._series.put((study, series_instance_uid), _Series(stamp, None), 1)
            return None
        records = known.records
        if records is None:
            records = await self._loads.run(
                (study, series_instance_uid, stamp), lambda: self._load(study, series_instance_uid, stamp)
            )
        return next((one for one in records if one.identity.sop_instance_uid == sop_instance_uid), None)

    async def _load(self, study: StudyRef, series_instance_uid: str, stamp: Stamp) -> Sequence[InstanceRecord]:
        records = await self._workers.run(self.catalogue.list_instances, study, series_instance_uid)
        weight = 1 + sum(map(_weight, records))
        if weight > self._series.capacity:
            records, weight = [], 1  # so many are looked up one by one
        self._series.put((study, series_instance_uid), _Series(stamp, records), weight)
        for record in records:
            key = _Key(
                study.tenant, study.study_instance_uid, series_instance_uid, record.identity.sop_instance_uid, None
            )
            self._known.put(key, (stamp, record), _weight(record))
        return records

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


def _weight(record: InstanceRecord) -> int:
    return 1 + len(record.frames) // _FRAMES_PER_ENTRY
