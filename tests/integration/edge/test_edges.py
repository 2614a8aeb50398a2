"""Edges make themselves known, and every node says which nodes a client may ask."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bench.peers import free_port
from tests.integration.edge.nodes import Node, edge_node, origin_node


async def edges_of(node: Node) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await node.client.get("/api/edges")).json()["edges"]
    return found


async def names_of(node: Node) -> list[str]:
    return [one["name"] for one in await edges_of(node)]


async def until_listed(node: Node, *names: str) -> None:
    async with asyncio.timeout(20):
        while await names_of(node) != list(names):
            await asyncio.sleep(0.02)


async def test_two_edges_and_their_archive_know_each_other(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    archive: dict[str, Any] = {"name": "archive", "edges": ({"name": "second", "url": urls[1], "rank": 1},)}
    async with origin_node(tmp_path / "origin", **archive) as origin:
        first: dict[str, Any] = {"name": "first", "public_base_url": urls[0], "networks": ("192.0.2.0/24",)}
        async with edge_node(tmp_path / "first", origin.url, ports[0], **first) as one:
            await until_listed(origin, "first", "second", "archive")
            assert [node["healthy"] for node in await edges_of(origin)] == [True, False, True]
            second: dict[str, Any] = {"name": "second", "public_base_url": urls[1], "networks": ("127.0.0.0/8",)}
            async with edge_node(tmp_path / "second", origin.url, ports[1], **second) as two:
                await until_listed(two, "second", "first", "archive")
                assert [node["healthy"] for node in await edges_of(two)] == [True, True, True]
                await until_listed(one, "first", "second", "archive")
                assert (await one.client.get("/api/edges")).json()["self"] == "first"
                page = {"Origin": urls[1]}
                answer = await one.client.get("/dicomweb/studies", headers=page)
                assert answer.headers["access-control-allow-origin"] == urls[1]


async def test_every_node_describes_what_it_answers(tmp_path: Path) -> None:
    async with origin_node(tmp_path / "o") as origin, edge_node(tmp_path / "e", origin.url) as edge:
        for node, more in ((origin, {"/api/conflicts"}), (edge, {"/api/outbox", "/api/purge"})):
            document = (await node.client.get("/openapi.json")).json()
            paths = document["paths"]
            study = "/api/studies/{study}"
            expected = {f"{study}/sync", f"{study}/urgency", "/api/edges", "/api/offers", "/api/feed"}
            assert expected | more <= paths.keys()
            assert document["servers"] == [{"url": f"{node.url}/dicomweb"}]
            assert paths["/api/edges"]["servers"] == [{"url": node.url}]
            assert "servers" not in paths["/studies"]
            operations = [one for path in paths.values() for name, one in path.items() if name != "servers"]
            assert all(one["summary"] for one in operations)
            assert len({one["operationId"] for one in operations}) == len(operations)


async def test_an_edge_that_does_not_know_its_url_is_in_its_own_list_alone(tmp_path: Path) -> None:
    async with (
        origin_node(tmp_path / "origin", name="archive") as origin,
        edge_node(tmp_path / "e", origin.url) as edge,
    ):
        async with asyncio.timeout(20):
            while [node["url"] for node in await edges_of(edge)] != [edge.url, origin.url]:
                await asyncio.sleep(0.02)
        assert await names_of(origin) == ["archive"]
