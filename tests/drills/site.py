"""An origin and an edge as processes, each on a disk of its own, and a line between them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, Protocol

from tests.drills.disk import Disk, flip_a_bit
from tests.drills.proxy import Relay

_START_S: Final = 120.0
_DISK_MIB: Final = 512
#: Small packs, so that there are many soon.
_SETTINGS: Final = ("--insecure", "--disk-reserve-bytes", "0", "--segment-bytes", "1 MiB", "--log-level", "warning")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


class Node:
    """A process that ends without warning and is started again, at the same address and home."""

    def __init__(self, role: str, folder: Path, *options: str) -> None:
        self.disk = Disk(folder / role, _DISK_MIB)
        self.home = self.disk.folder / "home"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{role}.log"
        listen = ("--http", f"127.0.0.1:{self.port}", "--home", str(self.home))
        self._arguments = [role, *_SETTINGS, *listen, *options]
        self._process: subprocess.Popen[bytes] | None = None

    def takes(self, option: str) -> None:
        """Give it an option more, from its next start on."""
        self._arguments.append(option)

    async def start(self, *dies: str) -> None:
        """Start, and wait until it answers.

        Parameters
        ----------
        dies
            The step at which it is to end, and whether before or after it; see `dying`.
        """
        program = ["tests.drills.dying", *dies] if dies else ["nearframe"]
        command = [sys.executable, "-m", *program, *self._arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        async with asyncio.timeout(_START_S):
            while not await self._answers():
                code = self._process.poll()
                assert code is None, f"it ended with {code}: {self.log.read_text()[-2000:]}"
                await asyncio.sleep(0.05)

    async def ended(self) -> int:
        """Wait until it has ended by itself; return its exit code, negative for a signal."""
        assert self._process is not None
        code = await asyncio.to_thread(self._process.wait)
        self._process = None
        return code

    def kill(self) -> None:
        """End it as a crash would: what it wrote is in the system's page cache still."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def cut_power(self) -> None:
        """End it, and lose what it had not synced."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)  # it shall not see the disk fail
        self.disk.cut_power()
        self.kill()
        self.disk.restore_power()

    def flip_a_bit(self, rng: random.Random) -> bool:
        """Spoil a pack of the node, which is not running; return whether there was one."""
        return flip_a_bit(sorted((self.home / "packs").glob("*.seg")), rng)

    def close(self) -> None:
        self.kill()
        self.disk.close()

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


class Reachable(Protocol):
    """A node as its clients know it."""

    @property
    def url(self) -> str: ...


class Sited(Protocol):
    """Two nodes, or one of both roles."""

    @property
    def origin(self) -> Reachable: ...

    @property
    def edge(self) -> Reachable: ...


class Site:
    """The whole of it."""

    def __init__(self, folder: Path) -> None:
        self.origin = Node("origin", folder, "--no-renditions", "--no-perceptual")
        self.edge = Node("edge", folder)
        self.line = Relay(self.origin.port)

    async def start(self) -> None:
        port = await self.line.start()
        self.edge.takes(f"--upstream=http://127.0.0.1:{port}")
        for node in (self.origin, self.edge):
            node.disk.open()
        await asyncio.gather(self.origin.start(), self.edge.start())

    async def stop(self) -> None:
        self.edge.close()
        self.origin.close()
        await self.line.stop()

    @property
    def has_disks(self) -> bool:
        """Whether power can be cut and disks be filled."""
        return self.origin.disk.is_real and self.edge.disk.is_real
