"""An edge that takes in by itself: durable here, forwarded once in effect, shown without a gap."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from nearframe import tasks
from nearframe.cli import main
from nearframe.context import Urgency
from nearframe.delta.frame import FrameForm
from nearframe.delta.sent import encode_sent
from nearframe.edge import recipesup
from nearframe.edge.upstream import Upstream
from nearframe.metrics import (
    FORWARDED_BYTES,
    RECIPES_FOLLOWED,
    RECIPES_REFUSED,
    RECIPES_SENT,
    SYNC_TAKEN,
    SYNC_TAKEN_BYTES,
)
from nearframe.storage.ports import StudyRef
from nearframe.wire.framerecipe import FrameRecipe
from nearframe.wire.offer import Offer, OfferAnswer
from tests.archive import sample
from tests.integration.edge.nodes import Node, edge_node, origin_node, until, until_shows
from tests.syncing import STUDY_UID, ct_series, edited, rename


@pytest.fixture
def port() -> int:
    """A port that nothing else listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


class Site:
    """An edge, and an origin that comes and goes."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port

    @asynccontextmanager
    async def origin(self, **more: Any) -> AsyncIterator[Node]:
        async with origin_node(self.folder / "origin", self.port, **more) as node:
            yield node

    @asynccontextmanager
    async def edge(self, name: str = "edge", upstream: str = "", **more: Any) -> AsyncIterator[Node]:
        url = upstream or f"http://127.0.0.1:{self.port}"
        async with edge_node(self.folder / name, url, **more) as node:
            yield node


@pytest.fixture
def site(tmp_path: Path, port: int) -> Iterator[Site]:
    yield Site(tmp_path, port)


async def outbox(edge: Node) -> dict[str, Any]:
    answer = await edge.client.get("/api/outbox")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def until_forwarded(edge: Node, instances: int, patience_s: float = 60.0) -> dict[str, Any]:
    """Wait until so many instances are verified, and nothing is left to be done about any."""
    async with asyncio.timeout(patience_s):
        while True:
            found = await outbox(edge)
            if found["verified"] == instances and not found["studies"]:
                return found
            await asyncio.sleep(0.05)


def uids(data: bytes) -> tuple[str, str, str]:
    ds = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    return str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID)


async def check_same(edge: Node, origin: Node, files: list[bytes]) -> None:
    """Check that both show these files, byte for byte, and the same state of each study."""
    for data in files:
        assert await edge.file(*uids(data)) == data
        assert await origin.file(*uids(data)) == data
    for study in {uids(data)[0] for data in files}:
        roots = {(await node.client.get(f"/api/studies/{study}/manifest")).headers["etag"] for node in (edge, origin)}
        assert len(roots) == 1


async def test_stored_without_a_line_and_forwarded_when_it_is_there(site: Site) -> None:
    files = ct_series(5)
    async with site.edge() as edge:
        await edge.store(files)
        assert len(await edge.metadata(STUDY_UID)) == 5
        for data in files:
            assert await edge.file(*uids(data)) == data
        found = await outbox(edge)
        assert (found["spooled"], found["verified"], found["refused"]) == (5, 0, 0)
        assert found["oldest_s"] is not None
        async with site.origin() as origin:
            await until_forwarded(edge, 5)
            await check_same(edge, origin, files)
            assert (await outbox(edge))["oldest_s"] is None
            taken = origin.metrics.value(SYNC_TAKEN)
            await edge.store(files)
            await until_forwarded(edge, 5)
            assert origin.metrics.value(SYNC_TAKEN) == taken, "sent again nothing moves"


async def test_every_kind_of_object_arrives_byte_for_byte(site: Site) -> None:
    names = (
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "image_dfl.dcm",
        "examples_ybr_color.dcm",
        "liver_1frame.dcm",
        "rtdose.dcm",
        "waveform_ecg.dcm",
        "test-SR.dcm",
        "GDCMJ2K_TextGBR.dcm",
    )
    files = [sample(name) for name in names]
    async with site.origin() as origin, site.edge() as edge:
        await edge.store(files)
        await until_forwarded(edge, len(files))
        await check_same(edge, origin, files)


async def test_a_correction_here_stays_in_view_and_moves_no_frame(site: Site) -> None:
    async with site.edge() as edge:
        async with site.origin() as origin:
            await origin.store(ct_series(6))
            await until_shows(edge, STUDY_UID, 6, "Doe^Jane")
        corrected = ct_series(6, change=rename("Doe^Janet"))
        await edge.store(corrected)
        assert await edge.patient_names(STUDY_UID) == {"Doe^Janet"}
        async with site.origin() as origin:
            seen: set[str] = set()

            async def watch() -> None:
                while True:
                    seen.update(await edge.patient_names(STUDY_UID))
                    await asyncio.sleep(0.01)

            watching = tasks.spawn(watch(), name="watch")
            await until_forwarded(edge, 6)
            await tasks.cancel([watching])
            await until_shows(origin, STUDY_UID, 6, "Doe^Janet")
            assert seen == {"Doe^Janet"}
            assert origin.metrics.value(SYNC_TAKEN, kind="frame") == 0
            await check_same(edge, origin, corrected)


async def test_what_the_upstream_has_and_what_is_here_alone_are_shown_together(site: Site) -> None:
    before, here = ct_series(3), ct_series(2, series=2, seed=2)
    async with site.edge() as edge:
        async with site.origin() as origin:
            await origin.store(before)
            await until_shows(edge, STUDY_UID, 3, "Doe^Jane")
        await edge.store(here)
        assert len(await edge.metadata(STUDY_UID)) == 5
        async with site.origin() as origin:
            await origin.store(ct_series(1, series=3, seed=3))
            await until_forwarded(edge, 2)
            await until_shows(edge, STUDY_UID, 6, "Doe^Jane")
            await check_same(edge, origin, [*here])


async def test_a_conflict_is_decided_upstream(site: Site) -> None:
    (theirs,) = ct_series(1)
    ours = edited(theirs, lambda ds: setattr(ds, "PixelData", bytes(reversed(ds.PixelData))))
    async with site.edge() as edge:
        await edge.store([ours])
        assert await edge.file(*uids(ours)) == ours
        async with site.origin() as origin:
            await origin.store([theirs])
            await until_forwarded(edge, 1)
            await check_same(edge, origin, [theirs])
            for node in (edge, origin):
                status = (await node.client.get("/api/status")).json()
                assert status["counts"]["conflicts"] == 1
                study, series, instance = uids(ours)
                path = f"/dicomweb/studies/{study}/series/{series}/instances/{instance}?version=2"
                accept = {"Accept": "application/dicom; transfer-syntax=*"}
                assert (await node.client.get(path, headers=accept)).content == ours


async def test_a_stat_study_does_not_wait_behind_a_backlog(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def urgent(ds: pydicom.Dataset) -> None:
        ds.Modality = "DX"

    offered: list[str] = []
    is_open = asyncio.Event()
    offer = Upstream.offer

    async def slowly(upstream: Upstream, study: StudyRef, instances: Offer, urgency: Urgency) -> OfferAnswer:
        offered.append(study.study_instance_uid)
        if urgency is not Urgency.STAT:
            await is_open.wait()
        return await offer(upstream, study, instances, urgency)

    monkeypatch.setattr(Upstream, "offer", slowly)
    backlog = [ct_series(2, study=f"{STUDY_UID}.{number}") for number in range(4)]
    fracture = ct_series(2, study=f"{STUDY_UID}.9", change=urgent)
    rules = ({"class": "stat", "modality": "DX"}, {"class": "routine"})
    async with site.origin() as origin, site.edge(route=rules) as edge:
        for files in backlog:
            await edge.store(files)
        await until(lambda: len(offered) == 2)  # both slots are taken, and two studies wait
        await edge.store(fracture)
        await until(lambda: f"{STUDY_UID}.9" in offered)
        assert len(set(offered)) == 3
        is_open.set()
        await until_forwarded(edge, 10)
        await check_same(edge, origin, [*fracture, *(file for files in backlog for file in files)])


async def test_people_see_what_waits(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    async with site.edge(outbox_patience_s=0.0) as edge:
        assert await command("outbox", "--url", edge.url) == 0
        assert "Everything is upstream" in capsys.readouterr().out
        await edge.store(ct_series(2))
        assert await command("outbox", "--url", edge.url) == 0
        printed = capsys.readouterr().out
        assert "2 waiting" in printed
        assert STUDY_UID in printed
        assert await command("outbox", "--json", "--url", edge.url) == 0
        assert json.loads(capsys.readouterr().out)["spooled"] == 2
        assert await command("retry", "--url", edge.url) == 0
        assert "0 instances" in capsys.readouterr().out
        health = (await edge.client.get("/healthz")).json()
        assert health["checks"]["outbox"]["state"] == "degraded"
        assert "2 instances are here alone" in health["checks"]["outbox"]["reason"]
        assert (await edge.client.get("/api/status")).json()["outbox"]["spooled"] == 2
        assert (
            'nearframe_outbox_instances{state="spooled",urgency="routine"} 2'
            in (await edge.client.get("/metrics")).text
        )


async def command(*arguments: str) -> int:
    """Run a command about an edge; return its exit code."""
    return await asyncio.to_thread(main, ["edge", *arguments])


async def test_a_frame_damaged_before_it_was_forwarded(site: Site) -> None:
    files = ct_series(3)
    async with site.edge() as edge:
        await edge.store(files)
    # The disk spoils the pixels of one while nothing runs.
    [pack] = (site.folder / "edge" / "packs").glob("*.seg")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    async with site.edge() as edge, site.origin() as origin:
        async with asyncio.timeout(60):
            while (await outbox(edge))["refused"] != 1 or (await outbox(edge))["spooled"]:
                await asyncio.sleep(0.05)
        [line] = [one for one in (await outbox(edge))["studies"] if one["state"] == "refused"]
        assert "damaged" in line["reason"]
        assert (await edge.client.get("/healthz")).json()["checks"]["outbox"]["state"] == "degraded"
        await edge.store(files)
        await until_forwarded(edge, 3)
        await check_same(edge, origin, files)


async def test_through_two_edges(site: Site) -> None:
    files = ct_series(3)
    async with site.origin() as origin, site.edge("middle") as middle, site.edge("outer", middle.url) as outer:
        await outer.store(files)
        await until_forwarded(outer, 3)
        await until_forwarded(middle, 3)
        await check_same(outer, origin, files)
        await check_same(middle, origin, files)


async def test_a_restart_forgets_nothing(site: Site) -> None:
    files = ct_series(4)
    async with site.edge() as edge:
        await edge.store(files)
    (site.folder / "edge" / "outbox.sqlite").unlink()
    async with site.origin() as origin, site.edge() as edge:
        await until_forwarded(edge, 4)
        await check_same(edge, origin, files)


async def test_passing_on_as_before(site: Site) -> None:
    async with site.origin() as origin, site.edge(stores="forward") as edge:
        await edge.store(ct_series(2))
        assert len(await origin.metadata(STUDY_UID)) == 2
        assert (await outbox(edge))["verified"] == 0


@pytest.mark.data
async def test_an_import_of_a_study_that_is_held_moves_no_frame(site: Site, data_dir: Path) -> None:
    timeline = data_dir / "patient-timeline"
    first = _files(timeline / "1-mr-20180107-original-cd")
    second = _files(timeline / "2-mr-20180107-imported-by-second-hospital")
    async with site.origin() as origin, site.edge() as edge:
        await origin.store(first)
        await edge.store(second)
        await until_forwarded(edge, len(second), 300)
        assert origin.metrics.value(SYNC_TAKEN, kind="frame") == 0
        assert origin.metrics.value(SYNC_TAKEN_BYTES, kind="frame") == 0


def _files(folder: Path) -> list[bytes]:
    """Return the objects in a folder, without the index of a disc (Media Storage Directory Storage)."""
    found = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [data for data in found if data[128:132] == b"DICM" and b"1.2.840.10008.1.3.10" not in data[:512]]


async def test_native_frames_go_up_as_recipes(site: Site) -> None:
    files = ct_series(3, rows=128)
    native_bytes = 3 * 128 * 128 * 2
    async with site.origin() as origin, site.edge() as edge:
        await edge.store(files)
        await until_forwarded(edge, 3)
        await check_same(edge, origin, files)
        assert edge.metrics.value(RECIPES_SENT, operation="coded") == 3
        assert edge.metrics.value(FORWARDED_BYTES, kind="frame") < native_bytes / 2
        assert origin.metrics.value(RECIPES_FOLLOWED, operation="coded") == 3
        assert origin.metrics.value(SYNC_TAKEN, kind="frame") == 3


async def test_a_recipe_that_is_refused_is_sent_as_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ct_series(2, rows=128)

    def another(form: FrameForm, recipe: FrameRecipe) -> bytes:
        return encode_sent(form, replace(recipe, parameters=(*recipe.parameters[:2], 1)))

    monkeypatch.setattr(recipesup, "encode_sent", another)
    async with site.origin() as origin, site.edge() as edge:
        await edge.store(files)
        await until_forwarded(edge, 2)
        await check_same(edge, origin, files)
        assert origin.metrics.value(RECIPES_REFUSED, operation="sent", reason="digest") == 2
        assert edge.metrics.value(RECIPES_SENT, operation="coded") == 0


@pytest.mark.parametrize("who", ["origin", "edge"])
async def test_a_site_without_recipes(site: Site, who: str) -> None:
    files = ct_series(2, rows=128)
    async with site.origin(recipes=who != "origin") as origin, site.edge(recipes=who != "edge") as edge:
        await edge.store(files)
        await until_forwarded(edge, 2)
        await check_same(edge, origin, files)
        assert edge.metrics.value(FORWARDED_BYTES, kind="frame") == 2 * 128 * 128 * 2


async def test_a_route_whose_frames_go_as_they_are(site: Site) -> None:
    files = ct_series(2, rows=128)
    plain = ({"class": "routine", "modality": "CT", "recipes": False},)
    async with site.origin() as origin, site.edge(route=plain) as edge:
        await edge.store(files)
        await until_forwarded(edge, 2)
        await check_same(edge, origin, files)
        assert edge.metrics.value(FORWARDED_BYTES, kind="frame") == 2 * 128 * 128 * 2
