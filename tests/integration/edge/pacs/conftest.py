"""An edge in front of a real Orthanc."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.peers import free_port, has_orthanc, orthanc
from nearframe.edge.pacs import front
from nearframe.pacsapp import open_pacs_edge
from tests.integration.edge.nodes import Node, serving, settings
from tests.multiparts import store_body


class Pacs:
    """An Orthanc that can be stopped and started, and counts what is asked of it by its log."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._port = free_port()
        self._running = ExitStack()
        self.url = f"http://127.0.0.1:{self._port}/dicom-web"

    def start(self) -> None:
        self._running.enter_context(orthanc(self._home, port=self._port))

    def stop(self) -> None:
        self._running.close()

    def store(self, *files: bytes) -> None:
        """Store files by STOW-RS, in place of those with the same UIDs."""
        content_type, body = store_body(files)
        answer = httpx.post(f"{self.url}/studies", content=body, headers={"Content-Type": content_type}, timeout=60)
        assert answer.status_code == 200, answer.text

    def delete(self, level: str, uid_tag: str, uid: str) -> None:
        """Delete a study or an instance by Orthanc's own interface."""
        root = self.url.removesuffix("/dicom-web")
        (found,) = httpx.post(f"{root}/tools/find", json={"Level": level, "Query": {uid_tag: uid}}).json()
        folder = {"Study": "studies", "Instance": "instances"}[level]
        assert httpx.delete(f"{root}/{folder}/{found}").status_code == 200


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Pacs]:
    if not has_orthanc():
        pytest.skip("no Orthanc with its DICOMweb plugin")
    pacs = Pacs(tmp_path / "orthanc")
    pacs.start()
    yield pacs
    pacs.stop()


@pytest.fixture
async def edge(pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    # Every opening is compared, however soon after the last, and waits until it is.
    monkeypatch.setattr(front, "FRESH_S", 0.0)
    monkeypatch.setattr(front, "PATIENCE_S", 20.0)
    async with pacs_edge(tmp_path / "edge", pacs.url) as node:
        yield node


@asynccontextmanager
async def pacs_edge(home: Path, url: str, **more: Any) -> AsyncIterator[Node]:
    chosen = settings(home, upstream=(url,), upstream_kind="dicomweb", **more)
    async with open_pacs_edge(chosen) as (app, metrics), serving(app, metrics) as node:
        yield node
