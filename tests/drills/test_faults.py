"""Kills, cut lines, full disks and flipped bits while an edge takes in and forwards.

Afterwards every acknowledged file is upstream once, byte for byte, and no reader was ever given a
wrong byte. ``--seed`` chooses what happens, ``--faults`` how much.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from nearframe import tasks
from tests.drills.site import Site
from tests.drills.traffic import Instance, Reader, Scanner, digest, instances, versions_of

pytestmark = pytest.mark.drill

_PATIENCE_S = 600.0


class Drill:
    """Faults, one after the other, and their traces."""

    def __init__(self, folder: Path, seed: int, faults: int) -> None:
        self._rng = random.Random(seed)
        self._faults = faults
        self.site = Site(folder)
        self.done = Counter[str]()
        self.scanner = Scanner(self.site, instances(6, 40 + faults), random.Random(seed + 1))
        self.reader = Reader(self.site, self.scanner, random.Random(seed + 2))

    async def run(self, budget_s: float) -> None:
        """Let things go on and go wrong."""
        ends = time.monotonic() + budget_s
        work = [tasks.spawn(self.scanner.run(), name="scanner")]
        work += [tasks.spawn(self.reader.run(), name="reader") for _ in range(2)]
        try:
            for _ in range(self._faults):
                if time.monotonic() > ends:
                    break
                await asyncio.sleep(self._rng.uniform(0.05, 0.6))
                await self._strike()
        finally:
            await tasks.cancel(work)

    async def _strike(self) -> None:
        fault = self._rng.choice(("edge", "edge", "origin", "line", "line", "disk", "flip"))
        pause_s = self._rng.uniform(0.0, 0.6)
        match fault:
            case "edge" | "flip":
                self.site.edge.kill()
                if fault == "flip" and not self.site.flip_a_bit(self._rng):
                    fault = "edge"
                await asyncio.sleep(pause_s / 3)
                await self.site.edge.start()
            case "origin":
                self.site.origin.kill()
                await asyncio.sleep(pause_s)
                await self.site.origin.start()
            case "line":
                self.site.line.cut()
                await asyncio.sleep(pause_s)
                self.site.line.mend()
            case "disk" if self.site.disk.is_small:
                self.site.disk.fill()
                await asyncio.sleep(pause_s)
                self.site.disk.make_room()
            case _:
                return
        self.done[fault] += 1

    # -- afterwards ------------------------------------------------------------------------

    async def settle(self) -> int:
        """Wait until all is upstream; return how often damage made it necessary to send again."""
        again = 0
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client, asyncio.timeout(_PATIENCE_S):
            while True:
                found = (await client.get(f"{self.site.edge.url}/api/outbox")).json()
                if not found["studies"]:
                    return again
                refused = {line["study"] for line in found["studies"] if line["state"] == "refused"}
                for line in found["studies"]:
                    assert "damaged" in line["reason"] or line["state"] != "refused", line
                if refused:
                    again += await self._send_again(client, refused)
                await asyncio.sleep(0.2)

    async def _send_again(self, client: httpx.AsyncClient, studies: set[str]) -> int:
        """Do what the reason says: store the objects of these studies again."""
        sent = 0
        for instance in self.scanner.known:
            if instance.path.split("/")[3] in studies:
                for data in list(instance.acknowledged.values()):
                    await self.scanner.store(client, self.site.edge.url, {instance: data})
                    sent += 1
        return sent

    async def check(self) -> None:
        """Check that every acknowledged file is upstream once, and nothing else that was not sent."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            for instance in self.scanner.known:
                held = [digest(file) for file in await versions_of(client, self.site.origin.url, instance)]
                assert len(held) == len(set(held)), "a file is upstream twice"
                assert set(instance.acknowledged) <= set(held), "an acknowledged file is not upstream"
                assert set(held) <= set(instance.sent), "a file is upstream that nobody sent"
                await self._check_shown(client, instance)

    async def _check_shown(self, client: httpx.AsyncClient, instance: Instance) -> None:
        if not instance.acknowledged:
            return
        accept = {"Accept": "application/dicom; transfer-syntax=*"}
        shown = [
            await client.get(node.url + instance.path, headers=accept) for node in (self.site.origin, self.site.edge)
        ]
        assert [answer.status_code for answer in shown] == [200, 200]
        assert shown[0].content == shown[1].content, "the edge shows another version"


async def test_faults(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seed, faults = pytestconfig.getoption("--seed"), pytestconfig.getoption("--faults")
    drill = Drill(tmp_path, seed, faults)
    await drill.site.start()
    try:
        await drill.run(budget_s=pytestconfig.getoption("--budget"))
        again = await drill.settle()
        assert drill.reader.wrong == []
        await drill.check()
    finally:
        await drill.site.stop()
    acknowledged = sum(len(instance.acknowledged) for instance in drill.scanner.known)
    sys.stdout.write(
        f"\nseed {seed}: {dict(drill.done)}; {acknowledged} files acknowledged, {again} sent again for damage; "
        f"stores {dict(drill.scanner.stores)}; reads {dict(drill.reader.answers)}\n"
    )
    assert sum(drill.done.values()) > 0
    assert acknowledged > 0
