"""What every answer has in common: methods, problems, addresses, cross-origin access, descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from nearframe.context import Scope, local_admin
from nearframe.dicomweb.app import dicomweb_app
from nearframe.dicomweb.routes import endpoints
from tests.archive import Archive, Stocked, open_archive, path_of, sample

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_methods(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm")
    answer = await stocked.client.put(path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, DELETE, HEAD, OPTIONS"
    assert answer.json()["title"] == "Method Not Allowed"
    options = await stocked.client.options(path)
    assert options.headers["allow"] == "GET, DELETE, HEAD, OPTIONS"
    assert options.json()["standard"] == "DICOM PS3.18"


@pytest.mark.parametrize("path", ["/dicomweb/nothing", "/dicomweb/studies/1/frames", "/other"])
async def test_paths_that_are_not_ours(stocked: Stocked, path: str) -> None:
    answer = await stocked.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_internal_failure_says_nothing_of_its_cause(stocked: Stocked, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("secret")

    monkeypatch.setattr(type(stocked.archive.services.metadata), "state", broken)
    answer = await stocked.get(stocked.path("CT_small.dcm") + "/metadata")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["code"] == "Internal"


async def test_every_problem_has_one_shape(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm")
    answers = [
        await stocked.get("/dicomweb/studies/1.2.3/metadata"),
        await stocked.get(path + "/frames/99", "*/*"),
        await stocked.get(path + "/frames/x", "*/*"),
        await stocked.get(path + "/metadata", "text/html"),
        await stocked.get(path + "/bulkdata/7FE00010", "*/*", Range="bytes=999999999-"),
        await stocked.client.put(path),
        await stocked.client.post("/dicomweb/studies", content=b""),
        await stocked.get("/dicomweb/studies?limit=x"),
        await stocked.get("/nowhere"),
    ]
    for answer in answers:
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        assert {"type", "title", "status", "detail"} <= set(problem)
        assert problem["status"] == answer.status_code >= 400


async def test_a_session_reaches_only_its_studies(stocked: Stocked) -> None:
    """Asked before any cache: a frame that is held already is refused all the same."""
    archive = stocked.archive
    path = stocked.path("CT_small.dcm")
    assert (await stocked.get(path + "/frames/1", "*/*")).status_code == 200
    narrow = local_admin()
    narrow = type(narrow)(narrow.principal, narrow.tenant, Scope(frozenset({"1.2.3"})))
    app = dicomweb_app(archive.services, archive.settings, lambda scope: narrow)
    seen = Archive.__new__(Archive)
    seen.app = app
    async with seen.client() as client:
        for resource in ("", "/metadata", "/frames/1", "/frames/1?accept=*/*", "/rendered", "/bulkdata/7FE00010"):
            assert (await client.get(path + resource)).status_code == 403, resource
        assert (await client.get("/dicomweb/studies")).json() == []


async def test_links_behind_a_proxy(tmp_path: Path) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "pacs.example", "X-Forwarded-Prefix": "/imaging"}
    standard = {"Forwarded": 'for=10.0.0.9;host="pacs.example:8443";proto=https'}
    cases: list[tuple[dict[str, Any], dict[str, str], str]] = [
        ({}, {}, "http://archive.test/dicomweb"),
        ({}, forwarded, "http://archive.test/dicomweb"),
        ({"trust_forwarded": True}, forwarded, "https://pacs.example/imaging/dicomweb"),
        ({"trust_forwarded": True}, standard, "https://pacs.example:8443/dicomweb"),
        ({"public_base_url": "https://x.example/y"}, forwarded, "https://x.example/y/dicomweb"),
    ]
    for number, (settings, headers, expected) in enumerate(cases):
        async with open_archive(tmp_path / str(number), **settings) as archive:
            (stored,) = await archive.add(sample("MR_small.dcm"))
            async with archive.client(headers) as client:
                metadata = (await client.get(path_of(stored) + "/metadata")).json()[0]
                assert metadata["7FE00010"]["BulkDataURI"].startswith(expected + "/studies/"), (settings, headers)
                (match,) = (await client.get("/dicomweb/studies")).json()
                assert match["00081190"]["Value"][0].startswith(expected + "/studies/")


async def test_a_host_without_port_gets_ours(stocked: Stocked) -> None:
    """dicomweb-client sends ``Host: 127.0.0.1`` to every port."""
    async with stocked.archive.client({"Host": "127.0.0.1"}, base_url="http://127.0.0.1:8042") as client:
        (match, *_) = (await client.get("/dicomweb/studies")).json()
        assert match["00081190"]["Value"][0].startswith("http://127.0.0.1:8042/dicomweb/")


async def test_cross_origin_access_is_off_unless_configured(stocked: Stocked) -> None:
    answer = await stocked.get("/dicomweb/studies", Origin="https://viewer.example")
    assert "access-control-allow-origin" not in answer.headers


async def test_cross_origin_access(tmp_path: Path) -> None:
    async with open_archive(tmp_path, cors_origins=("https://viewer.example",)) as archive:
        (stored,) = await archive.add(sample("MR_small.dcm"))
        async with archive.client({"Origin": "https://viewer.example"}) as client:
            preflight = await client.options(
                path_of(stored) + "/frames/1",
                headers={"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "accept,range"},
            )
            assert preflight.status_code == 204
            assert preflight.headers["access-control-allow-origin"] == "https://viewer.example"
            assert preflight.headers["access-control-max-age"] == "7200"
            assert "Range" in preflight.headers["access-control-allow-headers"]
            for resource in ("/frames/1", "/metadata", "/frames/99"):
                answer = await client.get(path_of(stored) + resource)
                assert answer.headers["access-control-allow-origin"] == "https://viewer.example"
                assert "Content-Range" in answer.headers["access-control-expose-headers"]
                assert "Origin" in answer.headers["vary"]
        async with archive.client({"Origin": "https://evil.example"}) as client:
            answer = await client.get(path_of(stored) + "/metadata")
            assert "access-control-allow-origin" not in answer.headers
            refused = await client.options("/dicomweb/studies", headers={"Access-Control-Request-Method": "GET"})
            assert refused.status_code == 403


async def test_any_origin(tmp_path: Path) -> None:
    async with (
        open_archive(tmp_path, cors_origins=("*",)) as archive,
        archive.client({"Origin": "https://a.example"}) as client,
    ):
        answer = await client.get("/dicomweb/studies")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


async def test_capabilities(stocked: Stocked) -> None:
    for path in ("/dicomweb", "/dicomweb/"):
        summary = (await stocked.get(path, "application/json")).json()
        assert summary["base"] == "http://archive.test/dicomweb"
        assert "GET" in summary["resources"]["/studies"]
    wadl = await stocked.get("/dicomweb/", "application/vnd.sun.wadl+xml")
    root = ElementTree.fromstring(wadl.content)  # noqa: S314 - our own
    assert root.tag == "{http://wadl.dev.java.net/2009/02}application"
    names = {method.get("id") for method in root.iter("{http://wadl.dev.java.net/2009/02}method")}
    assert names == {endpoint.name for endpoint in endpoints()}


async def test_openapi_describes_every_route(stocked: Stocked) -> None:
    for path in ("/openapi.json", "/dicomweb/openapi.json"):
        document = json.loads((await stocked.get(path)).content)
        assert document["openapi"].startswith("3.1")
        operations = [o for methods in document["paths"].values() for o in methods.values()]
        assert {o["operationId"] for o in operations} == {endpoint.name for endpoint in endpoints()}
        for template, methods in document["paths"].items():
            named = {p["name"] for o in methods.values() for p in o["parameters"] if p["in"] == "path"}
            assert all("{" + name + "}" in template for name in named)
            assert ":" not in template


async def test_server_timing(stocked: Stocked) -> None:
    answer = await stocked.get("/dicomweb/studies")
    assert answer.headers["server-timing"].startswith("app;dur=")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_reference_page_names_every_resource(root: Path) -> None:
    page = (root / "docs" / "reference" / "dicomweb.md").read_text(encoding="utf-8")
    for endpoint in endpoints():
        path, last = endpoint.path.replace(":path", ""), endpoint.path.rpartition("/")[2]
        named = f"`/{last}`" if last in ("metadata", "rendered", "thumbnail") else f"`{path}`"
        assert named in page, endpoint.name
