"""What a reader sees through an edge in front of an archive that is none of ours."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.data import get_testdata_file

from nearframe.cli import main
from nearframe.edge.pacs import front
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, PACS_INSTANCES
from tests.integration.edge.nodes import Node
from tests.integration.edge.pacs.conftest import Pacs, pacs_edge

JSON = {"Accept": "application/dicom+json"}


def packaged(name: str) -> bytes:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def edited(data: bytes, **elements: Any) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def repainted(data: bytes) -> bytes:
    pixels = bytearray(pydicom.dcmread(io.BytesIO(data)).PixelData)
    pixels[1000] ^= 1
    return edited(data, PixelData=bytes(pixels))


CT = packaged("CT_small.dcm")
STUDY, SERIES, INSTANCE = (
    str(pydicom.dcmread(io.BytesIO(CT))[name].value)
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
)
#: A second slice of the same series.
SECOND = INSTANCE + ".2"
CT_2 = edited(CT, SOPInstanceUID=SECOND, InstanceNumber=2)
OPENED = f"/dicomweb/studies/{STUDY}/metadata"


async def name_shown(node: Node) -> str:
    name: str = (await open_study(node))[0]["00100010"]["Value"][0]["Alphabetic"]
    return name


def frame_of(instance: str) -> str:
    return f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{instance}/frames/1"


async def open_study(node: Node) -> list[dict[str, Any]]:
    answer = await node.client.get(OPENED, headers=JSON)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def until_whole(node: Node) -> None:
    """Wait until the study is here: what is shown from here has an age."""
    async with asyncio.timeout(60):
        while "age" not in (await node.client.get(f"/dicomweb/studies/{STUDY}/series", headers=JSON)).headers:
            await asyncio.sleep(0.02)


async def samples(node: Node, instance: str = INSTANCE) -> bytes:
    accept = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    answer = await node.client.get(frame_of(instance), headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer.content


def pixels_of(data: bytes) -> bytes:
    return bytes(pydicom.dcmread(io.BytesIO(data)).PixelData)


async def test_searches_are_the_archives(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT, packaged("MR_small.dcm"))
    theirs = (await edge.client.get(f"{pacs.url}/studies", headers=JSON)).json()
    ours = (await edge.client.get("/dicomweb/studies", headers=JSON)).json()
    assert len(ours) == 2
    for row in ours:
        (link,) = row["00081190"]["Value"]
        assert link.startswith(f"{edge.url}/dicomweb/studies/")
        row["00081190"]["Value"] = [link.replace(f"{edge.url}/dicomweb", pacs.url)]
    assert ours == theirs


async def test_a_search_is_passed_on_with_its_parameters(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT, packaged("MR_small.dcm"))
    for query, found in (
        ("PatientID=1CT1", 1),
        ("PatientName=*MR*&limit=50&includefield=00081030%2C00080061&fuzzymatching=true", 1),
        ("StudyDate=20300101-", 0),
    ):
        answer = await edge.client.get(f"/dicomweb/studies?{query}", headers=JSON)
        assert (answer.status_code, len(answer.json())) == (200, found)


async def test_a_study_is_kept_byte_for_byte_once_opened(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT, CT_2)
    shown = await open_study(edge)
    assert {row["00080018"]["Value"][0] for row in shown} == {INSTANCE, SECOND}
    await until_whole(edge)
    assert [await edge.file(STUDY, SERIES, uid) for uid in (INSTANCE, SECOND)] == [CT, CT_2]
    assert edge.metrics.value(PACS_INSTANCES) == 2
    assert (await edge.client.get(f"/api/studies/{STUDY}/manifest")).status_code == 200


async def test_an_instance_asked_for_first(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT, CT_2)
    assert await samples(edge, SECOND) == pixels_of(CT_2)
    await until_whole(edge)
    assert edge.metrics.value(PACS_INSTANCES) == 2, "none was retrieved twice"


async def test_answers_say_whether_the_archive_was_asked(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT, CT_2)

    async def status(path: str) -> tuple[str, bool]:
        answer = await edge.client.get(path, headers={"Accept": "*/*"})
        timing = ", ".join(answer.headers.get_list("server-timing"))
        said = answer.headers["cache-status"].removesuffix("; collapsed")  # the study is on its way as well
        return said, "upstream;dur=" in timing and "queue;dur=" in timing

    assert await status(frame_of(SECOND)) == ("nearframe-edge; fwd=miss; stored", True)
    await until_whole(edge)
    assert await status(frame_of(INSTANCE)) == ("nearframe-edge; hit", False)
    assert await status(OPENED) == ("nearframe-edge; hit", False)
    assert await status("/dicomweb/studies") == ("nearframe-edge; fwd=miss", True)


async def test_links_of_the_archive_lead_through_the_edge(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT)
    (shown,) = await open_study(edge)
    link = shown["7FE00010"]["BulkDataURI"]
    assert link.startswith(f"{edge.url}/dicomweb/studies/{STUDY}/")
    answer = await edge.client.get(link)
    assert answer.status_code == 200
    assert pixels_of(CT) in answer.content


async def test_what_was_opened_is_there_without_the_archive(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT, packaged("MR_small.dcm"))
    await open_study(edge)
    await until_whole(edge)
    pacs.stop()
    answer = await edge.client.get(OPENED, headers=JSON)
    assert answer.status_code == 200
    assert answer.headers["age"].isdigit()
    assert await samples(edge) == pixels_of(CT)
    found = await edge.client.get("/dicomweb/studies", headers=JSON)
    assert [row["0020000D"]["Value"] for row in found.json()] == [[STUDY]]
    assert found.headers["nearframe-upstream"] == "away"
    never = str(pydicom.dcmread(io.BytesIO(packaged("MR_small.dcm"))).StudyInstanceUID)
    refused = await edge.client.get(f"/dicomweb/studies/{never}/metadata", headers=JSON)
    assert refused.status_code == 503
    assert "away" in refused.json()["detail"]


async def test_the_archive_comes_back(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT)
    pacs.stop()
    assert (await edge.client.get(OPENED, headers=JSON)).status_code == 503
    pacs.start()
    async with asyncio.timeout(60):  # the breaker lets a request through every so often
        while (await edge.client.get(OPENED, headers=JSON)).status_code == 503:
            await asyncio.sleep(0.05)
    assert await samples(edge) == pixels_of(CT)


async def test_a_correction_moves_the_file_and_stores_no_pixel(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT)
    await open_study(edge)
    await until_whole(edge)
    before = (await edge.client.get("/api/status")).json()["store"]
    corrected = edited(CT, PatientName="Corrected^Name")
    pacs.store(corrected)
    assert await name_shown(edge) == "Corrected^Name"
    assert await edge.file(STUDY, SERIES, INSTANCE) == corrected
    after = (await edge.client.get("/api/status")).json()["store"]
    assert after["reused_bytes"] - before["reused_bytes"] >= len(pixels_of(CT))
    assert edge.metrics.value(PACS_INSTANCES) == 2


async def test_other_pixels_take_the_place_of_the_old(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT)
    await open_study(edge)
    await until_whole(edge)
    other = edited(repainted(CT), PatientName="Other^Pixels")
    pacs.store(other)
    assert await name_shown(edge) == "Other^Pixels"
    assert await samples(edge) == pixels_of(other)


async def test_what_the_archive_deleted_is_gone(pacs: Pacs, edge: Node) -> None:
    pacs.store(CT, CT_2)
    await open_study(edge)
    await until_whole(edge)
    pacs.delete("Instance", "SOPInstanceUID", SECOND)
    assert len(await open_study(edge)) == 1
    pacs.delete("Study", "StudyInstanceUID", STUDY)
    assert (await edge.client.get(OPENED, headers=JSON)).status_code == 404
    assert (await edge.client.get(frame_of(INSTANCE))).status_code == 404


async def test_what_the_archive_deleted_is_gone_though_the_ledger_is_lost(pacs: Pacs, tmp_path: Path) -> None:
    pacs.store(CT, CT_2)
    async with pacs_edge(tmp_path / "edge", pacs.url) as edge:
        await open_study(edge)
        await until_whole(edge)
    (tmp_path / "edge" / "pacs.sqlite").unlink()
    pacs.delete("Instance", "SOPInstanceUID", SECOND)
    async with pacs_edge(tmp_path / "edge", pacs.url) as edge:
        await open_study(edge)
        await until_whole(edge)
        assert len(await open_study(edge)) == 1
        assert await samples(edge) == pixels_of(CT)


async def test_a_restarted_edge_retrieves_nothing_again(pacs: Pacs, tmp_path: Path) -> None:
    pacs.store(CT)
    for retrieved in (1, 0):
        async with pacs_edge(tmp_path / "edge", pacs.url) as edge:
            await open_study(edge)
            await until_whole(edge)
            assert edge.metrics.value(PACS_INSTANCES) == retrieved
            assert await samples(edge) == pixels_of(CT)


async def test_a_damaged_frame_is_retrieved_again(pacs: Pacs, tmp_path: Path) -> None:
    pacs.store(CT)
    async with pacs_edge(tmp_path / "edge", pacs.url, frame_memory_bytes=0) as edge:
        await open_study(edge)
        await until_whole(edge)
    pack = max((tmp_path / "edge" / "packs").glob("*"), key=lambda path: path.stat().st_size)
    damaged = bytearray(pack.read_bytes())
    damaged[len(damaged) // 2] ^= 0x40
    pack.write_bytes(damaged)
    async with pacs_edge(tmp_path / "edge", pacs.url, frame_memory_bytes=0) as edge:
        assert await samples(edge) == pixels_of(CT)
        assert edge.metrics.value(EDGE_INTEGRITY_FAILURES, what="local") == 1
        assert edge.metrics.value(PACS_INSTANCES) == 1


async def test_what_is_stored_here_goes_to_the_archive(pacs: Pacs, edge: Node) -> None:
    answer = await edge.store([CT])
    assert answer.json()["00081199"]["Value"][0]["00081155"]["Value"] == [INSTANCE]
    assert len((await edge.client.get(f"{pacs.url}/studies", headers=JSON)).json()) == 1
    assert await samples(edge) == pixels_of(CT)


async def test_nothing_of_the_archive_but_dicomweb_is_reached(pacs: Pacs, edge: Node) -> None:
    below = f"/dicomweb/studies/{STUDY}/series/{SERIES}/instances/{INSTANCE}/.."
    for method, path in (("GET", below + "/.." * 7 + "/system"), ("POST", "/dicomweb/../tools/find")):
        answer = await raw(edge, f"{method} {path} HTTP/1.1\r\nContent-Length: 2\r\n", b"{}")
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405")), answer[:200]
        assert b"Orthanc" not in answer


async def raw(edge: Node, head: str, body: bytes) -> bytes:
    """Send a request as it is: clients tidy paths up."""
    url = httpx.URL(edge.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"{head}Host: {url.host}\r\nConnection: close\r\n\r\n".encode() + body)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_an_upstream_that_is_no_archive(tmp_path: Path, pacs: Pacs) -> None:
    root = pacs.url.removesuffix("/dicom-web")
    async with pacs_edge(tmp_path / "edge", root) as edge:
        assert "DICOMweb root" in (await until_upstream(edge, "degraded"))["reason"]
        answer = await edge.client.get(frame_of(INSTANCE))
        assert answer.status_code in (404, 502)


async def test_health_follows_the_archive(pacs: Pacs, edge: Node) -> None:
    assert await until_upstream(edge, "ok") == {"state": "ok"}
    pacs.stop()
    await edge.client.get("/dicomweb/studies", headers=JSON)
    check = (await edge.client.get("/healthz")).json()["checks"]["upstream"]
    assert check["state"] == "degraded", "the first failed request is enough"
    pacs.start()
    await until_upstream(edge, "ok")


async def test_a_path_that_knows_no_study_takes_none_out_of_view(
    pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "FRESH_S", 0.0)
    monkeypatch.setattr(front, "PATIENCE_S", 20.0)
    pacs.store(CT)
    async with pacs_edge(tmp_path / "edge", pacs.url) as edge:
        await open_study(edge)
        await until_whole(edge)
    async with pacs_edge(tmp_path / "edge", pacs.url + "/nowhere") as edge:
        assert (await edge.client.get(OPENED, headers=JSON)).status_code == 200
        assert await samples(edge) == pixels_of(CT)


async def test_a_study_that_is_shown_is_opened(pacs: Pacs, edge: Node, capsys: pytest.CaptureFixture[str]) -> None:
    pacs.store(CT)
    assert await asyncio.to_thread(main, ["study", "show", STUDY, "--url", edge.url]) == 0
    assert "1 instance, 1 frame" in capsys.readouterr().out
    assert (await edge.client.get("/api/studies/1.2.3/manifest")).status_code == 404


async def test_status_for_people(pacs: Pacs, edge: Node, capsys: pytest.CaptureFixture[str]) -> None:
    pacs.store(CT)
    await open_study(edge)
    await until_whole(edge)
    status = (await edge.client.get("/api/status")).json()
    assert (status["upstream"]["kind"], status["upstream"]["problem"]) == ("dicomweb", "")
    assert status["moved"]["files"] == 1
    assert status["moved"]["file_bytes"] >= len(CT)
    assert await asyncio.to_thread(main, ["edge", "status", "--url", edge.url]) == 0
    said = capsys.readouterr().out
    assert "an archive by DICOMweb, reachable" in said
    assert "1 study" in said


async def until_upstream(edge: Node, state: str) -> dict[str, str]:
    """Return what health says of the archive, once it is in a state."""
    async with asyncio.timeout(60):
        while True:
            check: dict[str, str] = (await edge.client.get("/healthz")).json()["checks"]["upstream"]
            if check["state"] == state:
                return check
            await asyncio.sleep(0.05)
