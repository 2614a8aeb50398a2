"""Stock OHIF reads our DICOMweb: three kinds of object here, all twelve in the drill."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from PIL import Image
from playwright.async_api import Browser, Page, Response, async_playwright, expect

from nearframe.demo.nodes import DemoNode
from nearframe.demo.reader import Reader
from tests.browser import objects
from tests.browser.conftest import CHROMIUM_OPTIONS

pytestmark = pytest.mark.browser

PACKAGED = Path(pydicom.data.__file__).parent / "test_files"
READY_MS = 180_000  # the viewer starts in ten seconds on an idle machine, and CI machines are not idle


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: how to get one, and what must be seen.

    Attributes
    ----------
    files
        Returns the objects of one study, as Part 10 bytes.
    answered
        Requests with these path endings must have been answered with success.
    drawn
        True if a viewport must show a picture.
    """

    name: str
    files: Callable[[Path | None], Sequence[bytes]]
    answered: tuple[str, ...] = (r"/frames/\d+$",)
    drawn: bool = True
    route: str = "viewer"


def _packaged(*names: str) -> Callable[[Path | None], Sequence[bytes]]:
    return lambda _: [(PACKAGED / name).read_bytes() for name in names]


def _shared(pattern: str) -> Callable[[Path | None], Sequence[bytes]]:
    def read(data: Path | None) -> Sequence[bytes]:
        if data is None:
            pytest.skip("needs the folder of real studies")
        found = [path.read_bytes() for path in sorted(data.glob(pattern)) if path.is_file()]
        assert found, f"no file matches {pattern}"
        return found

    return read


FEW = (
    Kind("ct-stack", lambda _: objects.ct_stack(12)),
    Kind("us-cine-jpeg", _packaged("examples_ybr_color.dcm")),
    Kind("palette-colour", _packaged("examples_palette.dcm"), answered=(r"/frames/1$", r"/bulkdata/|/metadata$")),
)
MANY = (
    Kind("jpeg2000", _packaged("examples_jpeg2k.dcm")),
    Kind("mr-rle", _packaged("MR_small_RLE.dcm")),
    Kind("jpeg-ls", _packaged("MR_small_jpeg_ls_lossless.dcm")),
    Kind("ct-head", _shared("ct-head-ge/*.dcm")),
    Kind("xa-cine", _shared("cine/static-dicomweb/*.dcm")),
    Kind("segmentation", lambda data: objects.ct_stack(12) + objects.segmentation(12), (r"/instances/[\d.]+$",)),
    Kind("pdf", lambda _: objects.pdf(), (r"/bulkdata/00420011$",), drawn=False),
    Kind("video", lambda _: objects.video(), (r"/rendered$",), drawn=False),
    Kind("whole-slide", _shared("zoo/highdicom/sm_image.dcm"), route="microscopy"),
)


@pytest.fixture
async def browser(chromium: Path) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        yield browser
        await browser.close()


@pytest.mark.parametrize("kind", FEW, ids=lambda kind: kind.name)
async def test_ohif_shows(kind: Kind, archive: DemoNode, browser: Browser) -> None:
    await _shows(kind, archive, browser, None)


@pytest.mark.drill
@pytest.mark.parametrize("kind", MANY, ids=lambda kind: kind.name)
async def test_ohif_shows_also(kind: Kind, archive: DemoNode, browser: Browser, data_dir: Path) -> None:
    await _shows(kind, archive, browser, data_dir)


async def _shows(kind: Kind, archive: DemoNode, browser: Browser, data: Path | None) -> None:
    files = kind.files(data)
    study = _store(archive, files)
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    await context.add_init_script("localStorage.shownTours = '[\"basicViewerTour\"]'")
    page = await context.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if archive.url not in request.url else None)
    await page.goto(f"{archive.url}/viewer/{kind.route}?StudyInstanceUIDs={study}")
    if kind.drawn:
        await _wait_for_picture(page)
    for pattern in kind.answered:
        await _wait_for_answer(page, answers, pattern)
    failed = [
        f"{a.status} {a.url.partition('/dicomweb')[2]}" for a in answers if a.status >= 400 and "/dicomweb" in a.url
    ]
    assert not failed
    assert not [url for url in outside if not url.startswith(("blob:", "data:"))]
    await context.close()


def _store(archive: DemoNode, files: Sequence[bytes]) -> str:
    reader = Reader(archive.url)
    try:
        for content in files:
            reader.store(content)
    finally:
        reader.close()
    return str(pydicom.dcmread(io.BytesIO(files[0]), stop_before_pixels=True, force=True).StudyInstanceUID)


async def _wait_for_picture(page: Page) -> None:
    """Wait until a canvas shows more than one colour."""
    canvas = page.locator("canvas").first
    await expect(canvas).to_be_visible(timeout=READY_MS)
    for _ in range(READY_MS // 250):
        pixels = np.asarray(Image.open(io.BytesIO(await canvas.screenshot())).convert("L"))
        if pixels.std() > 8:
            return
        await page.wait_for_timeout(250)
    pytest.fail("the viewport stayed empty")


async def _wait_for_answer(page: Page, answers: list[Response], pattern: str) -> None:
    for _ in range(READY_MS // 250):
        if any(re.search(pattern, answer.url.partition("?")[0]) and answer.status < 300 for answer in answers):
            return
        await page.wait_for_timeout(250)
    pytest.fail(f"no successful answer for {pattern}")
