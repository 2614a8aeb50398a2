"""Chromium keeps a version of a study's metadata and gets the corrected one for next to nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from nearframe.demo.nodes import DemoNode
from tests.browser.conftest import SHARED_LOOP, free_port
from tests.syncing import STUDY_UID, ct_series, rename

pytestmark = [pytest.mark.browser, SHARED_LOOP]

SLICES = 50
METADATA = f"/dicomweb/studies/{STUDY_UID}/metadata"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[DemoNode]:
    origin = DemoNode("origin", tmp_path / "origin", f"127.0.0.1:{free_port()}", ["--dictionaries"])
    origin.start()
    yield origin
    origin.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    # The page's worker would fetch in its place, and what passes through a worker counts as no bytes.
    async with await browser.new_context(service_workers="block") as context:
        yield await context.new_page()


def store(node: DemoNode, files: list[bytes]) -> str:
    """Store files and return the sequence of the study's state."""
    with httpx.Client(base_url=node.url, timeout=60, trust_env=False) as client:
        for file in files:
            headers = {"Content-Type": "application/dicom"}
            client.post("/dicomweb/studies", content=file, headers=headers).raise_for_status()
        head: str = client.get("/api/status").json()["feed"]["head"]
    return head.rpartition(":")[2]


async def test_a_corrected_metadata_document_costs_less_than_a_kilobyte(node: DemoNode, page: Page) -> None:
    seq = store(node, ct_series(SLICES))
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    finished: dict[str, float] = {}
    urls: dict[str, str] = {}
    session.on("Network.requestWillBeSent", lambda event: urls.__setitem__(event["requestId"], event["request"]["url"]))
    session.on(
        "Network.loadingFinished",
        lambda event: finished.__setitem__(urls.get(event["requestId"], ""), event["encodedDataLength"]),
    )
    await page.goto(node.url)
    read = "url => fetch(url).then(async r => [r.status, (await r.text())])"
    status, first = await page.evaluate(read, f"{METADATA}?version={seq}")
    assert (status, first.count('"Doe^Jane"')) == (200, SLICES)
    store(node, ct_series(SLICES, change=rename("Doe^Janet")))
    status, corrected = await page.evaluate(read, METADATA)
    assert (status, corrected.count('"Doe^Janet"')) == (200, SLICES)
    whole, small = (finished[f"{node.url}{path}"] for path in (f"{METADATA}?version={seq}", METADATA))
    assert small < 1024 < whole
