"""The list as clients ask for it, and how an edge comes to be in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Router

from nearframe.clock import ManualClock
from nearframe.config import Settings
from nearframe.context import local_admin
from nearframe.dicomweb.cors import CORS, READING
from nearframe.sync.directory import Directory, Listed
from nearframe.sync.directory_health import NodeHealth
from nearframe.sync.directory_http import Listing, directory_routes

WARD = Listed("ward", "http://ward.example", ("10.1.0.0/16",), rank=1)
CLINIC = Listed("clinic", "http://clinic.example", rank=2)
WELL = {WARD.url}


class Health(NodeHealth):
    """Nodes are well as the test says."""

    async def _answers(self, url: str) -> bool:
        return url in WELL


@pytest.fixture
async def health() -> AsyncIterator[NodeHealth]:
    health = Health(ManualClock())
    yield health
    await health.close()


@pytest.fixture
async def node(health: NodeHealth, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(home=tmp_path, name="archive")
    directory = Directory([CLINIC], ManualClock())
    listing = Listing(settings, "origin", "nearframe-1", directory, health)
    app = CORS(Router(directory_routes(listing, lambda _: local_admin())), (), directory.web_origins, READING)
    transport = httpx.ASGITransport(app, client=("10.1.0.7", 999))
    async with httpx.AsyncClient(transport=transport, base_url="http://archive.example") as client:
        yield client


async def announce(node: httpx.AsyncClient, document: Any, via: str = "1.1 nearframe-2") -> httpx.Response:
    return await node.post("/api/edges", json=document, headers={"Via": via})


async def test_a_client_gets_the_list_in_its_order(node: httpx.AsyncClient) -> None:
    assert (await announce(node, WARD.as_json())).status_code == 200
    answer = await node.get("/api/edges")
    assert answer.json() == {
        "edges": [
            {"name": "ward", "url": WARD.url, "rank": 0, "healthy": True, "role": "edge"},
            {"name": "clinic", "url": CLINIC.url, "rank": 1, "healthy": False, "role": "edge"},
            {"name": "archive", "url": "http://archive.example", "rank": 2, "healthy": True, "role": "origin"},
        ],
        "self": "archive",
    }
    assert answer.headers["cache-control"] == "private, max-age=5"


async def test_an_edge_is_told_of_the_others_and_of_whom_it_asked(node: httpx.AsyncClient) -> None:
    archive = Listed("archive", "http://archive.example", role="origin")
    expected = [archive.as_json(), CLINIC.as_json()]
    assert (await announce(node, WARD.as_json())).json() == {"nodes": expected}
    assert (await announce(node, {})).json() == {"nodes": [*expected, WARD.as_json()]}


async def test_nobody_announces_an_archive(node: httpx.AsyncClient) -> None:
    await announce(node, WARD.as_json() | {"role": "origin"})
    assert (await node.get("/api/edges")).json()["edges"][0]["role"] == "edge"


@pytest.mark.parametrize(
    ("document", "via", "status"),
    [({"name": "ward"}, "1.1 nearframe-2", 400), ([], "1.1 nearframe-2", 400), ({}, "1.1 nearframe-1", 508)],
)
async def test_what_is_refused(node: httpx.AsyncClient, document: Any, via: str, status: int) -> None:
    assert (await announce(node, document, via)).status_code == status


async def test_a_page_cannot_announce_without_the_browser_asking(node: httpx.AsyncClient) -> None:
    body = b'{"name": "evil", "url": "http://evil.example"}'
    answer = await node.post("/api/edges", content=body, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


@pytest.mark.parametrize(("origin", "may_read"), [(WARD.url, True), ("http://evil.example", False)])
async def test_pages_of_listed_nodes_may_read(node: httpx.AsyncClient, origin: str, may_read: bool) -> None:
    await announce(node, WARD.as_json())
    answer = await node.get("/api/edges", headers={"Origin": origin})
    assert answer.headers.get("access-control-allow-origin") == (origin if may_read else None)
    preflight = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    answer = await node.options("/api/edges", headers=preflight)
    assert answer.headers.get("access-control-allow-methods") == (READING.decode() if may_read else None)


async def test_nodes_are_not_looked_at_for_everybody_who_asks(health: NodeHealth) -> None:
    assert await health.healthy([WARD.url, CLINIC.url]) == {WARD.url}
    WELL.add(CLINIC.url)
    assert await health.healthy([WARD.url, CLINIC.url]) == {WARD.url}
    WELL.discard(CLINIC.url)


async def test_an_address_where_nobody_answers_is_not_well() -> None:
    health = NodeHealth(ManualClock())
    assert await health.healthy(["http://127.0.0.1:1"]) == frozenset()
    await health.close()
