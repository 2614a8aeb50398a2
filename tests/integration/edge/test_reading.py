"""Reading through an edge: once for all who wait, proved, and served when the origin is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nearframe import tasks
from nearframe.metrics import EDGE_INTEGRITY_FAILURES
from tests.integration.edge.nodes import Line, Node, edge_node, origin_node, until, until_followed, until_shows
from tests.syncing import STUDY_UID, ct_series, instance_uid

SERIES = f"/dicomweb/studies/{STUDY_UID}/series/{STUDY_UID}.1/instances"
FRAME = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


class Pair:
    """An origin and an edge that can each be taken away."""

    def __init__(self, folder: Path, stack: AsyncExitStack, **edge_settings: Any) -> None:
        self._folder = folder
        self._edge_settings = edge_settings
        self._stack = stack
        self._origin_stack = AsyncExitStack()
        self.files = ct_series(6)
        self.uids = [instance_uid(file) for file in self.files]

    async def open(self) -> None:
        await self._stack.enter_async_context(self._origin_stack)
        self.origin = await self._origin_stack.enter_async_context(origin_node(self._folder / "origin"))
        self.edge = await self._stack.enter_async_context(
            edge_node(self._folder / "edge", self.origin.url, **self._edge_settings)
        )
        await self.origin.store(self.files)
        await until_shows(self.edge, STUDY_UID, len(self.files), "Doe^Jane")

    @property
    def line(self) -> Line:
        assert self.origin.line is not None
        return self.origin.line

    async def frame(self, number: int, node: Node | None = None) -> httpx.Response:
        """Ask the edge for the one frame of an instance, counted from zero."""
        instance = f"/dicomweb/studies/{STUDY_UID}/series/{STUDY_UID}.1/instances/{self.uids[number]}"
        return await (node or self.edge).client.get(f"{instance}/frames/1", headers=FRAME)

    async def check(self, response: httpx.Response, number: int) -> None:
        assert response.status_code == 200, response.text
        assert self.files[number][-512:] in response.content

    async def origin_goes(self) -> None:
        await self._origin_stack.aclose()


@asynccontextmanager
async def pair(folder: Path, **edge_settings: Any) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        made = Pair(folder, stack, **edge_settings)
        await made.open()
        yield made


async def test_twenty_readers_of_a_cold_frame_are_one_fetch(tmp_path: Path) -> None:
    async with pair(tmp_path, prefetch=False) as nodes:
        nodes.line.open.clear()
        readers = [tasks.spawn(nodes.frame(2), name="reader") for _ in range(20)]
        await until(lambda: nodes.line.asked["contents"] == 1)
        readers[0].cancel()  # the one whose request started it
        nodes.line.open.set()
        for reader in readers[1:]:
            await nodes.check(await reader, 2)
        assert nodes.line.asked["contents"] == 1
        assert nodes.origin.sent()["frame"] == 1


async def test_headers_say_what_it_cost(tmp_path: Path) -> None:
    async with pair(tmp_path, prefetch=False) as nodes:
        cold, warm = await nodes.frame(0), await nodes.frame(0)
        assert cold.headers["cache-status"] == "nearframe-edge; fwd=miss; stored"
        assert "upstream;dur=" in cold.headers["server-timing"]
        assert warm.headers["cache-status"] == "nearframe-edge; hit"
        assert "nearframe-upstream" not in warm.headers
        found = await nodes.edge.client.get("/dicomweb/studies")
        assert found.headers["cache-status"] == "nearframe-edge; hit"


async def test_the_rest_of_an_opened_series_follows(tmp_path: Path) -> None:
    async with pair(tmp_path) as nodes:
        await nodes.check(await nodes.frame(3), 3)
        await until(lambda: nodes.origin.sent()["frame"] == 6)
        for number in range(6):
            await nodes.check(await nodes.frame(number), number)
        assert nodes.line.asked["contents"] == 2, "one for the frame, one batch for the rest"


async def test_an_edge_serves_what_it_holds_when_the_origin_is_gone(tmp_path: Path) -> None:
    async with pair(tmp_path, prefetch=False) as nodes:
        for number in range(3):
            await nodes.check(await nodes.frame(number), number)
        await nodes.origin_goes()
        for number in range(3):
            await nodes.check(await nodes.frame(number), number)
        missing = await nodes.frame(4)
        assert missing.status_code == 503
        assert missing.headers["content-type"] == "application/problem+json"
        assert "held" in missing.json()["detail"]
        assert "retry-after" in missing.headers
        found = await nodes.edge.client.get("/dicomweb/studies", params={"PatientName": "Doe^Jane"})
        assert len(found.json()) == 1
        await until_away(nodes.edge)
        stale = await nodes.frame(0)
        await nodes.check(stale, 0)
        assert stale.headers["nearframe-upstream"] == "away"
        assert int(stale.headers["age"]) >= 0


async def until_away(edge: Node) -> None:
    async with asyncio.timeout(30):
        while "nearframe-upstream" not in (await edge.client.get("/dicomweb/studies")).headers:
            await asyncio.sleep(0.02)


async def test_the_line_comes_back(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        async with origin_node(tmp_path / "origin") as origin:
            edge = await stack.enter_async_context(edge_node(tmp_path / "edge", origin.url))
            await origin.store(ct_series(2))
            await until_shows(edge, STUDY_UID, 2, "Doe^Jane")
            address = origin.url
        await until_away(edge)
        async with origin_node(tmp_path / "origin", port=int(address.rpartition(":")[2])) as origin:
            await origin.store(ct_series(4))
            await until_shows(edge, STUDY_UID, 4, "Doe^Jane")


@pytest.mark.parametrize(("spoiled", "status"), [(1, 200), (2, 500)])
async def test_a_spoiled_frame_is_never_served(tmp_path: Path, spoiled: int, status: int) -> None:
    async with pair(tmp_path, prefetch=False) as nodes:
        nodes.line.spoil = spoiled
        response = await nodes.frame(1)
        assert response.status_code == status
        assert nodes.line.asked["contents"] == 2, "asked for once more, from scratch"
        assert nodes.edge.metrics.value(EDGE_INTEGRITY_FAILURES, what="frame") == spoiled
        again = await nodes.frame(1)
        await nodes.check(again, 1)
        assert nodes.line.asked["contents"] == (2 if status == 200 else 3)


async def test_a_spoiled_batch_is_never_kept(tmp_path: Path) -> None:
    async with pair(tmp_path) as nodes:
        await nodes.check(await nodes.frame(0), 0)
        await until(lambda: nodes.origin.sent()["frame"] == 6)
    async with pair(tmp_path / "other") as nodes:
        nodes.line.open.clear()
        first = tasks.spawn(nodes.frame(0), name="reader")
        await until(lambda: nodes.line.asked["contents"] == 1)
        nodes.line.open.set()
        await nodes.check(await first, 0)
        nodes.line.spoil = 1
        await until(lambda: nodes.line.asked["contents"] >= 2)
        for number in range(6):
            await nodes.check(await nodes.frame(number), number)


async def test_stores_may_go_straight_through(tmp_path: Path) -> None:
    async with pair(tmp_path, stores="forward") as nodes:
        file = ct_series(1, study="1.2.826.7.7")[0]
        response = await nodes.edge.store([file])
        retrieve_url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        assert retrieve_url.startswith(nodes.edge.url)
        assert await nodes.origin.file("1.2.826.7.7", "1.2.826.7.7.1", instance_uid(file)) == file
        await until_shows(nodes.edge, "1.2.826.7.7", 1, "Doe^Jane")
        await nodes.origin_goes()
        await until_away(nodes.edge)
        refused = await nodes.edge.try_to_store([file])
        assert refused.status_code == 503
        assert "nothing was stored" in refused.json()["detail"]


async def test_nodes_in_a_circle_say_so(tmp_path: Path) -> None:
    async with origin_node(tmp_path / "origin") as origin, edge_node(tmp_path / "a", origin.url) as a:
        await origin.store(ct_series(1))
        await until_shows(a, STUDY_UID, 1, "Doe^Jane")
        name = await name_in_via(a, origin)
        response = await a.client.get("/api/feed", headers={"Via": f"1.1 {name}"})
        assert response.status_code == 508


async def name_in_via(edge: Node, origin: Node) -> str:
    """Return what the edge calls itself."""
    assert origin.line is not None
    await until(lambda: bool(origin.line and origin.line.via))
    return origin.line.via


async def test_renditions_of_the_origin_are_read_through_the_edge(tmp_path: Path) -> None:
    """A viewer that takes any encoding gets HTJ2K, and only its bytes come over the line."""
    files = ct_series(4, rows=64)
    async with (
        origin_node(tmp_path / "origin", renditions=True) as origin,
        edge_node(tmp_path / "edge", origin.url) as edge,
    ):
        await origin.store(files)
        await until_followed(edge, origin)
        while (await origin.client.get("/api/status")).json()["background"]["renditions"]["done"] < 4:
            await asyncio.sleep(0.05)
        await edge.client.get(f"/dicomweb/studies/{STUDY_UID}/metadata")  # a viewer opens the study
        while len((await edge.client.get(f"/api/studies/{STUDY_UID}/renditions")).json()["len"]) < 4:
            await asyncio.sleep(0.05)
        paths = [f"{SERIES}/{instance_uid(file)}/frames/1" for file in files]
        any_encoding = {"Accept": "application/octet-stream; transfer-syntax=*"}
        made = [await origin.client.get(path, headers=any_encoding) for path in paths]
        read = [await edge.client.get(path, headers=any_encoding) for path in paths]
        for theirs, ours in zip(made, read, strict=True):
            assert ours.headers["content-type"].endswith("1.2.840.10008.1.2.4.202")
            assert ours.content == theirs.content
        assert edge.received_bytes()["frame"] < sum(len(response.content) for response in made) + 500
