"""Metadata at an edge, compressed against the version that a browser has (RFC 9842), where that is switched on."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from nearframe.ids import sha256
from nearframe.wire.dictionarycoding import decompress_against
from tests.integration.edge.nodes import Node, edge_node, origin_node, until_followed, until_shows
from tests.syncing import STUDY_UID, ct_series, rename

COUNT = 20
METADATA = f"/dicomweb/studies/{STUDY_UID}/metadata"
CODINGS = "gzip, deflate, br, zstd, dcb, dcz"  # as a browser says


@dataclass(frozen=True)
class Renamed:
    """An edge after a correction.

    Attributes
    ----------
    kept
        What a browser was given of the version before, by name.
    answer
        What it is given now that it says it has that.
    """

    edge: Node
    kept: httpx.Response
    answer: httpx.Response


@asynccontextmanager
async def renamed(folder: Path, *, dictionaries: bool) -> AsyncIterator[Renamed]:
    async with (
        origin_node(folder / "origin") as origin,
        edge_node(folder / "edge", origin.url, dictionaries=dictionaries) as edge,
    ):
        await origin.store(ct_series(COUNT))
        await until_followed(edge, origin)
        head = (await edge.client.get("/api/status")).json()["feed"]["head"]
        version = head.rpartition(":")[2]
        kept = await edge.client.get(METADATA, params={"version": version}, headers={"Accept-Encoding": CODINGS})
        await origin.store(ct_series(COUNT, change=rename("Doe^Janet")))
        await until_shows(edge, STUDY_UID, COUNT, "Doe^Janet")
        available = f":{base64.b64encode(sha256(kept.content)).decode()}:"
        asking = {"Accept-Encoding": CODINGS, "Available-Dictionary": available}
        yield Renamed(edge, kept, await edge.client.get(METADATA, headers=asking))


async def test_a_correction_is_some_hundred_bytes_to_who_has_the_version_before(tmp_path: Path) -> None:
    async with renamed(tmp_path, dictionaries=True) as found:
        assert found.kept.headers["use-as-dictionary"] == f'match="{METADATA}*"'
        answer = found.answer
        assert answer.headers["content-encoding"] == "dcz"
        assert "Available-Dictionary" in answer.headers["vary"]
        assert answer.headers["cache-status"] == "nearframe-edge; hit"
        plain = (await found.edge.client.get(METADATA, headers={"Accept-Encoding": "identity"})).content
        assert decompress_against(answer.content, found.kept.content, len(plain)) == plain
        assert b"Doe^Janet" in plain
        assert len(answer.content) < 500


async def test_it_is_off_unless_it_is_switched_on(tmp_path: Path) -> None:
    async with renamed(tmp_path, dictionaries=False) as found:
        assert "use-as-dictionary" not in found.kept.headers
        assert found.answer.headers["content-encoding"] == "zstd"
        assert "Available-Dictionary" not in found.answer.headers["vary"]
        assert b"Doe^Janet" in found.answer.content
