"""What a disk can do to an archive: nothing acknowledged is lost, nothing lost is acknowledged."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from nearframe.dicomweb.ports import StoreReport
from nearframe.errors import NearframeError, NoSpace
from nearframe.storage.packs.faulty import Fault, FaultyDisk, When
from nearframe.storage.ports import Outcome
from tests.integration.origin.conftest import Node, open_node
from tests.integration.origin.test_ingest import edited, packaged, uid_of

FILES = [
    packaged("CT_small.dcm"),
    packaged("MR_small.dcm"),
    packaged("JPEG2000.dcm"),
    packaged("rtplan.dcm"),
    edited(packaged("CT_small.dcm"), PatientName="Doe^Jane"),
    edited(packaged("MR_small.dcm"), SOPInstanceUID="1.2.3"),
]
STEPS = 13
OPERATIONS = 26  # what it takes to store FILES


async def store_one(node: Node, data: bytes) -> StoreReport | None:
    try:
        return await node.store(data)
    except NearframeError:
        return None


async def store_all(node: Node) -> list[bytes]:
    """Store every file in requests of their own, at once; return those that were acknowledged."""
    reports = await asyncio.gather(*(store_one(node, data) for data in FILES))
    return [data for data, report in zip(FILES, reports, strict=True) if report and report.stored]


def check(node: Node, acknowledged: list[bytes]) -> None:
    """Check that what was acknowledged is there once, and that everything recorded can be read."""
    held = [file for uid in {uid_of(data) for data in FILES} for file in node.versions(uid)]
    assert len(held) == len(set(held))
    assert set(acknowledged) <= set(held)


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("step", range(STEPS))
async def test_a_power_cut_at_any_moment(tmp_path: Path, step: int, when: When) -> None:
    disk = FaultyDisk(seed=step)
    with open_node(tmp_path, disk=disk) as node:
        disk.strike(Fault(len(disk.operations) + step * OPERATIONS // STEPS, when))
        acknowledged = await store_all(node)
    disk.restart()
    with open_node(tmp_path, disk=disk) as node:
        check(node, acknowledged)
        assert len(await store_all(node)) == len(FILES), "sent again, all of it is stored"
        check(node, FILES)


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("step", range(4))
async def test_an_error_of_the_disk_at_any_moment(tmp_path: Path, step: int, error: int, when: When) -> None:
    disk = FaultyDisk(seed=step)
    with open_node(tmp_path, disk=disk) as node:
        disk.strike(Fault(len(disk.operations) + step * OPERATIONS // 4, when, error))
        acknowledged = await store_all(node)
        check(node, acknowledged)
        assert len(await store_all(node)) == len(FILES), "the disk is well again"
        check(node, FILES)
    disk.cut_power()
    disk.restart()
    with open_node(tmp_path, disk=disk) as node:
        check(node, FILES)


async def test_a_failed_sync_is_no_acknowledgement(tmp_path: Path) -> None:
    disk = FaultyDisk()
    with open_node(tmp_path, disk=disk) as node:
        await node.store(FILES[0])
        before = len(disk.operations)
        await node.store(FILES[1])
        sync = next(n for n in range(before, len(disk.operations)) if disk.operations[n].startswith("sync "))
        disk.strike(Fault(len(disk.operations) + sync - before, error=errno.EIO))
        report = await store_one(node, FILES[2])
        assert report is None or report.failed
        assert node.versions(uid_of(FILES[2])) == []
        (stored,) = (await node.store(FILES[2])).stored
        assert stored.outcome is Outcome.CREATED


async def test_a_full_disk_refuses_and_reads_on(tmp_path: Path) -> None:
    disk = FaultyDisk()
    with open_node(tmp_path, disk=disk) as node:
        await node.store(FILES[0])
        disk.capacity_bytes = disk.used_bytes + 1000
        with pytest.raises(NoSpace) as refused:
            await node.store(FILES[1], FILES[2])
        assert (refused.value.http_status, refused.value.failure_reason) == (507, 0xA700)
        assert node.versions(uid_of(FILES[0])) == [FILES[0]]
        disk.capacity_bytes = None
        assert len((await node.store(FILES[1], FILES[2])).stored) == 2


async def test_a_disk_that_fills_in_the_middle_of_a_request(tmp_path: Path) -> None:
    disk = FaultyDisk()
    with open_node(tmp_path, disk=disk) as node:
        disk.capacity_bytes = disk.used_bytes + len(FILES[0]) + 10_000
        report = await node.store(*FILES)
        assert report.stored
        assert report.failed
        assert {failed.failure_reason for failed in report.failed} == {0xA700}
        stored = {stored.identity.sop_instance_uid for stored in report.stored}
        for uid in stored:
            assert node.versions(uid)
