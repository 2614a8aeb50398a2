"""An archive dies within 1000 C-STOREs, 20 times: killed, or its power cut. What it acknowledged is there, once.

``--seed`` chooses when it dies. Scanners do what scanners do: they come back, and send again what was not
acknowledged. Cutting the power needs a disk of its own (see `disk`); without one it is killed each time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from nearframe.dimse.scu import Peer
from tests.drills.conftest import Say
from tests.drills.series import ASSOCIATIONS, WINDOW, Series, versions
from tests.drills.site import Node, free_port

_DEATHS: Final = 20
_INSTANCES: Final = 1000
_ROWS: Final = 90  # 16 KB
_ROOT: Final = "1.2.826.0.1.3680043.2.1125.9"


class Archive:
    """A node that takes in by C-STORE.

    Attributes
    ----------
    peer
        Where it does.
    """

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.peer = Peer("127.0.0.1", port, "NEARFRAME", "DRILL")
        self.node = Node("origin", folder, "--no-renditions", "--no-perceptual", "--dicom", f"127.0.0.1:{port}")

    async def start(self) -> None:
        """Start it, and wait until it takes associations too."""
        await self.node.start()
        while True:
            try:
                _, writer = await asyncio.open_connection(self.peer.host, self.peer.port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Archive]:
    archive = Archive(folder)
    archive.node.disk.open()
    try:
        await archive.start()
        yield archive
    finally:
        archive.node.close()


async def die_within(archive: Archive, series: Series, after: int, die: Callable[[], None]) -> None:
    """Send a series, and have the archive die once it has acknowledged so much; the rest is under way then."""
    due = asyncio.Event()

    def answered() -> None:
        if len(series.acknowledged) >= after:
            due.set()

    sending = asyncio.ensure_future(series.send(archive.peer, answered))
    sending.add_done_callback(lambda _: due.set())
    await due.wait()
    await asyncio.to_thread(die)
    await sending


@pytest.mark.drill
async def test_sudden_death(tmp_path: Path, seed: int, say: Say) -> None:
    rng = random.Random(seed)
    say(f"\ndeaths of seed {seed}: python -m pytest -m drill tests/drills/test_sudden_death.py --seed {seed}")
    async with running(tmp_path) as archive, httpx.AsyncClient(timeout=60, trust_env=False) as client:
        for number in range(_DEATHS):
            series, began_s = Series(f"{_ROOT}.{number}", _INSTANCES, rows=_ROWS, seed=number), time.monotonic()
            has_power = number % 2 == 0 or not archive.node.disk.is_real
            die = archive.node.kill if has_power else archive.node.cut_power
            await die_within(archive, series, rng.randrange(1, _INSTANCES - ASSOCIATIONS * WINDOW), die)
            survived = len(series.acknowledged)
            await archive.start()
            await series.check(client, archive.node.url)
            await series.send(archive.peer)
            assert len(series.acknowledged) == _INSTANCES
            await series.check(client, archive.node.url)
            again = [uid for uid, times in series.sent.items() if times > 1]
            assert [await versions(client, archive.node.url, uid) for uid in again] == [1] * len(again)
            say(
                f"{number + 1:2} {'killed' if has_power else 'power cut'} after {survived} answers: all there, once; "
                f"{len(again)} sent again, in {time.monotonic() - began_s:.1f} s"
            )
