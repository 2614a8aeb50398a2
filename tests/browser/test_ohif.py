"""Stock OHIF reads our DICOMweb: three kinds of object here, ten more in the drill.

Each kind must be seen on the screen, not only fetched. Where a kind fails, the last screenshot
lies in the test's folder.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pydicom.data
import pytest
from PIL import Image
from playwright.async_api import Browser, Page, Response, expect

from nearframe.demo.nodes import DemoNode
from nearframe.demo.reader import Reader
from tests.browser import objects
from tests.browser.conftest import SHARED_LOOP

pytestmark = [pytest.mark.browser, SHARED_LOOP]

PACKAGED = Path(pydicom.data.__file__).parent / "test_files"
READY_MS = 180_000  # the viewer starts in ten seconds on an idle machine, and CI machines are not idle


Picture: TypeAlias = npt.NDArray[np.int16]


def _is_picture(picture: Picture) -> bool:
    """Return True if more than one colour is seen."""
    return float(picture.mean(axis=2).std()) > 8


def _has_red(picture: Picture) -> bool:
    """Return True if something red is seen, as no part of the viewer is."""
    red, green, blue = np.moveaxis(picture, 2, 0)
    return float(np.mean(red - np.maximum(green, blue) > 50)) > 0.01


def _is_yellow(picture: Picture) -> bool:
    """Return True if yellow prevails."""
    red, green, blue = np.moveaxis(picture, 2, 0)
    return float(np.mean(np.minimum(red, green) - blue > 100)) > 0.5


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: how to get one, and what must be seen.

    Attributes
    ----------
    files
        Returns the objects of one study, as Part 10 bytes.
    answered
        Requests with these path endings must have been answered with success.
    refused
        Requests with these path endings may be refused.
    place
        The element of the page that shows the object.
    seen
        Tells whether a screenshot of that element shows it.
    entry
        What to double-click in the list of series, if the viewer does not open it by itself.
    """

    name: str
    files: Callable[[Path | None], Sequence[bytes]]
    answered: tuple[str, ...] = (r"/frames/\d+$",)
    refused: tuple[str, ...] = ()
    place: str = "canvas"
    seen: Callable[[Picture], bool] = _is_picture
    entry: str = ""
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
    Kind("colour-by-plane", _packaged("ExplVR_BigEnd.dcm"), seen=_is_yellow),
    Kind("ct-head", _shared("ct-head-ge/*.dcm")),
    Kind("xa-cine", _shared("cine/static-dicomweb/*.dcm")),
    # Stock OHIF lists a segmentation and waits to be asked before it lays it over the pictures.
    Kind(
        "segmentation",
        lambda _: objects.ct_stack(12) + objects.segmentation(12),
        (r"/frames/\d+$", r"/instances/[\d.]+$"),
        seen=_has_red,
        entry="SEG",
    ),
    Kind("pdf", lambda _: objects.pdf(), (r"/rendered$",), place="object", seen=_has_red),
    # No frame of a video is decoded here, so it has no thumbnail: the viewer lists it by its name.
    Kind("video", lambda _: objects.video(), (r"/rendered$",), (r"/thumbnail$",), seen=_has_red),
    Kind("whole-slide", _shared("zoo/highdicom/sm_image_numbers.dcm"), route="microscopy"),
)


@pytest.mark.parametrize("kind", FEW, ids=lambda kind: kind.name)
async def test_ohif_shows(kind: Kind, archive: DemoNode, browser: Browser, tmp_path: Path) -> None:
    await _shows(kind, archive, browser, None, tmp_path)


@pytest.mark.drill
@pytest.mark.parametrize("kind", MANY, ids=lambda kind: kind.name)
async def test_ohif_shows_also(kind: Kind, archive: DemoNode, browser: Browser, data_dir: Path, tmp_path: Path) -> None:
    await _shows(kind, archive, browser, data_dir, tmp_path)


async def _shows(kind: Kind, archive: DemoNode, browser: Browser, data: Path | None, folder: Path) -> None:
    files = kind.files(data)
    study = _store(archive, files)
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    # The frame that shows a PDF has no storage.
    await context.add_init_script("try { localStorage.shownTours = '[\"basicViewerTour\"]' } catch {}")
    page = await context.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url) if archive.url not in request.url else None)
    await page.goto(f"{archive.url}/viewer/{kind.route}?StudyInstanceUIDs={study}")
    try:
        if kind.entry:
            await page.get_by_text(kind.entry, exact=True).first.dblclick(timeout=READY_MS)
        await _wait_for_picture(page, kind)
        for pattern in kind.answered:
            await _wait_for_answer(page, answers, pattern)
    finally:
        await page.screenshot(path=folder / "viewer.png")
    assert not _failed(answers, kind)
    assert not [url for url in outside if url.startswith(("http:", "https:", "ws:", "wss:"))]
    await context.close()


def _failed(answers: Sequence[Response], kind: Kind) -> list[str]:
    """Return the requests of DICOMweb that failed, but for those that may."""
    paths = [(answer.status, urlsplit(answer.url).path) for answer in answers]
    return [
        f"{status} {path}"
        for status, path in paths
        if status >= 400 and "/dicomweb" in path and not any(re.search(pattern, path) for pattern in kind.refused)
    ]


def _store(archive: DemoNode, files: Sequence[bytes]) -> str:
    reader = Reader(archive.url)
    try:
        for content in files:
            reader.store(content)
    finally:
        reader.close()
    return str(pydicom.dcmread(io.BytesIO(files[0]), stop_before_pixels=True, force=True).StudyInstanceUID)


async def _wait_for_picture(page: Page, kind: Kind) -> None:
    """Wait until the object is seen."""
    place = page.locator(kind.place).first
    await expect(place).to_be_visible(timeout=READY_MS)
    for _ in range(READY_MS // 250):
        picture = Image.open(io.BytesIO(await place.screenshot())).convert("RGB")
        if kind.seen(np.asarray(picture, np.int16)):
            return
        await page.wait_for_timeout(250)
    pytest.fail("the object is not seen")


async def _wait_for_answer(page: Page, answers: list[Response], pattern: str) -> None:
    for _ in range(READY_MS // 250):
        if any(re.search(pattern, answer.url.partition("?")[0]) and answer.status < 300 for answer in answers):
            return
        await page.wait_for_timeout(250)
    pytest.fail(f"no successful answer for {pattern}")
