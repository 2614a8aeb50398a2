"""Nodes of the demonstration: our own program in processes of its own, as a site would run it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from nearframe.errors import BackendFailed, ConfigurationError

START_S = 30.0
STOP_S = 15.0
_ASK_AGAIN_S = 0.05


@dataclass(slots=True)
class DemoNode:
    """One node: its command line, its home, its process while it runs."""

    role: str
    home: Path
    address: str
    options: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def log_path(self) -> Path:
        return self.home.with_suffix(".log")

    def start(self) -> None:
        """Start the process and return once it answers.

        Raises
        ------
        ConfigurationError
            If something listens there already: its answers would be taken for this node's.
        BackendFailed
            If it ends or stays silent; the message holds the end of its log.
        """
        if self._is_taken():
            raise ConfigurationError(f"something listens at {self.address} already; end it, or choose another port")
        command = [sys.executable, "-m", "nearframe", self.role, "--home", str(self.home), "--insecure"]
        with self.log_path.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, "--http", self.address, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # an interrupt at the terminal is ours to handle
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise BackendFailed(f"the {self.role} ended with {self._process.returncode}:\n{self._log_end()}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/healthz", timeout=2).is_success:
                    return
            time.sleep(_ASK_AGAIN_S)
        raise BackendFailed(f"the {self.role} did not answer within {START_S:g} s:\n{self._log_end()}")

    def cut(self) -> None:
        """Kill the process at once: what a lost line or a lost machine looks like to the others."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End the process in order."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
            self._process = None
        except subprocess.TimeoutExpired:
            self.cut()

    def _is_taken(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
        except OSError:
            return False
        return True

    def _log_end(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-12:])
