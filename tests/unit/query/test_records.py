from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nearframe.context import Context, Scope
from nearframe.errors import AccessError, NotFound
from nearframe.query.records import InstanceRecords
from tests.archive import Archive, open_archive, sample


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
