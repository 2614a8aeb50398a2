"""The power goes while an edge takes in: what it acknowledged is in its outbox, whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nearframe.clock import SystemClock
from nearframe.edge.outbox import Item, Outbox
from nearframe.edge.packing import Packer
from nearframe.errors import NearframeError
from nearframe.metrics import Metrics
from nearframe.storage.packs.faulty import Fault, FaultyDisk, When
from nearframe.storage.ports import StudyRef
from tests.integration.origin.conftest import Node, open_node
from tests.syncing import STUDY_UID, ct_series

STUDY = StudyRef("main", STUDY_UID)
FILES = ct_series(6)
STEPS = 8
OPERATIONS = 26  # what it takes to store FILES


async def acknowledged_of(node: Node) -> set[bytes]:
    """Store every file in a request of its own, at once; return those that were acknowledged."""

    async def store_one(data: bytes) -> bytes | None:
        try:
            return data if (await node.store(data)).stored else None
        except NearframeError:
            return None

    return {data for data in await asyncio.gather(*map(store_one, FILES)) if data is not None}


def waiting_files(node: Node, outbox: Outbox) -> list[bytes]:
    """Return what the outbox would forward, read from the store as it would be sent."""
    packer = Packer(node.catalogue, node.contents)
    found = []
    for item in outbox.batch(STUDY, 100, "http://origin"):
        packed = packer.pack(STUDY, item)
        assert all(packer.is_sound(STUDY, content) for content in packed.contents.values())
        found.append(_file(node, item))
    return found


def _file(node: Node, item: Item) -> bytes:
    [record] = [one for one in node.catalogue.list_versions("main", item.sop_instance_uid) if one.file == item.file]
    return node.file(record)


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("step", range(STEPS))
async def test_nothing_acknowledged_is_missing(tmp_path: Path, step: int, when: When) -> None:
    disk = FaultyDisk(seed=step)
    with open_node(tmp_path, disk=disk) as node:
        outbox = Outbox(tmp_path, node.catalogue, SystemClock(), Metrics())
        disk.strike(Fault(len(disk.operations) + step * OPERATIONS // STEPS, when))
        acknowledged = await acknowledged_of(node)
        if step % 2:
            outbox.absorb()  # the cut may come before or after its look
        outbox.close()
    disk.restart()
    with open_node(tmp_path, disk=disk) as node:
        outbox = Outbox(tmp_path, node.catalogue, SystemClock(), Metrics())
        outbox.absorb()
        waiting = waiting_files(node, outbox)
        assert acknowledged <= set(waiting) <= set(FILES)
        assert len(waiting) == len(set(waiting))
        outbox.close()
