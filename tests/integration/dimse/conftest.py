"""A node that knows its peers, for those who are not among them, or do not behave."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest

from tests.integration.conftest import Running
from tests.integration.dimse.hostile import OBJECT, STORE, UID, Address, Associated, store

_SETTINGS = """
dicom = "127.0.0.1:0"
ae_title = "ARCHIVE"
max_instance_bytes = "8 MiB"
renditions = false

[[peers]]
ae_title = "SCANNER"

[[peers]]
ae_title = "READER"
may = ["query", "retrieve"]

[[peers]]
ae_title = "ELSEWHERE"
networks = ["198.51.100.0/24"]

[[peers]]
ae_title = "AWAY"
host = "127.0.0.1"
port = 1
"""


@dataclass(frozen=True, slots=True)
class Archive:
    """A running node."""

    dicom: Address
    url: str
    pid: int

    def counted(self, metric: str, **labels: str) -> int:
        """Return what a counter of the node says."""
        wanted = "".join(f'{name}="{value}"' for name, value in labels.items())
        pattern = rf"^nearframe_{metric}_total(?:\{{{re.escape(wanted)}\}})? (\S+)$"
        found = re.search(pattern, httpx.get(f"{self.url}/metrics").text, re.MULTILINE)
        return int(float(found[1])) if found else 0

    def instances(self) -> list[str]:
        """Return the UIDs of all that it holds."""
        answer = httpx.get(f"{self.url}/dicomweb/instances?limit=5000")
        return [item["00080018"]["Value"][0] for item in answer.json()] if answer.content else []


@pytest.fixture(scope="session")
def node(start: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("hostile")
    settings = folder / "nearframe.toml"
    settings.write_text(_SETTINGS)
    running = start("origin", folder / "home", "--config", str(settings))
    found = re.search(r"DICOM at (\S+):(\d+) as ARCHIVE", running.line)
    assert found, running.line
    archive = Archive((found[1], int(found[2])), running.url, running.process.pid)
    with Associated(archive.dicom) as wire:  # the first of all has its modules loaded, and takes longer
        wire.ask(STORE, store(UID), OBJECT)
        wire.release()
    return archive
