"""An archive is backed up under load by a process that is killed again and again, lost as a whole, and restored.

Whatever was acknowledged before the last backup began is there again, byte for byte; what came after it comes back
from the edge, as far as that holds it; nobody is given a wrong byte, and the two nodes come to show the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from nearframe import tasks
from tests.drills.audit import Audit
from tests.drills.conftest import Say
from tests.drills.ledger import Instance, Ledger, instances
from tests.drills.site import Site
from tests.drills.traffic import Reader, Scanner
from tests.radosgw import REGION, Radosgw

pytestmark = pytest.mark.drill

_ROUNDS: Final = 4
_KILLS: Final = 5  # of the backup, in each round
_LOAD_S: Final = 2.0  # between two rounds
_PATIENCE_S: Final = 120.0
_READERS: Final = 2


class Vault:
    """Where the backups are, and the command that takes them."""

    def __init__(self, home: Path, key: Path, place: str, *options: str) -> None:
        self._home = home
        self._key = key
        self._place = place
        self._options = options
        self.killed = 0

    async def back_up(self, die_after_s: float | None = None) -> dict[str, Any] | None:
        """Take a backup; None if it was killed before it was one."""
        process = await self._start("backup", "--home", str(self._home), "--into", self._place)
        try:
            async with asyncio.timeout(die_after_s):
                out, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
            self.killed += 1
            return None
        assert process.returncode == 0
        point: dict[str, Any] = json.loads(out)
        return point

    async def restore(self, *what: str) -> Any:
        """Restore the last backup, or do what else is asked of it."""
        process = await self._start("restore", "--from", self._place, "--root-key", str(self._key), *what)
        out, _ = await process.communicate()
        assert process.returncode == 0
        return json.loads(out)

    async def _start(self, *command: str) -> asyncio.subprocess.Process:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        program = (sys.executable, "-m", "nearframe", *command, *self._options, "--json")
        return await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE, env=environment)


class Load:
    """Clients of both nodes, at work until the block ends."""

    def __init__(self, site: Site, ledger: Ledger, seed: int) -> None:
        self.scanner = Scanner(site, ledger, instances(6, 400), random.Random(seed))
        self.readers = [Reader(site, ledger, random.Random(seed + 1 + n)) for n in range(_READERS)]

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        async with self._running("scanner", self.scanner.run()):
            yield

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        async with self._running("reader", *(reader.run() for reader in self.readers)):
            yield

    @staticmethod
    @asynccontextmanager
    async def _running(name: str, *work: Any) -> AsyncIterator[None]:
        running = [tasks.spawn(one, name=name) for one in work]
        try:
            yield
        finally:
            await tasks.cancel(running)


def acknowledged(ledger: Ledger) -> dict[Instance, set[bytes]]:
    return {instance: set(instance.acknowledged) for instance in ledger.instances}


async def is_settled(client: httpx.AsyncClient, site: Site) -> bool:
    """Return whether the edge has forwarded and followed everything."""
    waits = (await client.get(f"{site.edge.url}/api/outbox")).json()["studies"]
    head = (await client.get(f"{site.origin.url}/api/status")).json()["feed"]["head"]
    cursor = (await client.get(f"{site.edge.url}/api/status")).json()["upstream"]["cursor"]
    return not waits and bool(cursor == head)


async def drill(site: Site, vault: Vault, seed: int, say: Say) -> None:
    rng, ledger = random.Random(seed), Ledger()
    load = Load(site, ledger, seed + 1)
    async with load.reading():
        async with load.storing():
            for _ in range(_ROUNDS):
                await asyncio.sleep(_LOAD_S)
                for _ in range(_KILLS):
                    await vault.back_up(die_after_s=rng.uniform(0.0, 1.5))
                before = acknowledged(ledger)
                assert await vault.back_up() is not None
                assert (await vault.restore("--check"))["damaged"] == 0
            await asyncio.sleep(_LOAD_S)
        for point in await vault.restore("--list"):  # those of processes that were killed a moment too late are whole
            assert (await vault.restore("--check", "--at", point["name"]))["damaged"] == 0
        site.origin.kill()
        shutil.rmtree(site.origin.home)
        restored = await vault.restore("--home", str(site.origin.home))
        assert (restored["check"]["incomplete"], restored["scrub"]["damaged"]) == (0, 0)
        await site.origin.start()
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client, asyncio.timeout(_PATIENCE_S):
            while not await is_settled(client, site):
                await asyncio.sleep(0.2)
    after = Counter[str]()
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        audit = Audit(site, ledger, load.scanner)
        for instance in list(ledger.instances):
            held = set(await audit.versions(client, instance))
            for file in set(instance.acknowledged) - before.get(instance, set()):
                after["came back" if file in held else "lost"] += 1
                if file not in held:
                    del instance.acknowledged[file]
        await audit.check(client)
    reads = sum((reader.answers for reader in load.readers), Counter[str]())
    kept = sum(map(len, before.values()))
    say(
        f"{kept} files were acknowledged before the backup that was restored, and are there; of those after it "
        f"{dict(after)}; {vault.killed} backups were killed; reads {dict(reads)}, stores {dict(load.scanner.answers)}"
    )
    assert [wrong for reader in load.readers for wrong in reader.wrong] == []
    assert kept > 0
    assert after["came back"] > 0


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Site, Path]]:
    """Run both nodes; the other value is a copy of the archive's key."""
    site = Site(folder)
    await site.start()
    try:
        key = folder / "root.key"
        shutil.copy(site.origin.home / "keys" / "root.key", key)
        yield site, key
    finally:
        await site.stop()


async def test_into_a_folder(tmp_path: Path, seed: int, say: Say) -> None:
    say(f"\nto repeat it: python -m pytest -m drill tests/drills/test_backup.py --seed {seed}")
    async with running(tmp_path) as (site, key):
        await drill(site, Vault(site.origin.home, key, str(tmp_path / "vault")), seed, say)


@pytest.mark.radosgw
async def test_into_a_bucket(tmp_path: Path, radosgw: Radosgw, seed: int, say: Say) -> None:
    server = ("--s3-endpoint", radosgw.options.endpoint, "--s3-region", REGION, "--s3-path-style")
    async with running(tmp_path) as (site, key):
        await drill(site, Vault(site.origin.home, key, str(radosgw.new_bucket()), *server), seed, say)
