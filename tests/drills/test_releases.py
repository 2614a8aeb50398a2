"""Nodes of two releases: each follows, serves and takes in for the other, and one opens what the other left.

The older release is taken out of the repository's history; where that is not at hand there is nothing to test.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.balancer import free_port
from tests.multiparts import store_body
from tests.syncing import STUDY_UID, ct_series, edited, instance_uid, rename

pytestmark = pytest.mark.drill

#: The release before corrections, leases and holds: schema 3 of the catalogue.
_BEFORE: Final = "21bae26"
_BEFORE_SCHEMA: Final = "3"
_PATIENCE_S: Final = 60.0


class Release:
    """A release that can be run; `source` is its package's folder."""

    def __init__(self, source: Path) -> None:
        self._environment = {**os.environ, "PYTHONPATH": str(source)}

    def run(self, *command: str | Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "nearframe", *map(str, command)],
            env=self._environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    @asynccontextmanager
    async def node(self, role: str, home: Path, *options: str, port: int = 0) -> AsyncIterator[httpx.AsyncClient]:
        """Run a node; the value speaks to it."""
        port = port or free_port()
        listen = ("--home", str(home), "--insecure", "--http", f"127.0.0.1:{port}", "--disk-reserve-bytes", "1MiB")
        process = subprocess.Popen([sys.executable, "-m", "nearframe", role, *listen, *options], env=self._environment)
        url = f"http://127.0.0.1:{port}"
        try:
            async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
                await until(lambda: answers(client))
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait) == 0


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not await holds():
            await asyncio.sleep(0.05)


async def answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.HTTPError:
        return False


async def store(client: httpx.AsyncClient, files: list[bytes]) -> None:
    content_type, body = store_body(files)
    answer = await client.post("/dicomweb/studies", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 200, answer.text


async def shows(client: httpx.AsyncClient, files: list[bytes]) -> bool:
    """Return whether a node shows these files of the study, byte for byte, and no other."""
    found = await client.get(f"/dicomweb/studies/{STUDY_UID}/instances")
    if found.status_code != 200 or len(found.json()) != len(files):
        return False
    for file in files:
        path = f"/dicomweb/studies/{STUDY_UID}/series/{STUDY_UID}.1/instances/{instance_uid(file)}"
        answer = await client.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"})
        if answer.content != file:
            return False
    return True


@pytest.fixture(scope="module")
def now(root: Path) -> Release:
    return Release(root / "src")


@pytest.fixture(scope="module")
def before(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    archive = subprocess.run(["git", "-C", str(root), "archive", _BEFORE, "src"], capture_output=True)
    if archive.returncode != 0:
        pytest.skip("needs the repository's history")
    folder = tmp_path_factory.mktemp("before")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return Release(folder / "src")


@pytest.mark.parametrize("roles", [("before", "now"), ("now", "before")], ids=("a newer edge", "an older edge"))
async def test_an_edge_of_another_release(
    roles: tuple[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    at_origin, at_edge = (request.getfixturevalue(name) for name in roles)
    files = ct_series(9, rows=64)
    async with at_origin.node("origin", tmp_path / "origin") as origin:
        await store(origin, files[:3])
        upstream = ("--upstream", str(origin.base_url).rstrip("/"))
        async with at_edge.node("edge", tmp_path / "edge", *upstream) as edge:
            await until(lambda: shows(edge, files[:3]))
            await store(edge, files[3:6])
            await until(lambda: shows(origin, files[:6]))
            renamed = [edited(file, rename("Doe^Janet")) for file in files[:6]]
            await store(origin, renamed)
            await until(lambda: shows(edge, renamed))
            await store(origin, files[6:])
            await until(lambda: shows(edge, renamed + files[6:]))


async def test_an_archive_goes_to_the_newer_release_and_back(tmp_path: Path, before: Release, now: Release) -> None:
    """And edges of either one follow it all the while."""
    home, port, files = tmp_path / "origin", free_port(), ct_series(6, rows=64)
    upstream = ("--upstream", f"http://127.0.0.1:{port}")
    async with (
        before.node("edge", tmp_path / "older", *upstream) as older,
        now.node("edge", tmp_path / "newer", *upstream) as newer,
    ):
        for number, release in enumerate((before, now, before)):
            if number == 2:
                now.run("migrate", "--home", home, "--to", _BEFORE_SCHEMA)
            stored = files[: 2 * number + 2]
            async with release.node("origin", home, port=port) as origin:
                await store(origin, stored[-2:])
                assert await shows(origin, stored)
                for edge in (older, newer):
                    await until(partial(shows, edge, stored))
