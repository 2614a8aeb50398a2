"""What a reader sees through an edge in front of an archive that speaks DICOM's own protocol alone."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from bench.peers import free_port, has_orthanc
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource
from nearframe.edge.pacs import front
from nearframe.metrics import DICOM_FORWARDED, PACS_INSTANCES
from tests.conformance.dcmtk import ask, needs_dcmtk, storescp
from tests.integration.edge.nodes import Node, until
from tests.integration.edge.pacs.dicompacs import EDGE_TITLE, TITLE, DicomPacs, edge_before, running_pacs
from tests.integration.edge.pacs.test_pacs import (
    CT,
    CT_2,
    INSTANCE,
    JSON,
    OPENED,
    SECOND,
    SERIES,
    STUDY,
    edited,
    frame_of,
    name_shown,
    open_study,
    packaged,
    pixels_of,
    samples,
    until_upstream,
    until_whole,
)
from tests.syncing import STUDY_UID, ct_series

pytestmark = pytest.mark.skipif(not has_orthanc(), reason="no Orthanc")

MR = packaged("MR_small.dcm")
JPEG2000 = packaged("JPEG2000.dcm")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DicomPacs]:
    with running_pacs(tmp_path_factory.mktemp("orthanc")) as pacs:
        yield pacs


@pytest.fixture
def pacs(running: DicomPacs, monkeypatch: pytest.MonkeyPatch) -> Iterator[DicomPacs]:
    # Every opening is compared, however soon after the last, and waits until it is.
    monkeypatch.setattr(front, "FRESH_S", 0.0)
    monkeypatch.setattr(front, "PATIENCE_S", 20.0)
    running.edge_port = free_port()
    running.knows(EDGE_TITLE, running.edge_port)
    yield running
    running.empty()


@pytest.fixture
async def edge(pacs: DicomPacs, tmp_path: Path) -> AsyncIterator[Node]:
    async with edge_before(tmp_path / "edge", pacs.url, pacs.edge_port) as node:
        yield node


async def search(node: Node, path: str) -> list[dict[str, Any]]:
    answer = await node.client.get(f"/dicomweb/{path}", headers=JSON)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def until_said(node: Node, words: str) -> None:
    """Wait until health says this of the archive."""
    async with asyncio.timeout(30):
        while words not in (await node.client.get("/healthz")).json()["checks"]["upstream"].get("reason", ""):
            await asyncio.sleep(0.05)


def data_set_of(file: bytes) -> bytes:
    return file[parse(BytesSource(file)).dataset_offset :]


async def test_searches_are_asked_by_c_find(pacs: DicomPacs, edge: Node) -> None:
    pacs.store(CT, CT_2, MR)
    (study,) = await search(edge, "studies?PatientID=1CT1&includefield=00081030")
    assert study["0020000D"]["Value"] == [STUDY]
    assert study["00081190"]["Value"] == [f"{edge.url}/dicomweb/studies/{STUDY}"]
    assert study["00100010"]["Value"] == [{"Alphabetic": "CompressedSamples^CT1"}]
    assert "00081030" in study
    assert len(await search(edge, "studies")) == 2
    assert len(await search(edge, "studies?limit=1&offset=1")) == 1
    assert await search(edge, "studies?StudyDate=20300101-") == []
    assert len(await search(edge, "studies?PatientName=compressed&fuzzymatching=true")) == 2
    (series,) = await search(edge, "series?PatientID=1CT1&Modality=CT")
    assert (series["0020000E"]["Value"], series["00100020"]["Value"]) == ([SERIES], ["1CT1"])
    found = await search(edge, f"studies/{STUDY}/series/{SERIES}/instances")
    assert {row["00080018"]["Value"][0] for row in found} == {INSTANCE, SECOND}


async def test_a_study_is_kept_as_it_came(pacs: DicomPacs, edge: Node) -> None:
    pacs.store(CT, CT_2)
    shown = await open_study(edge)
    assert {row["00080018"]["Value"][0] for row in shown} == {INSTANCE, SECOND}
    assert (await edge.client.get(OPENED, headers=JSON)).headers["age"].isdigit()
    assert await samples(edge, SECOND) == pixels_of(CT_2)
    assert edge.metrics.value(PACS_INSTANCES) == 2
    assert (await edge.client.get(f"/api/studies/{STUDY}/manifest")).status_code == 200
    assert (await edge.client.get("/api/status")).json()["upstream"]["kind"] == "dicom"


@needs_dcmtk
async def test_an_instance_is_what_the_archive_would_send_to_anybody(
    pacs: DicomPacs, edge: Node, tmp_path: Path
) -> None:
    # Orthanc 1.10 gives no JPEG 2000 by C-GET: that one comes by C-MOVE.
    pacs.store(CT, MR, JPEG2000)
    kept = []
    for file in (CT, MR, JPEG2000):
        ds = pydicom.dcmread(io.BytesIO(file))
        await edge.metadata(ds.StudyInstanceUID)
        kept.append(data_set_of(await edge.file(ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)))
    with storescp(tmp_path / "sent", "-aet", "STORESCP") as port:
        pacs.knows("STORESCP", port)
        pacs.send("STORESCP")
    sent = [path.read_bytes() for path in (tmp_path / "sent").iterdir()]
    assert sorted(map(data_set_of, sent)) == sorted(kept)


async def test_an_instance_asked_for_first(pacs: DicomPacs, edge: Node) -> None:
    pacs.store(CT, CT_2)
    assert await samples(edge, SECOND) == pixels_of(CT_2)
    await until_whole(edge)
    assert edge.metrics.value(PACS_INSTANCES) == 2, "none was retrieved twice"


async def test_an_instance_is_readable_before_its_study_is_here(pacs: DicomPacs, edge: Node) -> None:
    files = ct_series(80, rows=256)
    pacs.store(*files)
    opened = asyncio.create_task(edge.client.get(f"/dicomweb/studies/{STUDY_UID}/metadata"))
    await until(lambda: edge.metrics.value(PACS_INSTANCES) >= 1)
    last = pydicom.dcmread(io.BytesIO(files[-1]))
    path = f"/dicomweb/studies/{STUDY_UID}/series/{last.SeriesInstanceUID}/instances/{last.SOPInstanceUID}/frames/1"
    answer = await edge.client.get(path, headers={"Accept": "application/octet-stream; transfer-syntax=*"})
    assert (answer.status_code, answer.content) == (200, last.PixelData)
    assert edge.metrics.value(PACS_INSTANCES) < len(files), "it did not wait for the others"
    assert len((await opened).json()) == len(files)
    assert edge.metrics.value(PACS_INSTANCES) == len(files), "none twice"


async def test_where_c_get_is_refused_it_is_moved_here(pacs: DicomPacs, edge: Node) -> None:
    pacs.knows(EDGE_TITLE, pacs.edge_port, may_get=False)
    pacs.store(CT, CT_2)
    assert len(await open_study(edge)) == 2
    assert await samples(edge) == pixels_of(CT)
    assert edge.metrics.value(PACS_INSTANCES) == 2
    other = edited(CT, StudyInstanceUID=f"{STUDY}.9", SOPInstanceUID=f"{INSTANCE}.9")
    pacs.store(other)
    assert len(await edge.metadata(f"{STUDY}.9")) == 1


async def test_where_it_can_send_in_no_way_it_is_said_what_to_do(pacs: DicomPacs, tmp_path: Path) -> None:
    pacs.knows(EDGE_TITLE, pacs.edge_port, may_get=False)
    pacs.store(CT)
    async with edge_before(tmp_path / "edge", pacs.url) as edge:
        answer = await edge.client.get(OPENED, headers=JSON)
        assert answer.status_code == 502
        assert "start this edge with --dicom HOST:PORT, and have EDGE known" in answer.json()["detail"]


async def test_a_wrong_title_is_said(pacs: DicomPacs, tmp_path: Path) -> None:
    async with edge_before(tmp_path / "edge", pacs.url.replace(TITLE, "OTHER")) as edge:
        await until_said(edge, "the AE title that it was called by is not its own")
        assert (await edge.client.get(OPENED, headers=JSON)).status_code == 502


async def test_what_was_opened_is_there_without_the_archive(pacs: DicomPacs, edge: Node) -> None:
    pacs.store(CT, MR)
    await open_study(edge)
    pacs.kill()
    try:
        answer = await edge.client.get(OPENED, headers=JSON)
        assert answer.status_code == 200
        assert answer.headers["age"].isdigit()
        assert await samples(edge) == pixels_of(CT)
        found = await edge.client.get("/dicomweb/studies", headers=JSON)
        assert [row["0020000D"]["Value"] for row in found.json()] == [[STUDY]]
        assert "the archive is away" in found.headers["warning"]
        never = str(pydicom.dcmread(io.BytesIO(MR)).StudyInstanceUID)
        assert (await edge.client.get(f"/dicomweb/studies/{never}/metadata", headers=JSON)).status_code == 503
        assert (await edge.client.get("/healthz")).json()["checks"]["upstream"]["state"] == "degraded"
    finally:
        pacs.start()
    await until_upstream(edge, "ok")


async def test_what_can_be_seen_of_changes_is(pacs: DicomPacs, edge: Node) -> None:
    pacs.store(CT, CT_2)
    await open_study(edge)
    pacs.delete(SECOND)
    assert len(await open_study(edge)) == 1
    pacs.store(edited(CT, PatientName="Corrected^Name"))
    pacs.reconstruct()
    assert await name_shown(edge) == "Corrected^Name"
    pacs.delete(INSTANCE)
    assert (await edge.client.get(OPENED, headers=JSON)).status_code == 404
    assert (await edge.client.get(frame_of(INSTANCE))).status_code == 404


async def test_a_restarted_edge_retrieves_nothing_again(pacs: DicomPacs, tmp_path: Path) -> None:
    pacs.store(CT, CT_2)
    for retrieved in (2, 0):
        async with edge_before(tmp_path / "edge", pacs.url) as edge:
            await open_study(edge)
            assert edge.metrics.value(PACS_INSTANCES) == retrieved
    (tmp_path / "edge" / "pacs.sqlite").unlink()
    async with edge_before(tmp_path / "edge", pacs.url) as edge:
        await open_study(edge)
        assert edge.metrics.value(PACS_INSTANCES) == 0, "what is here was not brought again for want of the ledger"


@pytest.mark.parametrize("may_get", [True, False], ids=["c-get", "c-move"])
async def test_killed_while_it_sends_it_goes_on_where_it_was(pacs: DicomPacs, edge: Node, may_get: bool) -> None:
    pacs.knows(EDGE_TITLE, pacs.edge_port, may_get=may_get)
    files = ct_series(80, rows=256)
    pacs.store(*files)
    opened = asyncio.create_task(edge.client.get(f"/dicomweb/studies/{STUDY_UID}/metadata"))
    await until(lambda: edge.metrics.value(PACS_INSTANCES) >= 3)
    pacs.kill()
    try:
        assert (await opened).status_code in (200, 503), "what there is, or that it is away"
        assert 3 <= edge.metrics.value(PACS_INSTANCES) < len(files)
    finally:
        pacs.start()
    pacs.knows(EDGE_TITLE, pacs.edge_port, may_get=may_get)
    await until_upstream(edge, "ok")
    assert len(await edge.metadata(STUDY_UID)) == len(files)
    assert edge.metrics.value(PACS_INSTANCES) == len(files), "none twice"


async def test_what_is_stored_here_is_sent_on(pacs: DicomPacs, edge: Node) -> None:
    pacs.kill()
    try:
        await edge.store([CT])
        assert await samples(edge) == pixels_of(CT)
    finally:
        pacs.start()
    await until(lambda: INSTANCE in pacs.holds())
    assert len(await open_study(edge)) == 1
    assert edge.metrics.value(PACS_INSTANCES) == 0, "it is not brought back"
    pacs.delete(INSTANCE)
    assert (await edge.client.get(OPENED, headers=JSON)).status_code == 404


@needs_dcmtk
async def test_what_a_scanner_sends_here_is_sent_on(pacs: DicomPacs, edge: Node, tmp_path: Path) -> None:
    path = tmp_path / "ct.dcm"
    path.write_bytes(CT)
    await asyncio.to_thread(ask, "storescu", pacs.edge_port, path, called=EDGE_TITLE)
    assert await samples(edge) == pixels_of(CT)
    await until(lambda: INSTANCE in pacs.holds())


async def test_what_the_archive_sends_of_itself_is_not_sent_back(pacs: DicomPacs, edge: Node) -> None:
    pacs.store(CT)
    await asyncio.to_thread(pacs.send, EDGE_TITLE)
    assert await samples(edge) == pixels_of(CT)
    assert edge.metrics.value(PACS_INSTANCES) == 1
    assert edge.metrics.value(DICOM_FORWARDED, result="sent") == 0
