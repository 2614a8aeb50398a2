"""Kills, power cuts, cut lines, full disks and flipped bits while an edge takes in and forwards.

Afterwards every acknowledged file is upstream once, byte for byte, and no reader was ever given a
wrong byte. ``--seed`` chooses what happens, ``--faults`` how much. Without a seed one is drawn, and
printed; what happens is the same for the same seed, while who runs first is the machine's affair.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from nearframe import tasks
from tests.drills.audit import Audit
from tests.drills.conftest import Say
from tests.drills.faults import FAULTS, NEEDS_DISKS, Fault, faults_of, strike
from tests.drills.ledger import Ledger, instances
from tests.drills.site import Site
from tests.drills.traffic import Reader, Scanner

_READERS: Final = 2
_SUITE_SEED: Final = 2717  # of whose first faults each kind is one, and nearly every victim is struck by each
_SUITE_FAULTS: Final = 8  # what does not make the suite slow


class Drill:
    """Faults, traffic meanwhile, and the audit afterwards."""

    def __init__(self, folder: Path, seed: int, faults: int, say: Say) -> None:
        self._seed = seed
        self._faults = faults
        self._say = say
        self.site = Site(folder)
        self.done = Counter[str]()
        self._began_s = time.monotonic()
        self._ledger = Ledger()
        self._scanner = Scanner(self.site, self._ledger, instances(6, 40 + faults), random.Random(seed + 1))
        self._readers = [Reader(self.site, self._ledger, random.Random(seed + 2 + n)) for n in range(_READERS)]
        self._audit = Audit(self.site, self._ledger, self._scanner)

    async def run(self) -> None:
        """Let things go on and go wrong, and see what is left."""
        try:
            await self.site.start()
            storing = tasks.spawn(self._scanner.run(), name="scanner")
            reading = [tasks.spawn(reader.run(), name="reader") for reader in self._readers]
            try:
                await self._strike_all()
                await tasks.cancel([storing])
                await self._audit.run()
            finally:
                await tasks.cancel([storing, *reading])
        finally:
            await self.site.stop()
        assert self._wrong == []
        assert self._ledger.acknowledged > 0

    async def _strike_all(self) -> None:
        """Strike one victim after the other; each is whole again before it is struck again."""
        victims = {victim: asyncio.Lock() for victims in FAULTS.values() for victim in victims}
        wanted = self._faults
        faults = (one for one in faults_of(self._seed) if self.site.has_disks or one.kind not in NEEDS_DISKS)
        while wanted > 0:
            async with asyncio.TaskGroup() as strikes:
                for fault in islice(faults, wanted):
                    await asyncio.sleep(fault.after_s)
                    await victims[fault.victim].acquire()
                    strikes.create_task(self._strike(fault, victims[fault.victim]))
            wanted = self._faults - self.done.total()

    async def _strike(self, fault: Fault, turn: asyncio.Lock) -> None:
        began_s = time.monotonic()
        try:
            if not await strike(self.site, fault):
                return
        finally:
            turn.release()
        self.done[str(fault)] += 1
        now_s = time.monotonic()
        self._say(
            f"{self.done.total():4} {fault!s:12} {now_s - began_s:5.1f} s, after {now_s - self._began_s:4.0f} s: "
            f"{self._ledger.acknowledged} files acknowledged, {self._read} answers right, {len(self._wrong)} wrong"
        )

    @property
    def _wrong(self) -> list[str]:
        return [wrong for reader in self._readers for wrong in reader.wrong]

    @property
    def _read(self) -> int:
        return sum(reader.answers["200"] for reader in self._readers) - len(self._wrong)

    def summary(self) -> str:
        """Return what happened, for people."""
        reads = sum((reader.answers for reader in self._readers), Counter[str]())
        return (
            f"seed {self._seed}: {self.done.total()} faults in {time.monotonic() - self._began_s:.0f} s, "
            f"{dict(sorted(self.done.items()))}; {self._ledger.acknowledged} files acknowledged; "
            f"damage found {self._audit.damaged}, {self._audit.spoiled} files stored anew for it; "
            f"stores {dict(self._scanner.answers)}; reads {dict(reads)}"
        )


async def drill(folder: Path, seed: int, faults: int, say: Say) -> None:
    """Run one; an error says how to repeat it."""
    say(f"\nfaults of seed {seed}")
    one = Drill(folder, seed, faults, say)
    try:
        await one.run()
    except BaseException as error:
        how = f"python -m pytest -m drill tests/drills/test_faults.py --seed {seed} --faults {faults}"
        error.add_note(f"to repeat it: {how}")
        raise
    finally:
        say(one.summary())


@pytest.mark.drill
async def test_faults(tmp_path: Path, pytestconfig: pytest.Config, seed: int, say: Say) -> None:
    await drill(tmp_path, seed, pytestconfig.getoption("--faults"), say)


async def test_some_faults(tmp_path: Path) -> None:
    await drill(tmp_path, _SUITE_SEED, _SUITE_FAULTS, lambda words: None)
