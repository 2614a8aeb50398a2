"""An embedded archive goes to PostgreSQL and a bucket while clients read and store: no read fails, and each is right.

Clients know one address, nginx's. They are sent to the new origin as the guide says: it is started once the archive
was switched, nginx is told, the old node is stopped. Who stores meanwhile is told to send again, and does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from nearframe import tasks
from tests.balancer import balancing, nginx_binary
from tests.drills.conftest import Say
from tests.drills.origins import Origin
from tests.drills.traffic import WHOLE, only_part
from tests.multiparts import store_body
from tests.postgres import create_schema
from tests.radosgw import REGION, Radosgw
from tests.syncing import Shelves, ct_series

pytestmark = [pytest.mark.postgresql, pytest.mark.radosgw]

_ROOT: Final = "1.2.826.0.1.3680043.2.1125.8"
_EACH: Final = 500  # instances of a study
_ROWS: Final = 16
_FRAME: Final = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
_PROVED: Final = 500  # instances that are read once more at the end
_READERS: Final = 2


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that was acknowledged."""

    study: str
    uid: str
    file: bytes
    frame: bytes

    @classmethod
    def of(cls, file: bytes, study: str) -> Stored:
        found = re.search(rb"%b\.1\.\d{10}" % study.encode(), file)
        assert found
        return cls(study, found[0].decode(), hashlib.sha256(file).digest(), file[-_ROWS * _ROWS * 2 :])

    @property
    def path(self) -> str:
        return f"/dicomweb/studies/{self.study}/series/{self.study}.1/instances/{self.uid}"


def files_of(number: int, count: int) -> tuple[str, list[bytes]]:
    """Return a study and its files: the same each time."""
    study = f"{_ROOT}.{number}"
    return study, ct_series(count, rows=_ROWS, study=study, seed=number)


def filled(home: Path, instances: int) -> list[Stored]:
    """Fill an archive by the way that what is stored goes, in large groups."""
    stored = []
    shelves = Shelves.open(home)
    for number, start in enumerate(range(0, instances, _EACH)):
        study, files = files_of(number, min(_EACH, instances - start))
        shelves.put(files)
        stored += [Stored.of(file, study) for file in files]
    shelves.close()
    return stored


class Clients:
    """Read and store through one address, all the time, each request by a connection of its own."""

    def __init__(self, url: str, stored: list[Stored], rng: random.Random) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, timeout=60, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._stored = stored
        self._rng = rng
        self.answers = Counter[str]()
        self.wrong: list[str] = []
        self.new = 0

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        work = [self._keep_storing(), *(self._keep_reading() for _ in range(_READERS))]
        running = [tasks.spawn(one, name="client") for one in work]
        try:
            yield
        finally:
            await tasks.cancel(running)
            await self._http.aclose()

    async def until(self, more: int, what: str) -> None:
        """Wait for so many more answers of a kind."""
        wanted = self.answers[what] + more
        async with asyncio.timeout(120):
            while self.answers[what] < wanted:
                await asyncio.sleep(0.02)

    async def prove(self, stored: list[Stored]) -> None:
        for one in stored:
            await self._read_file(one)

    async def _keep_reading(self) -> None:
        kinds = (self._read_frame, self._read_frame, self._read_file, self._read_metadata, self._search)
        while True:
            await self._rng.choice(kinds)(self._rng.choice(self._stored))
            await asyncio.sleep(0.01)

    async def _keep_storing(self) -> None:
        study, files = files_of(9999, 1000)
        for number in range(1, 10**6):
            if number % len(files) == 0:
                study, files = files_of(9999 + number, 1000)
            file = files[number % len(files)]
            while not await self._store(file):
                await asyncio.sleep(0.2)
            self._stored.append(Stored.of(file, study))
            self.new += 1
            await asyncio.sleep(0.02)

    async def _store(self, file: bytes) -> bool:
        content_type, body = store_body([file])
        answer = await self._http.post("/dicomweb/studies", content=body, headers={"Content-Type": content_type})
        self.answers[f"store {answer.status_code}"] += 1
        return answer.status_code == 200

    async def _read_frame(self, one: Stored) -> None:
        await self._read("frame", f"{one.path}/frames/1", _FRAME, lambda answer: only_part(answer) == one.frame)

    async def _read_file(self, one: Stored) -> None:
        await self._read("file", one.path, WHOLE, lambda answer: hashlib.sha256(answer.content).digest() == one.file)

    async def _read_metadata(self, one: Stored) -> None:
        await self._read(
            "metadata", f"{one.path}/metadata", {}, lambda answer: [uid_in(item) for item in answer.json()] == [one.uid]
        )

    async def _search(self, one: Stored) -> None:
        path = f"/dicomweb/studies/{one.study}/instances?SOPInstanceUID={one.uid}"
        await self._read("search", path, {}, lambda answer: [uid_in(item) for item in answer.json()] == [one.uid])

    async def _read(
        self, what: str, path: str, headers: dict[str, str], is_right: Callable[[httpx.Response], bool]
    ) -> None:
        try:
            answer = await self._http.get(path, headers=headers)
        except httpx.HTTPError as error:
            self.wrong.append(f"{what}: {error!r}")
            return
        self.answers[what] += 1
        if answer.status_code != 200 or not is_right(answer):
            self.wrong.append(f"{what}: {answer.status_code}, {len(answer.content)} bytes")


def uid_in(item: dict[str, Any]) -> str:
    return str(item["00080018"]["Value"][0])


async def migrate(*options: str) -> dict[str, Any]:
    """Run the command beside the node."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nearframe", "migrate", *options, "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize("instances", [60, pytest.param(50_000, marks=pytest.mark.drill)])
async def test_no_read_fails_while_an_archive_moves(
    instances: int, tmp_path: Path, postgres_server: str, radosgw: Radosgw, say: Say
) -> None:
    binary = nginx_binary()
    if binary is None:
        pytest.skip("no nginx installed: apt-get install nginx")
    database_url, bucket = create_schema(postgres_server, f"moved{instances}"), radosgw.new_bucket()
    server = ("--s3-endpoint", radosgw.options.endpoint, "--s3-region", REGION, "--s3-path-style")
    old = Origin(tmp_path, 1)
    new = Origin(tmp_path, 2, "--database-url", database_url, "--s3-url", str(bucket), *server)
    stored = filled(old.home, instances)
    try:
        await old.start()
        with balancing(binary, tmp_path, [old.port]) as balancer:
            clients = Clients(balancer.url, stored, random.Random(instances))
            async with clients.at_work():
                await clients.until(10, "frame")
                to = ("--home", str(old.home), "--to", database_url, "--contents", str(bucket), "--url", old.url)
                began_s = time.monotonic()
                carried = await migrate(*to, *server)
                carried_s = time.monotonic()
                switched = await migrate(*to, *server, "--switch")
                refused_s = time.monotonic() - switched["refusing_s"]
                await new.start()
                await asyncio.to_thread(balancer.send_to, [new.port])
                await clients.until(1, "store 200")
                took_in_s = time.monotonic()
                assert await old.end(signal.SIGTERM) == 0
                await clients.until(30, "frame")
                await clients.until(10, "store 200")
            reads = clients.answers.total()
            prover = Clients(balancer.url, stored, random.Random(instances))
            await prover.prove(random.Random(1).sample(stored[:instances], min(_PROVED, instances)))
            await prover.prove(stored[instances:])
            assert prover.wrong == []
    finally:
        old.close()
        new.close()
    rate = instances / (carried_s - began_s)
    say(
        f"{instances} instances, {carried['carried']['contents']} contents carried in {carried_s - began_s:.0f} s "
        f"({rate:.0f} instances/s), {switched['carried']['contents']} with the switch; nothing was taken in for "
        f"{took_in_s - refused_s:.1f} s ({switched['refusing_s']:.1f} s of comparing); {reads} answers: "
        f"{dict(clients.answers)}, {clients.new} instances stored meanwhile, {len(clients.wrong)} reads failed"
    )
    assert clients.wrong == []
    assert not carried["switched"]
    assert switched["switched"]
    assert set(clients.answers) <= {"frame", "file", "metadata", "search", "store 200", "store 503"}
