from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nearframe.context import Context, Scope
from nearframe.errors import AccessError, NotFound
from nearframe.query.records import InstanceRecords
from nearframe.storage.ports import InstanceRecord
from tests.archive import Archive, open_archive, sample
from tests.syncing import ct_series


class Counted:
    """A catalogue that counts what it is asked."""

    def __init__(self, archive: Archive) -> None:
        self._catalogue = archive.catalogue
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        self.asked += 1
        return getattr(self._catalogue, name)


async def test_an_instance_is_looked_up_once_until_its_study_changes(tmp_path: Path) -> None:
    async with open_archive(tmp_path) as archive:
        (stored,) = await archive.add(sample("CT_small.dcm"))
        catalogue = Counted(archive)
        records = InstanceRecords(catalogue, archive.sql, archive.freshness, 10)
        uids = stored.identity
        wanted = (archive.context, uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)
        first = await records.find(*wanted)
        assert await records.find(*wanted) is first
        assert catalogue.asked == 1
        archive.freshness.changed(first.study)
        assert await records.find(*wanted) == first
        assert catalogue.asked == 2
        assert (await records.find(*wanted, version=1)).version == 1
        with pytest.raises(NotFound):
            await records.find(*wanted[:3], "1.2.3")
        with pytest.raises(NotFound):
            await records.list(archive.context, "1.2.3")


async def test_authorisation_comes_before_the_cache(tmp_path: Path) -> None:
    async with open_archive(tmp_path) as archive:
        (stored,) = await archive.add(sample("CT_small.dcm"))
        catalogue = Counted(archive)
        records = InstanceRecords(catalogue, archive.sql, archive.freshness, 10)
        uids = stored.identity
        wanted = (uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)
        await records.find(archive.context, *wanted)
        narrow = Context("someone", archive.context.tenant, Scope(frozenset({"1.2.3"})))
        before = catalogue.asked
        with pytest.raises(AccessError):
            await records.find(narrow, *wanted)
        with pytest.raises(AccessError):
            await records.list(narrow, uids.study_instance_uid)
        assert catalogue.asked == before
        with pytest.raises(NotFound):
            await records.find(Context("someone", "another"), *wanted)


async def test_with_the_second_instance_of_a_series_all_of_it_is_looked_up(tmp_path: Path) -> None:
    async with open_archive(tmp_path) as archive:
        stored = [(await archive.add(data))[0].identity for data in ct_series(4)]
        catalogue = Counted(archive)
        records = InstanceRecords(catalogue, archive.sql, archive.freshness, 100)

        async def find(number: int) -> InstanceRecord:
            uids = stored[number]
            return await records.find(
                archive.context, uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid
            )

        first = await find(0)
        assert list(records.beside(first)) == [first]
        await find(1)
        assert {one.identity for one in records.beside(first)} == set(stored)
        assert [(await find(number)).identity for number in (2, 3)] == stored[2:]
        assert catalogue.asked == 2
        with pytest.raises(NotFound):
            await records.find(archive.context, *first_uids(first), "1.2.3")

        archive.freshness.changed(first.study)
        assert list(records.beside(first)) == [first]
        assert (await find(3)).identity == stored[3]


async def test_a_series_that_is_too_large_to_be_kept_is_looked_up_one_by_one(tmp_path: Path) -> None:
    async with open_archive(tmp_path) as archive:
        stored = [(await archive.add(data))[0].identity for data in ct_series(4)]
        catalogue = Counted(archive)
        records = InstanceRecords(catalogue, archive.sql, archive.freshness, 4)
        for uids in stored:
            wanted = (uids.study_instance_uid, uids.series_instance_uid, uids.sop_instance_uid)
            assert (await records.find(archive.context, *wanted)).identity == uids
        assert catalogue.asked == 5, "the first, a look at the whole, and each of the others"


def first_uids(record: InstanceRecord) -> tuple[str, str]:
    return record.identity.study_instance_uid, record.identity.series_instance_uid
