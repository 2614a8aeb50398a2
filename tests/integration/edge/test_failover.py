"""Several upstreams: the next is asked when one is away, the first again when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from bench.peers import free_port
from nearframe import tasks
from nearframe.edge.upstream import Upstreams
from nearframe.metrics import UPSTREAM_SWITCHES
from tests.integration.edge.nodes import Node, edge_node, origin_node, until, until_followed, until_shows
from tests.integration.edge.proxy import Proxy, proxy_to
from tests.syncing import STUDY_UID, ct_series, instance_uid, rename

ROWS = 256
FRAME_BYTES = ROWS * ROWS * 2
CONTENTS = b"/contents/"
SINGLE = {"Accept": "application/octet-stream; transfer-syntax=*"}
NAME = "Doe^Jane"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what was away asked again soon, and followed again soon: here nobody's line goes up and down."""
    monkeypatch.setattr("nearframe.edge.node.Upstreams", partial(Upstreams, back_s=(0.2, 0.5)))
    monkeypatch.setattr("nearframe.edge.breaker.LONGEST_PAUSE_S", 0.5)


class Site:
    """An archive, an edge that follows it, and a farther edge that asks the first, then the archive."""

    def __init__(self, origin: Node, near: Node, far: Node, line: Proxy, files: list[bytes], rows: int) -> None:
        self.origin, self.near, self.far, self.line = origin, near, far, line
        self.frames = [file[-2 * rows * rows :] for file in files]
        self._uids = [instance_uid(file) for file in files]

    async def frame(self, number: int, priority: str = "u=3") -> bytes:
        path = f"/dicomweb/studies/{STUDY_UID}/series/{STUDY_UID}.1/instances/{self._uids[number]}/frames/1"
        answer = await self.far.client.get(path, headers=SINGLE | {"Priority": priority})
        assert answer.status_code == 200, answer.text
        return answer.content

    async def in_use(self) -> int:
        upstream = (await self.far.client.get("/api/status")).json()["upstream"]
        [rank] = [one["rank"] for one in upstream["ranked"] if one["in_use"]]
        return int(rank)

    async def until_in_use(self, rank: int) -> None:
        async with asyncio.timeout(20):
            while await self.in_use() != rank:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def site(folder: Path, count: int = 6, rows: int = ROWS) -> AsyncIterator[Site]:
    files = ct_series(count, rows=rows)
    async with (
        origin_node(folder / "origin") as origin,
        edge_node(folder / "near", origin.url, prefetch=False) as near,
        proxy_to(near.url) as (url, line),
        edge_node(folder / "far", (url, origin.url), prefetch=False) as far,
    ):
        await origin.store(files)
        await until_shows(far, STUDY_UID, count, NAME)
        yield Site(origin, near, far, line, files, rows)


async def test_an_answer_is_completed_from_the_next(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        one.line.expect(CONTENTS, hold_at=FRAME_BYTES // 2)
        reading = tasks.spawn(one.frame(0, "u=1"), name="reader")
        await one.line.held.wait()
        await until(lambda: one.far.received_bytes()["frame"] > FRAME_BYTES // 4)
        await one.line.kill()
        assert await reading == one.frames[0]
        assert one.far.received_bytes()["frame"] == FRAME_BYTES, "what had come was kept"
        # One that has not come at all, while nobody answers there.
        assert await one.frame(2) == one.frames[2]


@pytest.mark.usefixtures("impatient")
async def test_the_next_is_followed_and_the_first_again_when_it_is_back(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        assert await one.in_use() == 0
        await until_followed(one.far, one.near)
        before = one.far.received_bytes()
        await one.line.kill()
        await one.until_in_use(1)
        await until_followed(one.far, one.origin)
        assert one.far.received_bytes() == before, "equal roots: nothing was pulled again"
        await one.origin.store(ct_series(6, rows=ROWS, change=rename("Roe^Jane")))
        await until_shows(one.far, STUDY_UID, 6, "Roe^Jane")
        assert one.far.received_bytes()["frame"] == before["frame"]
        await until_shows(one.near, STUDY_UID, 6, "Roe^Jane")
        after = one.far.received_bytes()
        one.line.revive()
        await one.until_in_use(0)
        await until_followed(one.far, one.near)
        assert one.far.received_bytes() == after
        assert await one.far.patient_names(STUDY_UID) == {"Roe^Jane"}
        assert one.far.metrics.value(UPSTREAM_SWITCHES, why="away") == 1
        assert one.far.metrics.value(UPSTREAM_SWITCHES, why="back") == 1


async def test_one_that_has_not_heard_yet_takes_nothing_back(tmp_path: Path) -> None:
    """The first upstream shows a correction, and is away before the second has heard of it."""
    files = ct_series(3)
    async with (
        origin_node(tmp_path / "origin") as origin,
        proxy_to(origin.url) as (slow, slow_line),
        proxy_to(origin.url) as (direct, direct_line),
        edge_node(tmp_path / "lagging", slow) as lagging,
        edge_node(tmp_path / "edge", (direct, lagging.url)) as edge,
    ):
        await origin.store(files)
        await until_shows(edge, STUDY_UID, 3, NAME)
        await until_shows(lagging, STUDY_UID, 3, NAME)
        await slow_line.kill()
        await origin.store(ct_series(3, change=rename("Roe^Jane")))
        await until_shows(edge, STUDY_UID, 3, "Roe^Jane")
        await direct_line.kill()
        await until_followed(edge, lagging)
        assert await edge.patient_names(STUDY_UID) == {"Roe^Jane"}
        assert await lagging.patient_names(STUDY_UID) == {NAME}


async def test_a_chain_fetches_each_frame_once_at_each_tier(tmp_path: Path) -> None:
    async with site(tmp_path, rows=64) as one:
        readers = [one.frame(number) for number in [0, 1, 2] * 4]
        assert await asyncio.gather(*readers) == one.frames[:3] * 4
        await asyncio.gather(*(one.frame(number) for number in [0, 1, 2]))
        assert one.near.sent()["frame"] == one.origin.sent()["frame"] == 3


async def test_two_edges_that_only_ask_each_other_are_told_so(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    async with (
        edge_node(tmp_path / "one", urls[1], ports[0]) as one,
        edge_node(tmp_path / "two", urls[0], ports[1]) as two,
    ):
        await one.store(ct_series(1))
        await until_shows(two, STUDY_UID, 1, NAME)
        # Each would ask the other for ever.
        absent = f"/api/studies/{STUDY_UID}/contents/{'00' * 32}"
        answer = await two.client.get(absent)
        assert answer.status_code == httpx.codes.LOOP_DETECTED, answer.text
        await two.store(ct_series(1, study="1.2.9"))
        for edge in (one, two):
            async with asyncio.timeout(30):
                while not (problem := (await edge.client.get("/api/status")).json()["upstream"]["problem"]):
                    await asyncio.sleep(0.02)
            assert "follows this node in turn" in problem
            check = (await edge.client.get("/healthz")).json()["checks"]["upstream"]
            assert check == {"state": "degraded", "reason": problem}


async def test_what_was_taken_in_is_verified_by_the_archive_alone(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        await one.far.store(ct_series(2, study="1.2.9"))
        async with asyncio.timeout(30):
            while (await one.far.client.get("/api/status")).json()["outbox"]["verified"] < 2:
                await asyncio.sleep(0.02)
        assert len(await one.origin.metadata("1.2.9")) == 2


@pytest.mark.usefixtures("impatient")
async def test_two_edges_do_not_confirm_each_other_what_the_archive_lacks(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    async with (
        origin_node(tmp_path / "origin") as origin,
        proxy_to(origin.url) as (archive, line),
        edge_node(tmp_path / "one", (archive, urls[1]), ports[0]) as one,
        edge_node(tmp_path / "two", (archive, urls[0]), ports[1]) as two,
    ):
        await origin.store(ct_series(1))
        await until_shows(one, STUDY_UID, 1, NAME)
        await until_shows(two, STUDY_UID, 1, NAME)
        await line.kill()
        files = ct_series(2, study="1.2.9")
        await one.store(files)
        await until_shows(two, "1.2.9", 2, NAME)
        missing = await one.client.get("/dicomweb/studies/1.2.9/series/1.2.9.1/instances/1.2.3/frames/1")
        assert missing.status_code == httpx.codes.NOT_FOUND
        for edge in (one, two):
            outbox = (await edge.client.get("/api/status")).json()["outbox"]
            assert outbox["verified"] == 0, outbox
        line.revive()
        async with asyncio.timeout(60):
            while (await one.client.get("/api/status")).json()["outbox"]["verified"] < 2:
                await asyncio.sleep(0.05)
        assert len(await origin.metadata("1.2.9")) == 2
