"""``/api`` of a whole origin, over ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nearframe.app import open_origin
from nearframe.config import Settings
from tests.integration.origin.test_ingest import edited, packaged, repainted, uid_of

CT, MR = packaged("CT_small.dcm"), packaged("MR_small.dcm")


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(home=home, insecure=True, disk_reserve_bytes=0)
    async with open_origin(settings) as (app, _):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://origin") as client:
            yield client


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(tmp_path / "home") as client:
        yield client


async def store(client: httpx.AsyncClient, data: bytes, tenant: str = "main") -> httpx.Response:
    headers = {"content-type": "application/dicom", "nearframe-tenant": tenant}
    return await client.post("/dicomweb/studies", content=data, headers=headers)


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def background_done(client: httpx.AsyncClient) -> dict[str, Any]:
    while True:
        state: dict[str, Any] = await get(client, "/api/status")
        if not any(job["lag"] for job in state["background"].values()):
            return state
        await asyncio.sleep(0.01)


async def test_status_of_an_empty_archive(client: httpx.AsyncClient) -> None:
    state = await get(client, "/api/status")
    assert state["role"] == "origin"
    assert state["counts"] == {"studies": 0, "series": 0, "instances": 0, "conflicts": 0}
    assert state["feed"]["head"].endswith(":0")
    assert state["store"]["free_bytes"] > 0
    assert set(state["background"]) == {"pix", "renditions", "perceptual"}


async def test_status_counts(client: httpx.AsyncClient) -> None:
    for data in (CT, MR, edited(CT, PatientName="Doe^Jane"), repainted(MR)):
        await store(client, data)
    state = await background_done(client)
    assert state["counts"] == {"studies": 2, "series": 2, "instances": 2, "conflicts": 1}
    assert state["background"]["perceptual"] == {"lag": 0, "done": 4, "failed": 0}
    assert state["store"]["reused_bytes"] >= 128 * 128 * 2, "the corrected copy brought no new pixels"


async def test_background_work_passes_the_end_of_a_series(client: httpx.AsyncClient) -> None:
    await store(client, CT)
    await background_done(client)
    async with asyncio.timeout(30):
        while 'nearframe_series_ends_total{reason="idle"} 1.0' not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.01)
        await background_done(client)


async def test_a_conflict_is_shown_and_resolved(client: httpx.AsyncClient) -> None:
    await store(client, MR)
    answer = await store(client, repainted(MR))
    assert answer.status_code == 202
    (item,) = answer.json()["00081199"]["Value"]
    assert item["00081196"]["Value"] == [0xB0C0]
    (conflict,) = (await get(client, "/api/conflicts"))["conflicts"]
    assert (conflict["instance"], conflict["version"], conflict["current_version"]) == (uid_of(MR), 2, 1)
    assert conflict["source"] == "stow local_admin"
    resolved = await client.post(f"/api/conflicts/{conflict['id']}", json={"keep": "incoming"})
    assert resolved.status_code == 200
    assert resolved.json()["resolution"] == "incoming"
    assert (await get(client, "/api/conflicts"))["conflicts"] == []
    assert len((await get(client, "/api/conflicts", all="true"))["conflicts"]) == 1
    versions = (await get(client, f"/api/instances/{uid_of(MR)}/versions"))["versions"]
    assert [(version["version"], version["current"]) for version in versions] == [(1, False), (2, True)]


async def test_a_conflict_tells_whose_picture_it_is_and_what_differs(client: httpx.AsyncClient) -> None:
    await store(client, MR)
    await store(client, repainted(edited(MR, PatientName="Roe^Jane", InstanceNumber="7")))
    found = await get(client, "/api/conflicts")
    (conflict,) = found["conflicts"]
    assert found["total"] == 1
    incoming, current = conflict["incoming"], conflict["current"]
    assert (incoming["version"], current["version"]) == (2, 1)
    assert (incoming["patient_name"], current["patient_name"]) == ("Roe^Jane", "CompressedSamples^MR1")
    assert (incoming["patient_id"], incoming["modality"], incoming["study_date"]) == ("4MR1", "MR", "20040826")
    assert (incoming["instance_number"], incoming["source"]) == ("7", "stow local_admin")
    assert conflict["differs"] == {
        "frames": 1, "first_frame": 1, "attributes": ["PatientName", "InstanceNumber"], "attribute_count": 2,
    }  # fmt: skip
    for side in (incoming, current):
        picture = f"/dicomweb/studies/{side['study']}/series/{side['series']}/instances/{conflict['instance']}/frames/1"
        answer = await client.get(f"{picture}/thumbnail", params={"version": side["version"], "viewport": "112,112"})
        assert answer.headers["content-type"] == "image/jpeg"
    await client.post(f"/api/conflicts/{conflict['id']}", json={"keep": "incoming"})
    (settled,) = (await get(client, "/api/conflicts", all="true"))["conflicts"]
    assert (settled["incoming"], settled["current"], settled["differs"]) == (incoming, current, conflict["differs"])
    assert await get(client, "/api/conflicts", all="true", limit=0) == {"conflicts": [], "total": 1}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/conflicts/1", b'{"keep": "current"}', 404),
        ("/api/conflicts/x", b'{"keep": "current"}', 400),
        ("/api/conflicts/99999999999999999999", b"{}", 400),
        ("/api/conflicts/1", b'{"keep": 1}', 400),
        ("/api/conflicts/1", b"[]", 400),
        ("/api/conflicts/1", b"{", 400),
        ("/api/conflicts/1", b" " * 100_000, 413),
    ],
)
async def test_bad_resolutions(client: httpx.AsyncClient, path: str, body: bytes, status: int) -> None:
    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


@pytest.mark.parametrize(
    "content_type", [{}, {"content-type": "text/plain"}, {"content-type": "text/plain, application/json"}]
)
async def test_a_page_of_another_site_cannot_resolve_a_conflict(
    client: httpx.AsyncClient, content_type: dict[str, str]
) -> None:
    await store(client, MR)
    await store(client, repainted(MR))
    (conflict,) = (await get(client, "/api/conflicts"))["conflicts"]
    answer = await client.post(
        f"/api/conflicts/{conflict['id']}", content=b'{"keep": "incoming"}', headers=content_type
    )
    assert answer.status_code == 415
    assert (await get(client, "/api/conflicts"))["conflicts"] == [conflict]


async def test_conflicts_of_another_tenant_are_not_there(client: httpx.AsyncClient) -> None:
    await store(client, MR, "other")
    await store(client, repainted(MR), "other")
    assert (await get(client, "/api/conflicts"))["conflicts"] == []
    answer = await client.get("/api/conflicts", headers={"nearframe-tenant": "other"})
    (conflict,) = answer.json()["conflicts"]
    refused = await client.post(f"/api/conflicts/{conflict['id']}", json={"keep": "current"})
    assert refused.status_code == 404


async def test_versions_lead_to_the_bytes(client: httpx.AsyncClient) -> None:
    corrected = edited(CT, PatientName="Doe^Jane")
    await store(client, CT)
    await store(client, corrected)
    versions = (await get(client, f"/api/instances/{uid_of(CT)}/versions"))["versions"]
    assert [version["file_bytes"] for version in versions] == [len(CT), len(corrected)]
    for version, data in zip(versions, (CT, corrected), strict=True):
        answer = await client.get(version["url"], headers={"accept": "application/dicom"})
        assert answer.content == data
    assert (await client.get("/api/instances/1.2.3/versions")).status_code == 404


async def test_the_dedupe_report(client: httpx.AsyncClient) -> None:
    pixels = 128 * 128 * 2
    resent = edited(CT, PatientName="Doe^Jane", SOPInstanceUID="1.2.3", SeriesInstanceUID="1.2.4")
    for data in (CT, edited(CT, PatientName="Roe^Jane"), resent):
        await store(client, data)
    await background_done(client)
    report = await get(client, "/api/reports/dedupe")
    assert report["metadata_only"] == {"instances": 2, "frames": 2, "bytes": 2 * pixels}
    assert report["exact_duplicates"]["bytes"] == 0
    assert report["saved_bytes"] == 2 * pixels
    assert report["perceptual_candidates"]["pairs"] == 0


async def test_candidates_within_one_patient(client: httpx.AsyncClient) -> None:
    ours = edited(repainted(CT), SOPInstanceUID="1.2.3", SeriesInstanceUID="1.2.4", StudyInstanceUID="1.2.5")
    strangers = edited(CT, SOPInstanceUID="1.3.3", SeriesInstanceUID="1.3.4", StudyInstanceUID="1.3.5", PatientID="X")
    for data in (CT, ours, strangers):
        await store(client, data)
    await background_done(client)
    found = await get(client, "/api/studies/1.2.5/candidates")
    assert found["counts"] == {"same_picture": 1, "related_view": 0, "prior": 1}
    (candidate,) = found["candidates"]
    assert candidate["proved"] == "unproved", "one sample differs: it only looks the same"
    assert candidate["other"]["instance"] == uid_of(CT)
    assert (await get(client, "/api/studies/1.2.5/candidates", limit=0))["candidates"] == []
    assert (await get(client, "/api/studies/1.3.5/candidates"))["candidates"] == []
    assert (await client.get("/api/studies/9.9/candidates")).status_code == 404
    assert (await client.get("/api/studies/9.9/candidates?limit=x")).status_code == 400


async def test_the_routes_are_described(client: httpx.AsyncClient) -> None:
    document = await get(client, "/api/openapi.json")
    assert document["servers"] == [{"url": "http://origin/api"}]
    assert set(document["paths"]) == {
        "/status",
        "/storage",
        "/conflicts",
        "/conflicts/patients",
        "/conflicts/{conflict}",
        "/reports/dedupe",
        "/studies/{study}/candidates",
        "/studies/{study}/urgency",
        "/instances/{instance}/versions",
    }
    assert (await client.post("/api/status")).status_code == 405


async def test_background_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as client:
        await store(client, CT)
    async with opened(tmp_path) as client:
        await background_done(client)
        assert (await get(client, "/api/reports/dedupe"))["frames"] == 1
