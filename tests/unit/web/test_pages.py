"""The study page and the viewer's files over HTTP."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from nearframe import web
from nearframe.errors import NotFound
from nearframe.web.pages import Pages


async def _not_found(request: Request, error: Exception) -> Response:
    return Response(str(error), status_code=404)


def _client(pages: Pages) -> httpx.AsyncClient:
    app = Starlette(routes=list(pages.routes()), exception_handlers={NotFound: _not_found})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    folder = tmp_path / "viewer"
    folder.mkdir()
    (folder / "index.html").write_text("<title>OHIF</title>")
    script = b"console.log(1)"
    (folder / "app.bundle.0123456789abcdef.js").write_bytes(script)
    (folder / "app.bundle.0123456789abcdef.js.gz").write_bytes(gzip.compress(script))
    (tmp_path / "secret.js").write_text("secret")
    async with _client(Pages("edge", folder)) as client:
        yield client


async def test_the_page_names_its_role_and_its_assets_answer(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert 'data-role="edge"' in page.text
    assert "{{" not in page.text
    assets = set(re.findall(r'"(/assets/[^"]+)"', page.text))
    assert len(assets) == 3
    for path in assets:
        answer = await client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]


async def test_the_page_forbids_foreign_scripts(client: httpx.AsyncClient) -> None:
    policy = (await client.get("/")).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


async def test_an_asset_of_another_version_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/assets/0000000000000000/page.js")).status_code == 404
    assert (await client.get("/assets/page.js")).status_code == 404


async def test_what_a_script_names_beside_it_answers(client: httpx.AsyncClient) -> None:
    (page,) = re.findall(r'"(/assets/[^"]+/page\.js)"', (await client.get("/")).text)
    beside = re.findall(r'"\./([^"]+)"', (await client.get(page)).text)
    assert "values.js" in beside
    for name in beside:
        assert (await client.get(page.replace("page.js", name))).status_code == 200


async def test_viewer_routes_answer_with_its_page(client: httpx.AsyncClient) -> None:
    answer = await client.get("/viewer/viewer?StudyInstanceUIDs=1.2")
    assert "OHIF" in answer.text
    assert answer.headers["cache-control"] == "no-cache"


async def test_viewer_bundles_are_packed_and_immutable(client: httpx.AsyncClient) -> None:
    path = "/viewer/app.bundle.0123456789abcdef.js"
    packed = await client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.text == plain.text == "console.log(1)"
    assert "immutable" in plain.headers["cache-control"]


async def test_a_missing_viewer_file_is_not_the_page(client: httpx.AsyncClient) -> None:
    assert (await client.get("/viewer/missing.wasm")).status_code == 404


async def test_viewer_paths_stay_inside(client: httpx.AsyncClient) -> None:
    assert (await client.get("/viewer/%2e%2e/secret.js")).status_code == 404


async def test_without_a_viewer_the_answer_says_how_to_get_it() -> None:
    async with _client(Pages("origin", None)) as client:
        answer = await client.get("/viewer/")
    assert answer.status_code == 404
    assert "nearframe viewer install" in answer.text


async def test_the_viewers_worker_script_is_the_nodes_own(client: httpx.AsyncClient) -> None:
    answer = await client.get("/viewer/init-service-worker.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert 'useWorker("persistent", ' in answer.text


async def test_the_worker_may_control_every_page_and_every_part_of_it_answers(client: httpx.AsyncClient) -> None:
    seen: set[str] = set()
    wanted = {"worker.js", "register.js"}
    while wanted:
        name = wanted.pop()
        answer = await client.get(f"/worker/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["service-worker-allowed"] == "/"
        assert answer.headers["cache-control"] == "no-cache"
        seen.add(name)
        wanted |= set(re.findall(r'from "\./([^"]+)"', answer.text)) - seen
    assert len(seen) == len(list(Path(web.__file__).parent.glob("static/worker/*.js")))
    assert (await client.get("/worker/page.js")).status_code == 404


async def test_only_an_archive_is_looked_after(client: httpx.AsyncClient) -> None:
    assert (await client.get("/archive")).status_code == 404
    async with _client(Pages("origin", None)) as origin:
        page = await origin.get("/archive")
        assert 'data-role="origin"' in page.text
        assert "{{" not in page.text
        for path in set(re.findall(r'"(/assets/[^"]+)"', page.text)):
            script = await origin.get(path)
            assert script.status_code == 200
            for name in re.findall(r'from "\./([^"]+)"', script.text):
                assert (await origin.get(path.rpartition("/")[0] + "/" + name)).status_code == 200
