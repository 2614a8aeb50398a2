"""Three origins, their database and the line to their bucket: any of it fails at random, under load through nginx.

Afterwards every acknowledged file is there once, byte for byte; no reader was given a wrong byte, and whoever
got no answer was told to try again. ``--seed`` chooses what happens, ``--faults`` how much.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from nearframe import tasks
from tests.balancer import nginx_binary
from tests.drills.audit import Audit
from tests.drills.conftest import Say
from tests.drills.ledger import Ledger, instances
from tests.drills.origins import Balanced, several
from tests.drills.traffic import Reader, Scanner
from tests.postgres import server_binaries
from tests.radosgw import Radosgw

_READERS: Final = 2
_PATIENCE_S: Final = 120
#: Of which a client may believe that it will be otherwise the next time; "none": cut off amid the answer.
_RETRYABLE: Final = {"502", "503", "504", "none"}


class Searcher:
    """Asks for the list of studies, all the time."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/dicomweb/studies"
        self.answers = Counter[str]()

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            while True:
                try:
                    self.answers[str((await client.get(self._url, params={"limit": "20"})).status_code)] += 1
                except httpx.HTTPError:
                    self.answers["none"] += 1
                await asyncio.sleep(0.05)


async def settled(site: Balanced) -> dict[str, Any]:
    """Wait until somebody does all the work, and it is done; return who does what."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client, asyncio.timeout(_PATIENCE_S):
        while True:
            answer = await client.get(f"{site.url}/api/status")
            if answer.status_code == 200:
                state = answer.json()
                is_done = not any(job["lag"] for job in state["background"].values())
                if is_done and all(duty["holder"] for duty in state["duties"].values()):
                    found: dict[str, Any] = state["duties"]
                    return found
            await asyncio.sleep(0.2)


async def drill(folder: Path, radosgw: Radosgw, seed: int, faults: int, say: Say) -> None:
    binaries, nginx = server_binaries(), nginx_binary()
    if binaries is None or nginx is None:
        pytest.skip("needs PostgreSQL and nginx: apt-get install postgresql nginx")
    rng, ledger, done = random.Random(seed), Ledger(), Counter[str]()
    async with several(folder, binaries, nginx, radosgw, rng) as (archive, site):
        scanner = Scanner(site, ledger, instances(6, 40 + 4 * faults), random.Random(seed + 1))
        readers = [Reader(site, ledger, random.Random(seed + 2 + n)) for n in range(_READERS)]
        searcher = Searcher(site.url)
        work = [scanner.run(), searcher.run(), *(reader.run() for reader in readers)]
        running = [tasks.spawn(one, name="client") for one in work]
        try:
            while done.total() < faults:
                await asyncio.sleep(rng.uniform(0.2, 1.5))
                done[await archive.strike()] += 1
                say(f"{done.total():4} {dict(done)}: {ledger.acknowledged} files acknowledged")
        finally:
            await tasks.cancel(running)
        duties = await settled(site)
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            await Audit(site, ledger, scanner).check(client)
    reads = sum((reader.answers for reader in readers), Counter[str]())
    say(f"stores {dict(scanner.answers)}; reads {dict(reads)}; searches {dict(searcher.answers)}; duties {duties}")
    assert [wrong for reader in readers for wrong in reader.wrong] == []
    assert ledger.acknowledged > 0
    assert scanner.answers.keys() <= {"200", "202"} | _RETRYABLE
    assert reads.keys() <= {"200", "404"} | _RETRYABLE  # not there: what was never acknowledged is asked for, too
    assert searcher.answers.keys() <= {"200", "204"} | _RETRYABLE


@pytest.mark.drill
@pytest.mark.postgresql
async def test_several_origins(
    tmp_path: Path, radosgw: Radosgw, pytestconfig: pytest.Config, seed: int, say: Say
) -> None:
    faults = min(pytestconfig.getoption("--faults"), 50)
    say(f"\nto repeat it: python -m pytest -m drill tests/drills/test_several.py --seed {seed} --faults {faults}")
    await drill(tmp_path, radosgw, seed, faults, say)
