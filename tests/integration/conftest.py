"""A node as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest


class Running(NamedTuple):
    url: str
    home: Path
    process: subprocess.Popen[str]
    line: str


@pytest.fixture(scope="session")
def start(root: Path) -> Iterator[Callable[..., Running]]:
    """Start ``nearframe ROLE`` on a free port; every node is stopped at the end, and must end well."""
    started: list[subprocess.Popen[str]] = []

    def start(role: str, home: Path, *options: str) -> Running:
        command = [sys.executable, "-m", "nearframe", role, "--home", str(home), "--insecure", "--http", "127.0.0.1:0"]
        process = subprocess.Popen(
            [*command, "--disk-reserve-bytes", "1MiB", *options],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root / "src")},
        )
        started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"https?://[^/]+", line)
        assert found, f"{role} did not start: {line!r}"
        return Running(found[0], home, process, line)

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    codes = [process.wait(20) for process in started]
    for process in started:
        assert process.stdout is not None
        process.stdout.close()
    assert set(codes) <= {0}
