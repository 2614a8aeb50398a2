"""An Orthanc that speaks DICOM's own protocol alone, and an edge in front of it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.peers import free_port, orthanc
from nearframe.pacsapp import open_pacs_edge
from nearframe.settingkinds import Address
from tests.integration.edge.nodes import Node, serving, settings

TITLE, EDGE_TITLE = "ORTHANC", "EDGE"
#: Nobody may have objects by C-GET but who is said to.
_SETTINGS: dict[str, object] = {
    "Plugins": [],
    "DicomAet": TITLE,
    "DicomCheckCalledAet": True,
    "DicomAlwaysAllowFind": True,
    "DicomAlwaysAllowGet": False,
    "DicomAlwaysAllowMove": True,
}


class DicomPacs:
    """It can be stopped and started, and told who may do what.

    Attributes
    ----------
    edge_port
        Where it believes the edge to listen.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._http, self.port, self.edge_port = free_port(), free_port(), free_port()
        self._running = ExitStack()
        self._pid = 0
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self._http}", timeout=60, trust_env=False)

    @property
    def url(self) -> str:
        """Its URL, as of an upstream."""
        return f"dicom://{TITLE}@127.0.0.1:{self.port}"

    def start(self) -> None:
        opened = orthanc(self._home, port=self._http, dicom_port=self.port, settings=_SETTINGS)
        self._pid = self._running.enter_context(opened).pid
        self.knows(EDGE_TITLE, self.edge_port)

    def stop(self) -> None:
        self._running.close()

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self.stop()

    def knows(self, title: str, port: int, *, may_get: bool = True) -> None:
        """Have it know a peer."""
        known = {"AET": title, "Host": "127.0.0.1", "Port": port, "AllowGet": may_get}
        assert self.client.put(f"/modalities/{title}", json=known).status_code == 200

    def store(self, *files: bytes) -> None:
        for file in files:
            answer = self.client.post("/instances", content=file)
            assert answer.status_code == 200, answer.text

    def send(self, title: str) -> None:
        """Have it send all that it holds to a peer, by C-STORE."""
        told = self.client.post(f"/modalities/{title}/store", json=self.client.get("/studies").json())
        assert told.status_code == 200, told.text

    def holds(self) -> dict[str, str]:
        """Return the identifiers of its instances, by SOP Instance UID."""
        question = {"Level": "Instance", "Query": {}, "Expand": True}
        found = self.client.post("/tools/find", json=question).json()
        return {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in found}

    def delete(self, instance: str) -> None:
        assert self.client.delete(f"/instances/{self.holds()[instance]}").status_code == 200

    def reconstruct(self) -> None:
        """Have it read what it shows of studies from its objects anew."""
        for one in self.client.get("/studies").json():
            assert self.client.post(f"/studies/{one}/reconstruct", json={}).status_code == 200

    def empty(self) -> None:
        for one in self.client.get("/patients").json():
            self.client.delete(f"/patients/{one}")


@contextmanager
def running_pacs(home: Path) -> Iterator[DicomPacs]:
    pacs = DicomPacs(home)
    pacs.start()
    try:
        yield pacs
    finally:
        pacs.stop()
        pacs.client.close()


@asynccontextmanager
async def edge_before(home: Path, url: str, port: int = 0, **more: Any) -> AsyncIterator[Node]:
    """Run an edge in front of an archive; it listens for associations at a port, or nowhere."""
    dicom = Address("127.0.0.1", port) if port else None
    chosen: dict[str, Any] = {"upstream": (url,), "ae_title": EDGE_TITLE, "dicom": dicom, "prior_studies": 0}
    async with open_pacs_edge(settings(home, **(chosen | more))) as (app, metrics), serving(app, metrics) as node:
        yield node
