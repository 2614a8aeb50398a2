"""Several origins of one archive: one catalogue in PostgreSQL, one store of contents, whoever answers."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.integration.edge.nodes import Node
from tests.integration.origin.several import Archive
from tests.postgres import create_schema
from tests.syncing import STUDY_UID, ct_series, edited, rename

pytestmark = pytest.mark.postgresql

_numbers = itertools.count(1)
_PATIENCE_S = 20
FEED = "/api/feed"


@pytest.fixture
async def archive(postgres_server: str, tmp_path: Path) -> AsyncIterator[Archive]:
    archive = Archive(tmp_path, create_schema(postgres_server, f"several{next(_numbers)}"))
    yield archive
    archive.close()


async def duties(node: Node) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = (await node.client.get("/api/status")).json()["duties"]
    return found


async def until_done_by(node: Node, holder: str) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not (found := await duties(node)) or {one["holder"] for one in found.values()} != {holder}:
            await asyncio.sleep(0.02)


async def until_no_lag(node: Node) -> dict[str, dict[str, int]]:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            jobs: dict[str, dict[str, int]] = (await node.client.get("/api/status")).json()["background"]
            if not any(job["lag"] for job in jobs.values()):
                return jobs
            await asyncio.sleep(0.05)


async def test_what_one_took_in_every_other_shows_at_once(archive: Archive) -> None:
    """A client that is sent to another process with each request reads what it wrote, whatever that one remembers."""
    async with archive.origin("one") as one, archive.origin("two") as two:
        (file,) = ct_series(1)
        await one.store([file])
        nodes = itertools.cycle((one, two))
        for number in range(25):
            name = f"Renamed^{number}"
            await next(nodes).store([edited(file, rename(name))])
            for asked in (one, two):  # both remember it from now on, one of them wrongly in the next round
                assert await asked.patient_names(STUDY_UID) == {name}
                found = (await asked.client.get("/dicomweb/studies", params={"PatientName": name})).json()
                assert len(found) == 1


async def test_the_same_file_to_both_at_once_is_one_version(archive: Archive) -> None:
    async with archive.origin("one") as one, archive.origin("two") as two:
        files = ct_series(12)
        answers = await asyncio.gather(*(node.try_to_store(files) for node in (one, two, one, two)))
        assert {answer.status_code for answer in answers} == {200}
        uid = pydicom.dcmread(io.BytesIO(files[0]), stop_before_pixels=True).SOPInstanceUID
        versions = (await two.client.get(f"/api/instances/{uid}/versions")).json()["versions"]
        assert [one["version"] for one in versions] == [1]
        status = (await one.client.get("/api/status")).json()
        assert status["counts"]["instances"] == len(files)


async def test_who_waits_at_one_hears_of_what_another_took_in(archive: Archive) -> None:
    async with archive.origin("one") as one, archive.origin("two") as two:
        head = (await two.client.get("/api/status")).json()["feed"]["head"]
        waiting = asyncio.create_task(two.client.get(FEED, params={"after": head, "wait": "20"}))
        await one.store(ct_series(1))
        async with asyncio.timeout(_PATIENCE_S):
            answer = await waiting
        assert STUDY_UID in answer.text


async def test_background_work_is_done_by_one(archive: Archive) -> None:
    async with archive.origin("one", perceptual=True) as one:
        await until_done_by(one, "one")
        async with archive.origin("two", perceptual=True) as two:
            await two.store(ct_series(3, rows=64))
            done, idle = await until_no_lag(one), await until_no_lag(two)
            assert sum(job["done"] for job in done.values()) == 3
            assert sum(job["done"] for job in idle.values()) == 0


async def test_the_next_takes_over_when_one_stops(archive: Archive) -> None:
    async with AsyncExitStack() as stack:
        leaving = AsyncExitStack()
        first = await leaving.enter_async_context(archive.origin("first", perceptual=True))
        await until_done_by(first, "first")
        second = await stack.enter_async_context(archive.origin("second", perceptual=True))
        assert {one["here"] for one in (await duties(second)).values()} == {False}
        await leaving.aclose()
        await until_done_by(second, "second")
        await second.store(ct_series(2, rows=64))
        assert sum(job["done"] for job in (await until_no_lag(second)).values()) == 2


async def test_ready_and_health(archive: Archive) -> None:
    async with archive.origin("one") as one:
        assert (await one.client.get("/ready")).json() == {"ready": True}
        health = (await one.client.get("/healthz")).json()
        assert health["checks"]["duties"] == {"state": "ok"}
