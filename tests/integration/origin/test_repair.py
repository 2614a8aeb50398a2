"""A running origin that lost contents, and another node that has them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from nearframe.storage.packs.record import FILE_HEADER_BYTES, HEADER_BYTES
from nearframe.upkeep.nodes import NodeCopies, RunningNode
from nearframe.upkeep.repair import Repaired, repair
from tests.integration.edge.nodes import origin_node
from tests.syncing import STUDY_UID, ct_series, instance_uid


def repaired(damaged: str, whole: str, folder: Path) -> Repaired:
    with httpx.Client(base_url=damaged) as node, httpx.Client(base_url=whole) as other:
        return repair(RunningNode(node), NodeCopies(other, folder))


async def test_what_is_damaged_comes_from_a_node_that_holds_it(tmp_path: Path) -> None:
    files = ct_series(3, rows=64)
    async with origin_node(tmp_path / "damaged") as damaged, origin_node(tmp_path / "whole") as whole:
        for file in files:  # one after the other, so that it is known where each lies
            await damaged.store([file])
        await whole.store(files[1:])
        pack = tmp_path / "damaged" / "packs" / "00000001.seg"
        data = bytearray(pack.read_bytes())
        for number in (1, 4, 6):  # a header, and two frames
            data[_content(bytes(data), number) + HEADER_BYTES + 5] ^= 1
        pack.write_bytes(data)
        await damaged.client.post("/api/scrub")
        while (await damaged.client.get("/api/scrub")).json()["running"]:
            await asyncio.sleep(0.01)
        lost = (await damaged.client.get("/api/scrub/damaged")).json()["damaged"]
        assert len(lost) == 3
        assert await asyncio.to_thread(repaired, damaged.url, whole.url, tmp_path) == Repaired(3, 2)
        for file in files[1:]:
            assert await damaged.file(STUDY_UID, f"{STUDY_UID}.1", instance_uid(file)) == file


def _content(data: bytes, number: int) -> int:
    """Return where the record of a content begins, counted from one."""
    at = FILE_HEADER_BYTES
    for _ in range(number - 1):
        at += HEADER_BYTES + int.from_bytes(data[at + 24 : at + 32], "little")
    return at
