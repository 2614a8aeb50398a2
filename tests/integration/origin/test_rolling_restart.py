"""Origins restarted one after the other behind nginx, while clients store, search and read: nobody notices."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pydicom
import pytest

from nearframe import tasks
from tests.balancer import balancing, free_port, nginx_binary
from tests.integration.origin.several import Archive
from tests.multiparts import store_body
from tests.postgres import create_schema
from tests.syncing import STUDY_UID, ct_series

pytestmark = pytest.mark.postgresql

_NAMES = ("one", "two")
_FRAME = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
_FILES = ct_series(400)
ANSWERED = {"store: 200", "search: 200", "metadata: 200", "frame: 200"}


class Origin:
    """One that can be told to stop, as by SIGTERM, and started again."""

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive = archive
        self._name = name
        self.port = free_port()

    async def start(self) -> None:
        ready, self._stop = asyncio.Event(), asyncio.Event()
        work = self._archive.serve(self._name, self.port, ready, self._stop)
        self._running = tasks.spawn(work, name=self._name)
        waiting = tasks.spawn(ready.wait(), name="wait until ready")
        await asyncio.wait([self._running, waiting], return_when=asyncio.FIRST_COMPLETED)
        assert ready.is_set()

    async def stop(self) -> None:
        self._stop.set()
        await self._running


class Clients:
    """Store, search and read through the balancer, all the time; every answer is counted.

    Attributes
    ----------
    stored
        How many objects must be there.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)
        self.answers = Counter[str]()
        self._acknowledged = 0
        self._is_over = False

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        await self._store()
        loops = [self._store, self._search, self._metadata, self._frame, self._frame]
        running = [tasks.spawn(self._again(one), name=one.__name__) for one in loops]
        try:
            yield
        finally:
            self._is_over = True
            await asyncio.gather(*running)

    async def close(self) -> None:
        await self._client.aclose()

    async def until(self, more: int) -> None:
        """Wait for so many answers more."""
        wanted = self.answers.total() + more
        async with asyncio.timeout(60):
            while self.answers.total() < wanted:
                await asyncio.sleep(0.01)

    async def shown(self) -> int:
        """Return how many objects are there."""
        answer = await self._client.get(f"/dicomweb/studies/{STUDY_UID}/metadata")
        return len(answer.json())

    @property
    def stored(self) -> int:
        return min(self._acknowledged, len(_FILES))

    async def _again(self, once: Callable[[], Awaitable[None]]) -> None:
        while not self._is_over:
            await once()

    async def _count(self, what: str, answer: Awaitable[httpx.Response]) -> bool:
        try:
            status = (await answer).status_code
        except httpx.HTTPError as error:
            self.answers[f"{what}: {type(error).__name__}"] += 1
            return False
        self.answers[f"{what}: {status}"] += 1
        return status == 200

    async def _store(self) -> None:
        content_type, body = store_body([_FILES[self._acknowledged % len(_FILES)]])
        storing = self._client.post("/dicomweb/studies", content=body, headers={"Content-Type": content_type})
        self._acknowledged += await self._count("store", storing)

    async def _search(self) -> None:
        await self._count("search", self._client.get("/dicomweb/studies", params={"StudyInstanceUID": STUDY_UID}))

    async def _metadata(self) -> None:
        await self._count("metadata", self._client.get(f"/dicomweb/studies/{STUDY_UID}/metadata"))

    async def _frame(self) -> None:
        ds = pydicom.dcmread(io.BytesIO(_FILES[self.answers.total() % self.stored]), stop_before_pixels=True)
        path = f"/dicomweb/studies/{STUDY_UID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}/frames/1"
        await self._count("frame", self._client.get(path, headers=_FRAME))


async def test_a_rolling_restart_fails_no_request(postgres_server: str, tmp_path: Path) -> None:
    binary = nginx_binary()
    if binary is None:
        pytest.skip("no nginx installed: apt-get install nginx")
    archive = Archive(tmp_path, create_schema(postgres_server, "rolling"))
    origins = [Origin(archive, name) for name in _NAMES]
    for origin in origins:
        await origin.start()
    with balancing(binary, tmp_path, [origin.port for origin in origins]) as nginx:
        clients = Clients(nginx.url)
        async with clients.at_work():
            await clients.until(50)
            for origin in (*origins, *origins):
                await origin.stop()
                await clients.until(50)
                await origin.start()
                await clients.until(50)
        assert clients.answers.keys() == ANSWERED
        assert await clients.shown() == clients.stored
        await clients.close()
    for origin in origins:
        await origin.stop()
    archive.close()
