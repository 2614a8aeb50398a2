"""Three origins as processes over one PostgreSQL and one bucket, behind nginx; and what can happen to any of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from nearframe.dimse.scu import Peer
from nearframe.storage.packs.keys import write_root_key
from tests.balancer import Balancer, balancing, free_port
from tests.drills.proxy import Relay
from tests.postgres import Server, create_schema
from tests.radosgw import REGION, Radosgw

_START_S: Final = 120.0
_ROOT_KEY: Final = bytes(range(32))
#: Longer than a lease, so that its work has gone to another when it wakes; and a hiccup.
_STANDSTILLS_S: Final = (1.0, 1.0, 30.0)
_SETTINGS: Final = ("--insecure", "--disk-reserve-bytes", "0", "--no-renditions", "--log-level", "warning")
_AE_TITLE: Final = "NEARFRAME"
#: What may befall an archive; a crash of an origin is the most likely.
_FAULTS: Final = (
    *("kill", "kill", "kill", "restart", "standstill"),
    *("database crash", "database restart", "line to bucket", "bucket", "balancer"),
)


class Origin:
    """A process that ends, or stands still, whenever that is the worst moment.

    Attributes
    ----------
    peer
        Where it takes DICOM associations.
    """

    def __init__(self, folder: Path, number: int, *shared: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"origin-{number}.log"
        self.home = folder / f"home-{number}"
        (self.home / "keys").mkdir(parents=True, mode=0o700)
        write_root_key(self.home / "keys" / "root.key", _ROOT_KEY)
        self.peer = Peer("127.0.0.1", free_port(), _AE_TITLE, "DRILL")
        addresses = ("--http", f"127.0.0.1:{self.port}", "--dicom", f"127.0.0.1:{self.peer.port}")
        own = (*addresses, "--home", str(self.home), "--name", f"origin-{number}", "--ae-title", _AE_TITLE)
        self._command = [sys.executable, "-m", "nearframe", "origin", *_SETTINGS, *own, *shared]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it, again if it ends since its database is away, as a service manager does; wait until it is ready."""
        async with asyncio.timeout(_START_S), httpx.AsyncClient(trust_env=False) as client:
            self._spawn()
            while not await self._is_ready(client):
                await asyncio.sleep(0.1)
                if self._process is not None and self._process.poll() is not None:
                    self._spawn()

    def _spawn(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self, number: signal.Signals) -> int:
        """End it with a signal; return its exit code."""
        self.send(number)
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"{self.url}/ready")).status_code == 200
        except httpx.HTTPError:
            return False


class Balanced:
    """The archive as clients see it: one address, whatever happens behind it."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def origin(self) -> Balanced:
        return self

    @property
    def edge(self) -> Balanced:
        return self


class Several:
    """Database, bucket and the line to it, origins, and what befalls them."""

    def __init__(self, folder: Path, binaries: Path, radosgw: Radosgw) -> None:
        self._folder = folder
        self._radosgw = radosgw
        self._bucket = radosgw.new_bucket()
        self._line = Relay(radosgw.port)
        # What is acknowledged is in the system's page cache at least: it survives the server, if not the machine.
        self._database = Server(binaries, "synchronous_commit=on", "max_connections=100")
        self._database.start()
        self._database_url = create_schema(self._database.socket_folder, "drill")
        self.origins: list[Origin] = []

    async def start(self) -> None:
        endpoint = f"http://127.0.0.1:{await self._line.start()}"
        bucket = ("--s3-url", str(self._bucket), "--s3-endpoint", endpoint, "--s3-region", REGION, "--s3-path-style")
        shared = ("--database-url", self._database_url, *bucket, "--s3-timeout-s", "5", "--trust-forwarded")
        self.origins = [Origin(self._folder, number, *shared) for number in (1, 2, 3)]
        await self.origins[0].start()  # it makes the tables
        await asyncio.gather(*(origin.start() for origin in self.origins[1:]))

    async def stop(self) -> None:
        for origin in self.origins:
            origin.close()
        await self._line.stop()
        self._database.remove()

    async def strike(self, balancer: Balancer, rng: random.Random) -> str:
        """Let something happen, and mend it; return what it was."""
        kind, origin = rng.choice(_FAULTS), rng.choice(self.origins)
        if kind == "kill":
            await origin.end(signal.SIGKILL)
            await asyncio.sleep(rng.uniform(0, 1))
            await origin.start()
        elif kind == "restart":
            assert await origin.end(signal.SIGTERM) == 0
            await origin.start()
        elif kind == "standstill":
            origin.send(signal.SIGSTOP)
            await asyncio.sleep(rng.choice(_STANDSTILLS_S))
            origin.send(signal.SIGCONT)
        elif kind == "line to bucket":
            self._line.cut()
            await asyncio.sleep(rng.uniform(0, 3))
            self._line.mend()
        elif kind == "balancer":
            balancer.reload()
        elif kind == "bucket":
            self._radosgw.kill()
            await asyncio.sleep(rng.uniform(0, 2))
            self._radosgw.start()
            await asyncio.to_thread(self._radosgw.wait_until_up)
        else:
            await asyncio.to_thread(self._database.crash if kind == "database crash" else self._database.stop)
            await asyncio.sleep(rng.uniform(0, 2))
            await asyncio.to_thread(self._database.start)
        return kind


@asynccontextmanager
async def several(
    folder: Path, binaries: Path, nginx: str, radosgw: Radosgw
) -> AsyncIterator[tuple[Several, Balancer]]:
    """Run an archive of three origins behind a balancer."""
    made = Several(folder, binaries, radosgw)
    try:
        await made.start()
        with balancing(nginx, folder, [origin.port for origin in made.origins]) as balancer:
            yield made, balancer
    finally:
        await made.stop()
