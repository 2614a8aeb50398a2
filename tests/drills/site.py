"""An origin and an edge as processes, a line between them, and what can happen to each."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.drills.proxy import Relay

_START_S = 60.0
#: Small packs, so that there are closed ones soon.
_SETTINGS = ("--insecure", "--disk-reserve-bytes", "0", "--segment-bytes", "1 MiB", "--log-level", "error")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


class Process:
    """A node that is killed and started again, at the same address and home."""

    def __init__(self, role: str, home: Path, *options: str) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = home.with_suffix(".log")
        listen = ("--http", f"127.0.0.1:{self.port}", "--home", str(home))
        self._command = [sys.executable, "-m", "nearframe", role, *_SETTINGS, *listen, *options]
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start, and wait until it answers."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        async with asyncio.timeout(_START_S):
            while not await self._answers():
                code = self._process.poll()
                assert code is None, f"it ended with {code}: {self._log.read_text()[-2000:]}"
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


class Disk:
    """A small disk of its own, if this machine lets us mount one."""

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
        self.is_small = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0

    def fill(self) -> None:
        """Take all the room there is."""
        with suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(65536))

    def make_room(self) -> None:
        """Give it back."""
        (self.folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        if self.is_small:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


class Site:
    """The whole of it."""

    def __init__(self, folder: Path) -> None:
        self.origin = Process("origin", folder / "origin", "--no-renditions", "--no-perceptual")
        self.line = Relay(self.origin.port)
        self.disk = Disk(folder / "disk", 256)
        self._folder = folder

    async def start(self) -> None:
        port = await self.line.start()
        self.edge = Process("edge", self.disk.folder / "edge", "--upstream", f"http://127.0.0.1:{port}")
        await self.origin.start()
        await self.edge.start()

    async def stop(self) -> None:
        self.edge.kill()
        self.origin.kill()
        await self.line.stop()
        self.disk.close()

    def flip_a_bit(self, rng: random.Random) -> bool:
        """Spoil a closed pack of the edge, which is not running; return whether there was one."""
        packs = sorted(path for path in (self.edge.home / "packs").glob("*.seg"))[:-1]
        if not packs:
            return False
        pack = rng.choice(packs)
        data = bytearray(pack.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        pack.write_bytes(data)
        return True
