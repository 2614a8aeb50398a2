"""The study page as people see it, at an origin and at an edge that follows it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pydicom.data
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from nearframe import importer
from nearframe.demo.nodes import DemoNode
from tests.browser.conftest import SHARED_LOOP, free_port

pytestmark = [pytest.mark.browser, SHARED_LOOP]

PACKAGED = Path(pydicom.data.__file__).parent / "test_files"
NO_PREAMBLE = PACKAGED / "ExplVR_BigEndNoMeta.dcm"
READY_MS = 60_000
WIDTHS = (390, 800, 1024, 1280, 1920)  # phone, tablet both ways, laptop, reading room


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, DemoNode]]:
    """An origin that holds pydicom's files, and an edge that has followed it."""
    home = tmp_path_factory.mktemp("page")
    origin = DemoNode("origin", home / "origin", f"127.0.0.1:{free_port()}")
    edge = DemoNode("edge", home / "edge", f"127.0.0.1:{free_port()}", ["--upstream", origin.url])
    try:
        origin.start()
        importer.run([PACKAGED], importer.Options(url=origin.url, state=home))
        edge.start()
        yield {"origin": origin, "edge": edge}
    finally:
        edge.stop()
        origin.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    async with await browser.new_context() as context:
        context.set_default_timeout(READY_MS)
        yield await context.new_page()


async def open_study(page: Page, node: DemoNode) -> None:
    """Open the page and, in it, the study that came without preamble."""
    uid = pydicom.dcmread(NO_PREAMBLE, force=True).StudyInstanceUID
    await page.goto(node.url)
    await page.locator(f'tr.study[data-uid="{uid}"]').click()
    await expect(page.locator(".oddities")).to_contain_text("the 128-byte preamble is missing", timeout=READY_MS)


@pytest.mark.parametrize("role", ["origin", "edge"])
async def test_nothing_sticks_out(page: Page, nodes: dict[str, DemoNode], role: str) -> None:
    await page.set_viewport_size({"width": WIDTHS[0], "height": 844})
    await open_study(page, nodes[role])
    await expect(page.locator("#cards .card").first).to_be_visible(timeout=READY_MS)
    widest = "Math.max(...[...document.querySelectorAll('body *')].map((one) => one.getBoundingClientRect().right))"
    for width in WIDTHS:
        await page.set_viewport_size({"width": width, "height": 844})
        assert await page.evaluate(widest) <= width
        list_, cards = await page.locator("#studies").bounding_box(), await page.locator("aside").bounding_box()
        assert list_ is not None
        assert cards is not None
        is_beside, is_above = list_["x"] + list_["width"] <= cards["x"], list_["y"] + list_["height"] <= cards["y"]
        assert is_beside or is_above, width


async def test_an_origin_lists_its_conflicts(page: Page, nodes: dict[str, DemoNode]) -> None:
    await page.goto(nodes["origin"].url)
    await expect(page.get_by_text("Conflicts to resolve")).to_be_visible(timeout=READY_MS)


async def test_an_edge_says_what_it_does_not_have_and_asks_for_none_of_it(
    page: Page, nodes: dict[str, DemoNode]
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await open_study(page, nodes["edge"])
    await expect(page.get_by_text("At the origin only")).to_be_visible(timeout=READY_MS)
    assert not [url for url in asked if "/candidates" in url or "/api/conflicts" in url]


_DROP = """
([name, encoded]) => {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}
"""


async def test_a_file_that_is_dropped_is_stored(page: Page, nodes: dict[str, DemoNode]) -> None:
    file = PACKAGED / "CT_small.dcm"
    await page.goto(nodes["origin"].url)
    await page.evaluate(_DROP, [file.name, b64encode(file.read_bytes()).decode()])
    await expect(page.locator("body")).to_contain_text("1 stored", timeout=READY_MS)


async def test_a_study_is_corrected_and_put_back(page: Page, nodes: dict[str, DemoNode]) -> None:
    await open_study(page, nodes["origin"])
    box = page.locator(".corrections")
    await box.locator("summary").click()
    await box.get_by_label("Accession number").fill("A-77")
    await box.get_by_label("Why").fill("typed wrongly")
    await box.get_by_role("button", name="Correct").click()
    await expect(page.locator("#note")).to_contain_text("no pixel moved", timeout=READY_MS)
    await open_study(page, nodes["origin"])
    await box.locator("summary").click()
    await expect(box.get_by_label("Accession number")).to_have_value("A-77")
    await expect(box).to_contain_text("attributes")
    await box.get_by_role("button", name="Undo").click()
    await page.get_by_role("dialog").get_by_label("Why").fill("it was right")
    await page.get_by_role("dialog").get_by_role("button", name="Undo").click()
    await expect(page.locator("#note")).to_contain_text("is undone", timeout=READY_MS)
    await open_study(page, nodes["origin"])
    await box.locator("summary").click()
    await expect(box).to_contain_text("undone by")
