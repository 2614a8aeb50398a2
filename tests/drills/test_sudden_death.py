"""An archive dies within 1000 C-STOREs, 20 times: killed, or its power cut. What it acknowledged is there, once.

``--seed`` chooses when it dies. Scanners do what scanners do: they come back, and send again what was not
acknowledged. Cutting the power needs a disk of its own (see `disk`); without one it is killed each time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from nearframe.dimse.scu import Peer, User, associate
from nearframe.dimse.status import Status
from nearframe.errors import UpstreamError
from tests.drills.conftest import Say
from tests.drills.site import Node, free_port
from tests.integration.dimse.hostile import uid_of
from tests.integration.dimse.test_workflow import data_set_of
from tests.multiparts import split_parts
from tests.syncing import CT_IMAGE, EXPLICIT_LE, ct_series

_DEATHS: Final = 20
_INSTANCES: Final = 1000
_ROWS: Final = 90  # 16 KB
_ASSOCIATIONS: Final = 3
_WINDOW: Final = 4  # operations at once on each
_WHOLE: Final = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
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

    async def files(self, client: httpx.AsyncClient, study: str) -> list[bytes]:
        """Return the data sets of all that it holds of a study."""
        answer = await client.get(f"{self.node.url}/dicomweb/studies/{study}", headers=_WHOLE)
        if answer.status_code == 404:
            return []
        assert answer.status_code == 200, answer.text
        return [data_set_of(file) for _, file in split_parts(answer.content, answer.headers["content-type"])]

    async def listed(self, client: httpx.AsyncClient, study: str) -> list[str]:
        """Return the UIDs that a search finds."""
        answer = await client.get(f"{self.node.url}/dicomweb/studies/{study}/instances?limit=5000")
        return [item["00080018"]["Value"][0] for item in answer.json()] if answer.content else []

    async def versions(self, client: httpx.AsyncClient, uid: str) -> int:
        """Return how often it holds an instance."""
        answer = await client.get(f"{self.node.url}/api/instances/{uid}/versions")
        return len(answer.json()["versions"]) if answer.status_code == 200 else 0


class Series:
    """A series on its way to an archive.

    Attributes
    ----------
    sent, acknowledged
        By UID: how often it was sent, and what the sender need not send again.
    """

    def __init__(self, number: int) -> None:
        self.study = f"{_ROOT}.{number}"
        files = map(data_set_of, ct_series(_INSTANCES, rows=_ROWS, study=self.study, seed=number))
        self.objects = {uid_of(data): data for data in files}
        self.sent = dict.fromkeys(self.objects, 0)
        self.acknowledged: set[str] = set()

    async def send(self, peer: Peer, on_answer: Callable[[], None] = lambda: None) -> None:
        """Send what was not acknowledged, until that is all, or the archive is gone."""
        left = iter([uid for uid in self.objects if uid not in self.acknowledged])
        over = await asyncio.gather(
            *(self._associate(peer, left, on_answer) for _ in range(_ASSOCIATIONS)), return_exceptions=True
        )
        for error in over:
            assert error is None or isinstance(error, UpstreamError), error

    async def _associate(self, peer: Peer, left: Iterator[str], on_answer: Callable[[], None]) -> None:
        async with associate(peer, [(CT_IMAGE, (EXPLICIT_LE,))], window=_WINDOW) as user:
            await asyncio.gather(*(self._store(user, left, on_answer) for _ in range(_WINDOW)))

    async def _store(self, user: User, left: Iterator[str], on_answer: Callable[[], None]) -> None:
        for uid in left:
            self.sent[uid] += 1
            answer = await user.store(CT_IMAGE, uid, EXPLICIT_LE, self.objects[uid])
            assert answer.status == Status.SUCCESS
            self.acknowledged.add(uid)
            on_answer()

    def check(self, held: list[bytes], listed: list[str]) -> None:
        """Check what an archive holds against what was sent and acknowledged."""
        by_uid = {uid_of(data): data for data in held}
        assert len(held) == len(by_uid), "an instance is there twice"
        assert sorted(listed) == sorted(by_uid), "a search finds other instances than there are, or one twice"
        assert self.acknowledged <= set(by_uid), "an acknowledged instance is not there"
        assert all(self.objects.get(uid) == data for uid, data in by_uid.items()), "an instance is another one"


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
            series, began_s = Series(number), time.monotonic()
            has_power = number % 2 == 0 or not archive.node.disk.is_real
            die = archive.node.kill if has_power else archive.node.cut_power
            await die_within(archive, series, rng.randrange(1, _INSTANCES - _ASSOCIATIONS * _WINDOW), die)
            survived = len(series.acknowledged)
            await archive.start()
            series.check(await archive.files(client, series.study), await archive.listed(client, series.study))
            await series.send(archive.peer)
            assert len(series.acknowledged) == _INSTANCES
            series.check(await archive.files(client, series.study), await archive.listed(client, series.study))
            again = [uid for uid, times in series.sent.items() if times > 1]
            assert [await archive.versions(client, uid) for uid in again] == [1] * len(again)
            say(
                f"{number + 1:2} {'killed' if has_power else 'power cut'} after {survived} answers: all there, once; "
                f"{len(again)} sent again, in {time.monotonic() - began_s:.1f} s"
            )
