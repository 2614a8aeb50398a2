"""An edge that is killed goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.integration.edge.nodes import Node, origin_node, until_shows
from tests.syncing import STUDY_UID, ct_series, instance_uid, rename


@contextmanager
def edge_process(home: Path, upstream: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``nearframe edge``; the value is the process and where it answers."""
    command = [sys.executable, "-m", "nearframe", "edge", "--insecure", "--http", "127.0.0.1:0"]
    command += ["--home", str(home), "--upstream", upstream, "--disk-reserve-bytes", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield process, line.split(" answers at ")[1].split("/ ")[0]
        finally:
            process.kill()


def node(url: str, client: httpx.AsyncClient, origin: Node) -> Node:
    return Node(url, client, origin.metrics)


async def test_killed_and_started_again(tmp_path: Path) -> None:
    files = ct_series(12)
    renamed = ct_series(12, change=rename("Doe^Janet"))
    async with origin_node(tmp_path / "origin") as origin:
        with edge_process(tmp_path / "edge", origin.url) as (process, url):
            async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
                edge = node(url, client, origin)
                await origin.store(files)
                await until_shows(edge, STUDY_UID, 12, "Doe^Jane")
                for file in files:
                    await edge.file(STUDY_UID, f"{STUDY_UID}.1", instance_uid(file))
                # Killed while a correction comes in: before, in or after its pull, whatever happens to be under way.
                await origin.store(renamed[:6])
                process.send_signal(signal.SIGKILL)
                process.wait()
        await origin.store(renamed)
        asked = origin.sent()
        with edge_process(tmp_path / "edge", origin.url) as (process, url):
            async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
                edge = node(url, client, origin)
                await until_shows(edge, STUDY_UID, 12, "Doe^Janet")
                for file in renamed:
                    assert await edge.file(STUDY_UID, f"{STUDY_UID}.1", instance_uid(file)) == file
                assert (origin.sent() - asked)["frame"] == 0
