"""In which form frames cross the line: native ones as their renditions, each once, and exact at the other end."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from nearframe.edge import line
from nearframe.metrics import EDGE_PREFETCHED, FRAMES_MADE, RECIPES_FOLLOWED
from nearframe.wire.document import compress
from nearframe.wire.renditions import decode_renditions
from tests.integration.edge.nodes import Node, edge_node, origin_node, until, until_followed
from tests.syncing import STUDY_UID, ct_series, edited, instance_uid

ROWS, SLICES = 128, 4
NATIVE_BYTES = ROWS * ROWS * 2 * SLICES
HTJ2K = "1.2.840.10008.1.2.4.202"
EITHER = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
NATIVE = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'}
SERIES = f"/dicomweb/studies/{STUDY_UID}/series/{STUDY_UID}.1"


def paths(files: list[bytes]) -> list[str]:
    return [f"{SERIES}/instances/{instance_uid(file)}/frames/1" for file in files]


async def read(node: Node, files: list[bytes], headers: dict[str, str]) -> list[bytes]:
    answers = [await node.client.get(path, headers=headers) for path in paths(files)]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.content for answer in answers]


async def until_made(origin: Node, what: str = "renditions") -> None:
    """Wait until the origin has made its renditions, or hashes."""
    while (await origin.client.get("/api/status")).json()["background"][what]["lag"]:
        await asyncio.sleep(0.02)


async def until_known(edge: Node) -> None:
    """Open the study until the edge knows a rendition of every frame."""
    while True:
        await edge.metadata(STUDY_UID)
        answer = await edge.client.get(f"/api/studies/{STUDY_UID}/renditions")
        known = decode_renditions(compress(answer.content))
        if all(known.entries):
            return
        await asyncio.sleep(0.02)


def assert_native(files: list[bytes], answers: list[bytes]) -> None:
    """Each answer has the pixels of its file, byte for byte."""
    for file, answer in zip(files, answers, strict=True):
        assert file[-ROWS * ROWS * 2 :] in answer


@pytest.mark.parametrize("first", [EITHER, NATIVE])
async def test_both_forms_from_one_that_came(tmp_path: Path, first: dict[str, str]) -> None:
    files = ct_series(SLICES, rows=ROWS)
    async with (
        origin_node(tmp_path / "origin", renditions=True) as origin,
        edge_node(tmp_path / "edge", origin.url, prefetch=False) as edge,
    ):
        await origin.store(files)
        await until_made(origin)
        await until_followed(edge, origin)
        await until_known(edge)
        await read(edge, files, first)
        came = edge.received_bytes()["frame"]
        assert 0 < came < NATIVE_BYTES / 2, "the renditions alone"
        assert_native(files, await read(edge, files, NATIVE))
        coded = await read(edge, files, EITHER)
        assert all(HTJ2K.encode() in one[:500] for one in coded)
        assert edge.received_bytes()["frame"] == came, "nothing crossed the line twice"
        assert edge.metrics.value(FRAMES_MADE, form="native") == SLICES
        for file in files:
            assert await edge.file(STUDY_UID, f"{STUDY_UID}.1", instance_uid(file)) == file


async def test_what_is_pushed_comes_as_renditions(tmp_path: Path) -> None:
    files = ct_series(SLICES, rows=ROWS)
    async with (
        origin_node(tmp_path / "origin", renditions=True) as origin,
        edge_node(tmp_path / "edge", origin.url, push="all", route=({"class": "routine"},)) as edge,
    ):
        await origin.store(files)
        await until(lambda: edge.metrics.value(EDGE_PREFETCHED, why="push") == SLICES)
        came = edge.received_bytes()["frame"]
        assert 0 < came < NATIVE_BYTES / 2, "though they were being made when the study was announced"
        assert_native(files, await read(edge, files, NATIVE))
        assert edge.received_bytes()["frame"] == came


async def test_what_is_fetched_ahead_comes_by_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two studies is the first, but for a corner: read ahead it costs next to nothing."""
    monkeypatch.setattr(line, "QUICK_CHUNK_S", 0.0)  # loopback too takes one frame at a time
    first = ct_series(SLICES, rows=256, change=somewhere)
    other = f"{STUDY_UID}.2"
    derived = [lettered(file, other) for file in first]
    async with (
        origin_node(tmp_path / "origin", renditions=True) as origin,
        edge_node(tmp_path / "edge", origin.url, push="all", route=({"class": "routine"},)) as edge,
    ):
        await origin.store(first)
        await until(lambda: edge.metrics.value(EDGE_PREFETCHED, why="push") == SLICES)
        came = edge.received_bytes()["frame"]
        await origin.store(derived)
        await until(lambda: edge.metrics.value(EDGE_PREFETCHED, why="push") == 2 * SLICES)
        assert edge.metrics.value(RECIPES_FOLLOWED, operation="box") == SLICES
        assert edge.received_bytes()["frame"] == came
        for file in derived:
            assert await edge.file(other, f"{other}.1", instance_uid(file)) == file
        assert edge.received_bytes()["frame"] == came


async def test_what_frames_look_like_follows_where_no_rule_forbids_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "QUICK_CHUNK_S", 0.0)  # one frame at a time: those come by recipe
    home = tmp_path / "edge"
    more: dict[str, Any] = {"push": "all", "perceptual": True}
    async with origin_node(tmp_path / "origin", perceptual=True) as origin:
        assert origin.line is not None
        await origin.store(ct_series(SLICES, rows=256))
        await until_made(origin, "perceptual")
        async with edge_node(home, origin.url, route=({"class": "routine"},), **more):
            await until(lambda: hashes_at(home) == SLICES)
        assert origin.line.asked["hashes"] == 1
        route = ({"class": "routine", "modality": "CT", "index": False},)
        async with edge_node(home, origin.url, route=route, **more) as edge:
            await until(lambda: hashes_at(home) == 0)
            await origin.store(ct_series(SLICES, rows=256, study=f"{STUDY_UID}.3", seed=3))
            await until_made(origin, "perceptual")
            await until(lambda: edge.metrics.value(EDGE_PREFETCHED, why="push") == SLICES)
        assert origin.line.asked["hashes"] == 1
        assert hashes_at(home) == 0


def hashes_at(home: Path) -> int:
    """Return how many frames the catalogue of a node says the look of."""
    with closing(sqlite3.connect(home / "catalogue.sqlite")) as catalogue:
        return int(catalogue.execute("SELECT count(*) FROM perceptual").fetchone()[0])


def somewhere(ds: pydicom.Dataset) -> None:
    """Give a slice a place in a patient."""
    ds.FrameOfReferenceUID = f"{STUDY_UID}.9"


def lettered(file: bytes, study: str) -> bytes:
    """Return a slice with something burned in, as another study of the same place."""

    def burn_in(ds: pydicom.Dataset) -> None:
        pixels = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).copy()
        pixels[:8, :20] = 4000
        ds.PixelData = pixels.tobytes()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.1"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ds.SOPInstanceUID}.2")

    return edited(file, burn_in)
