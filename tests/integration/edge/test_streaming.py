"""A miss on its way: to all readers from its first byte on, over a line that cuts and spoils."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nearframe import tasks
from nearframe.cache.flight import WITHHELD_BYTES
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, LINE_RAISED, LINE_RESUMED
from tests.integration.edge.nodes import Node, edge_node, origin_node, until, until_shows
from tests.integration.edge.proxy import Proxy, proxy_to
from tests.syncing import STUDY_UID, ct_series, instance_uid

ROWS = 256
FRAME_BYTES = ROWS * ROWS * 2
CONTENTS = b"/contents/"
SINGLE = {"Accept": "application/octet-stream; transfer-syntax=*"}


class Site:
    """An origin, an edge, and a proxy on the line between them."""

    def __init__(self, origin: Node, edge: Node, proxy: Proxy, files: list[bytes]) -> None:
        self.origin, self.edge, self.proxy = origin, edge, proxy
        self.frames = [file[-FRAME_BYTES:] for file in files]
        self._uids = [instance_uid(file) for file in files]

    def path(self, number: int) -> str:
        return f"/dicomweb/studies/{STUDY_UID}/series/{STUDY_UID}.1/instances/{self._uids[number]}/frames/1"

    async def frame(self, number: int, priority: str = "u=3") -> httpx.Response:
        return await self.edge.client.get(self.path(number), headers=SINGLE | {"Priority": priority})

    def reader(self, number: int, priority: str = "u=3") -> Reader:
        return Reader(self, number, priority)


class Reader:
    """A client that looks at each byte as it comes."""

    def __init__(self, site: Site, number: int, priority: str) -> None:
        self.got = b""
        self.begun = asyncio.Event()
        self.headers: httpx.Headers | None = None
        self.task = tasks.spawn(self._read(site, number, priority), name="reader")

    async def _read(self, site: Site, number: int, priority: str) -> None:
        headers = SINGLE | {"Priority": priority}
        async with site.edge.client.stream("GET", site.path(number), headers=headers) as response:
            self.headers = response.headers
            response.raise_for_status()
            async for chunk in response.aiter_raw():
                self.got += chunk
                self.begun.set()


@asynccontextmanager
async def site(folder: Path, count: int = 6, **edge_settings: bool) -> AsyncIterator[Site]:
    files = ct_series(count, rows=ROWS)
    async with (
        origin_node(folder / "origin") as origin,
        proxy_to(origin.url) as (url, proxy),
        edge_node(folder / "edge", url, prefetch=False, push="none", **edge_settings) as edge,
    ):
        await origin.store(files)
        await until_shows(edge, STUDY_UID, count, "Doe^Jane")
        yield Site(origin, edge, proxy, files)


async def test_twenty_readers_have_the_first_bytes_while_the_last_are_still_on_their_way(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        one.proxy.expect(CONTENTS, hold_at=FRAME_BYTES // 2)
        readers = [one.reader(0) for _ in range(20)]
        await one.proxy.held.wait()
        await asyncio.wait_for(asyncio.gather(*(reader.begun.wait() for reader in readers)), 20)
        late = one.reader(0)
        await asyncio.wait_for(late.begun.wait(), 20)
        assert all(0 < len(reader.got) < FRAME_BYTES for reader in readers)
        one.proxy.go_on()
        await asyncio.gather(late.task, *(reader.task for reader in readers))
        assert {reader.got for reader in (late, *readers)} == {one.frames[0]}
        assert late.headers is not None
        assert late.headers["cache-status"].endswith("; collapsed")
        assert "queue;dur=" in late.headers["server-timing"]
        await until(lambda: one.origin.sent()["frame"] == 1)


async def test_a_wrong_frame_is_cut_and_the_right_one_follows(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        one.proxy.expect(CONTENTS, spoil_at=FRAME_BYTES // 2, hold_at=FRAME_BYTES * 3 // 4)
        early = one.reader(0)
        await asyncio.wait_for(early.begun.wait(), 20)
        one.proxy.go_on()
        with pytest.raises(httpx.TransportError):
            await early.task
        assert len(early.got) <= FRAME_BYTES - WITHHELD_BYTES
        assert (await one.frame(0)).content == one.frames[0]
        assert one.edge.metrics.value(EDGE_INTEGRITY_FAILURES, what="frame") == 1


async def test_somebody_urgent_joins_what_is_read_in_bulk(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        one.proxy.expect(CONTENTS, hold_at=10_000)
        bulk = one.reader(0, "u=7")
        await one.proxy.held.wait()
        urgent = one.reader(0, "u=0")
        await until(lambda: one.edge.metrics.value(LINE_RAISED, urgency="stat") > 0)
        one.proxy.go_on()
        await asyncio.gather(bulk.task, urgent.task)
        assert bulk.got == urgent.got == one.frames[0]
        await until(lambda: one.origin.sent()["frame"] == 1)


async def test_whoever_started_it_may_leave(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        one.proxy.expect(CONTENTS, hold_at=FRAME_BYTES // 2)
        first, second = one.reader(0), one.reader(0)
        await asyncio.gather(first.begun.wait(), second.begun.wait())
        first.task.cancel()
        one.proxy.go_on()
        await second.task
        assert second.got == one.frames[0]
        await until(lambda: one.origin.sent()["frame"] == 1)


async def test_ranges_of_what_comes(tmp_path: Path) -> None:
    async with site(tmp_path) as one:
        for number, (start, stop) in enumerate([(0, 1000), (500, 100_000), (FRAME_BYTES - 5, FRAME_BYTES)]):
            headers = SINGLE | {"Range": f"bytes={start}-{stop - 1}"}
            response = await one.edge.client.get(one.path(number), headers=headers)
            assert (response.status_code, response.content) == (206, one.frames[number][start:stop])
            assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{FRAME_BYTES}"
        multipart = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
        whole = await one.edge.client.get(one.path(3), headers=multipart)
        again = await one.edge.client.get(one.path(3), headers=multipart)
        assert whole.content == again.content
        assert one.frames[3] in whole.content


async def test_lost_connections_are_gone_on_with(tmp_path: Path) -> None:
    """Wherever the line is cut, and however often, the frame comes whole, and hardly a byte of it twice."""
    async with site(tmp_path, count=25) as one:
        numbers = iter(range(25))

        async def check(cuts: list[int], priority: str) -> None:
            number = next(numbers)
            one.proxy.expect(CONTENTS, cuts=cuts)
            response = await one.frame(number, priority)
            assert response.status_code == 200, response.text
            assert response.content == one.frames[number]
            # Heads, and what was in the pipe of the proxy when it was cut.
            assert one.proxy.sent < FRAME_BYTES + (len(cuts) + 12) * 8192

        loop = asyncio.get_running_loop()

        # Each time something comes: three times in a row without a byte, and the line is taken for dead.
        @settings(max_examples=20, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(
            st.lists(st.integers(10_000, FRAME_BYTES), max_size=4, unique_by=lambda at: at // 10_000),
            st.sampled_from(["u=0", "u=3", "u=7"]),
        )
        def cut_anywhere(cuts: list[int], priority: str) -> None:
            asyncio.run_coroutine_threadsafe(check(cuts, priority), loop).result(30)

        await asyncio.to_thread(cut_anywhere)
        assert one.edge.metrics.value(LINE_RESUMED) > 0


async def test_a_flipped_bit_anywhere_is_never_served(tmp_path: Path) -> None:
    async with site(tmp_path, count=12) as one:
        for number, at in enumerate((1, 200, 400, 5000, 70_000, FRAME_BYTES - 10, FRAME_BYTES + 100)):
            one.proxy.expect(CONTENTS, spoil_at=at)
            try:
                response = await one.frame(number)
            except httpx.TransportError:
                response = await one.frame(number)
            if response.status_code == 200:
                assert response.content == one.frames[number]
            assert (await one.frame(number)).content == one.frames[number]
