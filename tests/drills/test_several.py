"""Three origins, their database, their bucket and nginx: any of it fails at random, under load.

Scanners store by STOW-RS and by C-STORE, readers read and search, somebody corrects. Afterwards every acknowledged
file is there once, byte for byte, and every acknowledged correction in force once; no reader was given a wrong
byte, and whoever got no answer was told to try again. ``--seed`` chooses what happens, ``--faults`` how much.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from nearframe import tasks
from nearframe.dimse.scu import Peer
from nearframe.dimse.status import Status
from tests.balancer import nginx_binary
from tests.drills.audit import Audit
from tests.drills.conftest import Say
from tests.drills.corrector import CorrectionAudit, Corrector
from tests.drills.forgetter import Forgetter
from tests.drills.ledger import Ledger, instances
from tests.drills.modality import RETRYABLE, Modality
from tests.drills.origins import Balanced, several
from tests.drills.series import Series, versions
from tests.drills.traffic import Reader, Scanner
from tests.integration.origin.test_rolling_restart import ANSWERED, Clients
from tests.postgres import server_binaries
from tests.radosgw import Radosgw

_ROOT: Final = "1.2.826.0.1.3680043.2.1125.10"
_ROWS: Final = 90
_SERIES: Final = 2
_READERS: Final = 2
#: Answers between two restarts, at least.
_BETWEEN: Final = 50
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


@dataclass
class Load:
    """All that goes on meanwhile, and what must have become of it."""

    site: Balanced
    peers: Sequence[Peer]
    seed: int
    faults: int

    def __post_init__(self) -> None:
        self.ledger = Ledger()
        self.scanner = Scanner(self.site, self.ledger, instances(6, 40 + 4 * self.faults), self._rng())
        self.readers = [Reader(self.site, self.ledger, self._rng(), sees_all=True) for _ in range(_READERS)]
        self.searcher = Searcher(self.site.url)
        self.series = [Series(f"{_ROOT}.{n}", 20 + 4 * self.faults, rows=_ROWS, seed=n) for n in range(_SERIES)]
        self.modality = Modality(self.peers, self.series, self._rng())
        self.corrector = Corrector(self.site.url, self._rng())
        self.forgetter = Forgetter(self.site.url, self._rng())

    def _rng(self) -> random.Random:
        self.seed += 1
        return random.Random(self.seed)

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        writers = [self.scanner.run(), self.modality.run(), self.corrector.run(), self.forgetter.run()]
        work = [*writers, self.searcher.run(), *(reader.run() for reader in self.readers)]
        running = [tasks.spawn(one, name="client") for one in work]
        try:
            yield
        finally:
            ended = [task for task in running if task.done()]
            await tasks.cancel(running)
        for task in ended:
            task.result()  # a client that broke off has proved nothing

    @property
    def acknowledged(self) -> str:
        by_association = sum(len(series.acknowledged) for series in self.series)
        corrections = sum(number is not None for number in self.corrector.asked.values())
        return (
            f"{self.ledger.acknowledged} by STOW, {by_association} by C-STORE, {corrections} corrections acknowledged"
        )

    async def check(self) -> str:
        """Check what the archive holds; return what there is of it, in words."""
        async with httpx.AsyncClient(timeout=60, trust_env=False, base_url=self.site.url) as client:
            await Audit(self.site, self.ledger, self.scanner).check(client)
            for series in self.series:
                await series.check(client, self.site.url)
                held = [await versions(client, self.site.url, uid) for uid in series.acknowledged]
                assert set(held) <= {1}, "an object was stored twice"
            corrections = await CorrectionAudit(self.corrector, client).check()
            await self.forgetter.check(client)
        forgotten = f"{len(self.forgetter.purged)} purged beside {len(self.forgetter.kept)} of the same pictures"
        return f"{self.acknowledged}; {corrections} corrections made; {forgotten}"

    def check_answers(self) -> str:
        """Check that errors were such that asking again helps; return all answers, in words."""
        reads = sum((reader.answers for reader in self.readers), Counter[str]())
        assert [wrong for reader in self.readers for wrong in reader.wrong] == []
        assert self.ledger.acknowledged > 0
        assert self.scanner.answers.keys() <= {"200", "202"} | _RETRYABLE, self.scanner.reasons
        assert all(reason.startswith(f"{Status.OUT_OF_RESOURCES:04X}") for reason in self.scanner.reasons)
        assert reads.keys() <= {"200", "404"} | _RETRYABLE  # not there: what was never acknowledged is asked for, too
        assert self.searcher.answers.keys() <= {"200", "204"} | _RETRYABLE
        assert self.modality.answers.keys() <= RETRYABLE
        # Nothing left to correct, or undone already: what somebody finds who does not know what became of the last one.
        assert self.corrector.answers.keys() <= {"200", "404", "409"} | _RETRYABLE
        assert self.forgetter.answers.keys() <= {"200", "202", "409"} | _RETRYABLE
        return (
            f"stores {dict(self.scanner.answers)}, refused {dict(self.scanner.reasons)}; "
            f"C-STORE {dict(self.modality.answers)}; reads {dict(reads)}; searches {dict(self.searcher.answers)}; "
            f"corrections {dict(self.corrector.answers)}; purges {dict(self.forgetter.answers)}"
        )


async def drill(folder: Path, radosgw: Radosgw, seed: int, faults: int, say: Say) -> None:
    rng, done = random.Random(seed), Counter[str]()
    async with several(folder, *programs(), radosgw) as (archive, balancer):
        site = Balanced(balancer.url)
        load = Load(site, [origin.peer for origin in archive.origins], seed, faults)
        async with load.going_on():
            while done.total() < faults:
                await asyncio.sleep(rng.uniform(0.2, 1.5))
                done[await archive.strike(balancer, rng)] += 1
                say(f"{done.total():4} {dict(done)}: {load.acknowledged}")
        duties = await settled(site)
        async with asyncio.timeout(_PATIENCE_S):
            await load.modality.finish()
        say(f"{await load.check()}; duties {duties}")
        say(load.check_answers())


async def roll(folder: Path, radosgw: Radosgw, say: Say) -> None:
    """Restart all origins twice, one after the other, as a service manager does."""
    async with several(folder, *programs(), radosgw) as (archive, balancer):
        clients = Clients(balancer.url)
        async with clients.at_work():
            await clients.until(_BETWEEN)
            for origin in archive.origins * 2:
                assert await origin.end(signal.SIGTERM) == 0
                await clients.until(_BETWEEN)
                await origin.start()
                await clients.until(_BETWEEN)
        say(f"six restarts: {dict(clients.answers)}")
        assert clients.answers.keys() == ANSWERED
        assert await clients.shown() == clients.stored
        await clients.close()


def programs() -> tuple[Path, str]:
    """Return where PostgreSQL's programs and nginx are."""
    binaries, nginx = server_binaries(), nginx_binary()
    if binaries is None or nginx is None:
        pytest.skip("needs PostgreSQL and nginx: apt-get install postgresql nginx")
    return binaries, nginx


@pytest.mark.drill
@pytest.mark.postgresql
async def test_several_origins(
    tmp_path: Path, radosgw: Radosgw, pytestconfig: pytest.Config, seed: int, say: Say
) -> None:
    faults = min(pytestconfig.getoption("--faults"), 50)
    say(f"\nto repeat it: python -m pytest -m drill tests/drills/test_several.py --seed {seed} --faults {faults}")
    await drill(tmp_path, radosgw, seed, faults, say)


@pytest.mark.drill
@pytest.mark.postgresql
async def test_rolling_restart_of_processes(tmp_path: Path, radosgw: Radosgw, say: Say) -> None:
    await roll(tmp_path, radosgw, say)
