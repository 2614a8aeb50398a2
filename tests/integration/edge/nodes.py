"""Two real nodes in one process, on real sockets, and what went between them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nearframe.app import open_origin
from nearframe.config import Settings
from nearframe.edgeapp import open_edge
from nearframe.listener.testing import running
from nearframe.metrics import SYNC_SENT, SYNC_SENT_BYTES, UPSTREAM_BYTES, Metrics
from tests.multiparts import store_body

KINDS = ("feed", "manifest", "delta", "header", "frame", "renditions")


@dataclass
class Node:
    """A running node.

    Attributes
    ----------
    url
        Where it answers.
    client
        Speaks to it.
    line
        The line to it; an origin has one.
    """

    url: str
    client: httpx.AsyncClient
    metrics: Metrics
    line: Line | None = None

    def sent(self, *kinds: str) -> Counter[str]:
        """What it sent to other nodes so far; the feed and lists of renditions only if named."""
        return +Counter({kind: int(self.metrics.value(SYNC_SENT, kind=kind)) for kind in kinds or KINDS[1:5]})

    def sent_bytes(self) -> Counter[str]:
        return +Counter({kind: int(self.metrics.value(SYNC_SENT_BYTES, kind=kind)) for kind in KINDS[1:5]})

    def received_bytes(self) -> Counter[str]:
        return +Counter({kind: int(self.metrics.value(UPSTREAM_BYTES, kind=kind)) for kind in KINDS[1:5]})

    async def store(self, files: Iterable[bytes]) -> httpx.Response:
        """Store files by one STOW-RS request; all of them are taken."""
        response = await self.try_to_store(files)
        assert response.status_code == 200, response.text
        return response

    async def try_to_store(self, files: Iterable[bytes]) -> httpx.Response:
        """Store files by one STOW-RS request."""
        content_type, body = store_body(files)
        return await self.client.post("/dicomweb/studies", content=body, headers={"Content-Type": content_type})

    async def file(self, study: str, series: str, instance: str) -> bytes:
        """Retrieve the stored file of an instance."""
        path = f"/dicomweb/studies/{study}/series/{series}/instances/{instance}"
        response = await self.client.get(path, headers={"Accept": "application/dicom; transfer-syntax=*"})
        assert response.status_code == 200, response.text
        return response.content

    async def metadata(self, study: str) -> list[dict[str, object]]:
        response = await self.client.get(f"/dicomweb/studies/{study}/metadata")
        if response.status_code == 404:
            return []
        assert response.status_code == 200, response.text
        found: list[dict[str, object]] = response.json()
        return found

    async def patient_names(self, study: str) -> set[str]:
        rows = await self.metadata(study)
        return {str(row["00100010"]["Value"][0]["Alphabetic"]) for row in rows}  # type: ignore[index]


def settings(home: Path, **more: Any) -> Settings:
    chosen: dict[str, Any] = {"insecure": True, "disk_reserve_bytes": 0, "renditions": False, "perceptual": False}
    chosen |= {"push": "none"}  # the studies of these tests are of today
    return Settings(home=home, **(chosen | more))


class Line:
    """The line to a node, as an application around its own: it can hold, spoil and count what goes over it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        #: Path ends of the requests that came, without UIDs and digests.
        self.asked: Counter[str] = Counter()
        #: While it is clear, requests for contents wait.
        self.open = asyncio.Event()
        self.open.set()
        #: How many answers with contents to spoil.
        self.spoil = 0
        #: Whom the last request of another node came through.
        self.via = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_contents = "/contents" in scope["path"]
        self.asked["contents" if is_contents else scope["path"].rpartition("/")[2]] += 1
        self.via = next((value.decode().split()[-1] for name, value in scope["headers"] if name == b"via"), self.via)
        if not is_contents:
            await self._app(scope, receive, send)
            return
        await self.open.wait()
        spoiling = self.spoil > 0
        self.spoil -= spoiling

        async def spoil(message: Message) -> None:
            if spoiling and message["type"] == "http.response.body" and message.get("body"):
                body = bytearray(message["body"])
                body[-1] ^= 0x01
                message = {**message, "body": bytes(body)}
            await send(message)

        await self._app(scope, receive, spoil)


@asynccontextmanager
async def origin_node(home: Path, port: int = 0, **more: Any) -> AsyncIterator[Node]:
    async with open_origin(settings(home, **more)) as (app, metrics):
        line = Line(app)
        async with serving(line, metrics, port) as node:
            node.line = line
            yield node


@asynccontextmanager
async def edge_node(home: Path, upstream: str | tuple[str, ...], port: int = 0, **more: Any) -> AsyncIterator[Node]:
    async with (
        open_edge(settings(home, upstream=(upstream,) if isinstance(upstream, str) else upstream, **more)) as (
            app,
            metrics,
        ),
        serving(app, metrics, port) as node,
    ):
        yield node


@asynccontextmanager
async def serving(app: ASGIApp, metrics: Metrics, port: int = 0) -> AsyncIterator[Node]:
    async with running(app, port=port) as url, httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        yield Node(url, client, metrics)


async def until(holds: Callable[[], bool], patience_s: float = 30.0) -> None:
    """Wait for something another node does in its own time."""
    async with asyncio.timeout(patience_s):
        while not holds():
            await asyncio.sleep(0.01)


async def until_followed(edge: Node, origin: Node) -> None:
    """Wait until an edge is complete up to the end of its upstream's feed."""
    head = (await origin.client.get("/api/status")).json()["feed"]["head"]
    async with asyncio.timeout(120):
        while (await edge.client.get("/api/status")).json()["upstream"]["cursor"] != head:
            await asyncio.sleep(0.05)


async def until_shows(node: Node, study: str, instances: int, name: str, patience_s: float = 60.0) -> None:
    """Wait until a node shows a study with so many instances, all of one patient name."""
    query = {"StudyInstanceUID": study, "PatientName": name, "includefield": "00201208"}
    async with asyncio.timeout(patience_s):
        while True:
            response = await node.client.get("/dicomweb/studies", params=query)
            found = response.json() if response.status_code == 200 else []
            # The search shows one name for the study; only then are all of them worth looking at.
            if found and found[0]["00201208"]["Value"] == [instances] and await node.patient_names(study) == {name}:
                return
            await asyncio.sleep(0.05)
