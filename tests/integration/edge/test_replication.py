"""What replication moves, counted over real sockets: headers and deltas, pixels only when they are read."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from nearframe.storage.catalogue import open_catalogue
from tests.integration.edge.nodes import Node, edge_node, origin_node, until, until_shows
from tests.multiparts import split_parts
from tests.syncing import STUDY_UID, accession, ct_series, instance_uid, rename

SERIES_UID = f"{STUDY_UID}.1"


@asynccontextmanager
async def two_nodes(folder: Path) -> AsyncIterator[tuple[Node, Node]]:
    async with origin_node(folder / "origin") as origin, edge_node(folder / "edge", origin.url) as edge:
        yield origin, edge


async def check_files(node: Node, files: list[bytes]) -> None:
    """Check that a node gives back exactly these files."""
    for file in files:
        assert await node.file(STUDY_UID, SERIES_UID, instance_uid(file)) == file


async def check_series(node: Node, files: list[bytes]) -> None:
    """Check that a node gives back exactly these files, as one answer."""
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    path = f"/dicomweb/studies/{STUDY_UID}/series/{SERIES_UID}"
    answer = await node.client.get(path, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    returned = [body for _, body in split_parts(answer.content, answer.headers["content-type"])]
    assert sorted(returned) == sorted(files)


async def test_metadata_edit_moves_no_pixels(tmp_path: Path) -> None:
    before, after = ct_series(20), ct_series(20, change=rename("Doe^Janet"))
    async with two_nodes(tmp_path) as (origin, edge):
        await origin.store(before)
        await until_shows(edge, STUDY_UID, 20, "Doe^Jane")
        await check_files(edge, before)
        moved = origin.sent()
        await origin.store(after)
        await until_shows(edge, STUDY_UID, 20, "Doe^Janet")
        await check_files(edge, after)
        assert origin.sent() - moved == Counter(delta=1)


@pytest.mark.parametrize("slices", [200, pytest.param(1000, marks=pytest.mark.drill)])
async def test_a_rename_of_many_slices_is_less_than_a_kilobyte(tmp_path: Path, slices: int) -> None:
    before, after = ct_series(slices), ct_series(slices, change=rename("Doe^Janet"))
    async with (
        origin_node(tmp_path / "origin") as origin,
        edge_node(tmp_path / "edge", origin.url, prefetch=False) as edge,
    ):
        await origin.store(before)
        await until_shows(edge, STUDY_UID, slices, "Doe^Jane", patience_s=200)
        await check_series(edge, before)
        await until(lambda: origin.sent()["frame"] == slices)  # the last is counted after it has come
        moved, moved_bytes = origin.sent(), origin.sent_bytes()
        await origin.store(after)
        await until_shows(edge, STUDY_UID, slices, "Doe^Janet", patience_s=200)
        # One delta, or two where the machine was so busy that the edge saw a pause within the correction.
        assert set(origin.sent() - moved) == {"delta"}
        assert 0 < (origin.sent_bytes() - moved_bytes).total() <= 1000
        await check_series(edge, after)
        assert set(origin.sent() - moved) == {"delta"}


async def test_other_edits_of_other_instances(tmp_path: Path) -> None:
    files = ct_series(4)
    async with two_nodes(tmp_path) as (origin, edge):
        await origin.store(files)
        await until_shows(edge, STUDY_UID, 4, "Doe^Jane")
        await check_files(edge, files)
        moved = origin.sent()
        corrected = [*ct_series(4, change=accession("A-2"))[:2], *ct_series(4, change=accession("A-3"))[2:]]
        await origin.store(corrected)
        await until(lambda: (origin.sent() - moved)["delta"] >= 1)
        await until_shows(edge, STUDY_UID, 4, "Doe^Jane")
        await until_accession(edge, {"A-2", "A-3"})
        await check_files(edge, corrected)
        assert (origin.sent() - moved)["frame"] == 0


async def until_accession(node: Node, numbers: set[str]) -> None:
    async with asyncio.timeout(30):
        while {str(row["00080050"]["Value"][0]) for row in await node.metadata(STUDY_UID)} != numbers:  # type: ignore[index]
            await asyncio.sleep(0.02)


async def test_what_another_study_holds_is_not_fetched_again(tmp_path: Path) -> None:
    """The import at a second hospital: other UIDs, the same frames."""
    files, imported = ct_series(10), ct_series(10, study="1.2.826.9.9")
    async with two_nodes(tmp_path) as (origin, edge):
        await origin.store(files)
        await until_shows(edge, STUDY_UID, 10, "Doe^Jane")
        await check_files(edge, files)
        moved = origin.sent()
        await origin.store(imported)
        await until_shows(edge, "1.2.826.9.9", 10, "Doe^Jane")
        for file in imported:
            assert await edge.file("1.2.826.9.9", "1.2.826.9.9.1", instance_uid(file)) == file
        assert (origin.sent() - moved)["frame"] == 0


async def test_removed_upstream_removed_here(tmp_path: Path) -> None:
    files = ct_series(3)
    async with (
        origin_node(tmp_path / "origin", delete_policy="remove") as origin,
        edge_node(tmp_path / "edge", origin.url) as edge,
    ):
        await origin.store(files)
        await until_shows(edge, STUDY_UID, 3, "Doe^Jane")
        path = f"/dicomweb/studies/{STUDY_UID}"
        one = f"{path}/series/{SERIES_UID}/instances/{instance_uid(files[0])}"
        assert (await origin.client.delete(one)).status_code < 300
        await until_shows(edge, STUDY_UID, 2, "Doe^Jane")
        assert (await origin.client.delete(path)).status_code < 300
        async with asyncio.timeout(30):
            while (await edge.client.get(f"{path}/metadata")).status_code != 404:
                await asyncio.sleep(0.02)


async def test_a_restored_origin_is_followed_anew_and_moves_nothing_that_is_held(tmp_path: Path) -> None:
    files = ct_series(5)
    async with AsyncExitStack() as stack:
        async with origin_node(tmp_path / "origin") as origin:
            edge = await stack.enter_async_context(edge_node(tmp_path / "edge", origin.url))
            await origin.store(files)
            await until_shows(edge, STUDY_UID, 5, "Doe^Jane")
            await check_files(edge, files)
            port = int(origin.url.rpartition(":")[2])
        catalogue = open_catalogue(tmp_path / "origin" / "catalogue.sqlite")
        catalogue.start_epoch()  # what a restore does
        catalogue.close()
        async with origin_node(tmp_path / "origin", port=port) as origin:
            await until(lambda: origin.line is not None and origin.line.asked["delta"] == 1)
            assert origin.sent() == Counter()
            await origin.store(ct_series(5, change=rename("Doe^Janet")))
            await until_shows(edge, STUDY_UID, 5, "Doe^Janet")
            await check_files(edge, ct_series(5, change=rename("Doe^Janet")))
            assert origin.sent() == Counter(delta=1)


@pytest.mark.parametrize("lost", ["cursor", "catalogue"])
async def test_an_edge_that_lost_its_place_starts_again(tmp_path: Path, lost: str) -> None:
    files = ct_series(5)
    async with two_nodes(tmp_path) as (origin, edge):
        await origin.store(files)
        await until_shows(edge, STUDY_UID, 5, "Doe^Jane")
        await check_files(edge, files)
    pattern = "upstream.json" if lost == "cursor" else "catalogue.sqlite*"
    for path in (tmp_path / "edge").glob(pattern):
        path.unlink()
    async with two_nodes(tmp_path) as (origin, edge):
        await until_shows(edge, STUDY_UID, 5, "Doe^Jane")
        await check_files(edge, files)
        assert origin.sent()["frame"] == 0
        assert origin.sent()["header"] == 0


async def test_an_edge_may_follow_an_edge(tmp_path: Path) -> None:
    files = ct_series(6)
    async with (
        two_nodes(tmp_path) as (origin, middle),
        edge_node(tmp_path / "last", middle.url, prefetch=False) as last,
    ):
        await origin.store(files)
        await until_shows(last, STUDY_UID, 6, "Doe^Jane")
        await check_files(last, files)
        await until(lambda: middle.sent()["frame"] >= 6)  # it counts an answer once it has ended
        await origin.store(ct_series(6, change=rename("Doe^Janet")))
        await until_shows(last, STUDY_UID, 6, "Doe^Janet")
        assert middle.sent()["frame"] == 6
        await check_files(last, ct_series(6, change=rename("Doe^Janet")))
