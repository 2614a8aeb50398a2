"""The page of those who look after an archive, used as they would: by mouse and by keyboard, wide and narrow."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from functools import partial

import httpx
import pydicom
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from nearframe.demo.nodes import DemoNode
from tests.browser.conftest import SHARED_LOOP, free_port
from tests.syncing import ct_series

pytestmark = [pytest.mark.browser, SHARED_LOOP]

READY_MS = 60_000
STUDY, OTHER, LATE = "1.2.826.9.1", "1.2.826.9.2", "1.2.826.9.3"
RULES = '[{"name": "CT", "keep_years": 10, "action": "delete"}]'


def store(url: str, data: bytes) -> None:
    answer = httpx.post(f"{url}/dicomweb/studies", content=data, headers={"content-type": "application/dicom"})
    assert answer.status_code in (200, 202), answer.text


def other_pixels(file: bytes) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(file))
    ds.PixelData = bytes(len(ds.PixelData))
    ds.SeriesDescription = "Read out again"
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def _of_patient(identifier: str, ds: pydicom.Dataset) -> None:
    ds.PatientID = identifier


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoNode]:
    """An origin with studies, a conflict, two patients who were merged away and came again, and a correction."""
    home = tmp_path_factory.mktemp("archive") / "home"
    node = DemoNode("origin", home, f"127.0.0.1:{free_port()}", ["--retention", RULES])
    node.start()
    try:
        files = ct_series(3, rows=64, study=STUDY)
        for file in [*files, *ct_series(2, rows=64, study=OTHER, seed=2), other_pixels(files[0])]:
            store(node.url, file)
        for number in (1, 2):
            late = partial(_of_patient, f"OLD-{number}")
            store(node.url, ct_series(1, rows=64, study=f"{LATE}.{number}", change=late)[0])
            asked = {"action": "merge", "reason": "registered twice", "from": {"id": f"OLD-{number}"}}
            into = {"id": f"NEW-{number}", "attributes": {"PatientName": "Roe^Richard", "PatientBirthDate": "19700102"}}
            httpx.post(f"{node.url}/api/corrections", json=asked | {"into": into}).raise_for_status()
            store(node.url, ct_series(2, rows=64, study=f"{LATE}.{number}9", change=late, seed=number)[0])
        renamed = {"action": "attributes", "select": {"study": STUDY}, "set": {"PatientName": "Doe^Janet"}}
        httpx.post(f"{node.url}/api/corrections", json=renamed | {"reason": "typed wrongly"}).raise_for_status()
        yield node
    finally:
        node.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, origin: DemoNode) -> AsyncIterator[Page]:
    async with await browser.new_context() as context:
        context.set_default_timeout(READY_MS)
        page = await context.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        await page.goto(f"{origin.url}/archive")
        yield page
    assert failures == []


@pytest.mark.parametrize("width", [390, 1280])
async def test_everything_is_there_and_nothing_sticks_out(page: Page, width: int) -> None:
    await page.set_viewport_size({"width": width, "height": 900})
    await expect(page.locator("#checks li")).not_to_have_count(0)
    await expect(page.locator("#checks .failing")).to_have_count(0)
    await expect(page.locator("#room")).to_contain_text("Frames")
    await expect(page.locator("#jobs")).to_contain_text("compaction")
    await expect(page.locator("#corrections")).to_contain_text("typed wrongly")
    await expect(page.locator("#patients article")).to_have_count(2)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    named = "one.textContent.trim() || one.ariaLabel || one.labels?.length"
    assert await page.evaluate(f"[...document.querySelectorAll('button, input, a')].every(one => {named})")


async def test_a_correction_is_undone_by_keyboard(page: Page) -> None:
    undo = page.get_by_role("button", name="Undo correction").first
    await undo.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("Enter")
    await page.keyboard.type("it was right")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#note")).to_contain_text("is undone: 3 instances as before")
    await expect(page.locator("#corrections")).to_contain_text("undone by")


async def test_a_hold_is_placed_and_released(page: Page) -> None:
    form = page.locator("#holds form")
    await form.get_by_label("or Patient ID").fill("PID-1")
    await form.get_by_label("Why").fill("case 12")
    await form.get_by_role("button", name="Place hold").click()
    await expect(page.locator("#holds tbody tr")).to_have_count(1)
    await expect(page.locator("#holds tbody tr")).to_contain_text("patient PID-1")
    await page.get_by_role("button", name="Release hold").click()
    await page.get_by_role("dialog").get_by_label("Why").fill("settled")
    await page.get_by_role("dialog").get_by_role("button", name="Release").click()
    await expect(page.locator("#holds")).to_contain_text("None: everything may be deleted")


async def test_a_conflict_is_settled(page: Page) -> None:
    conflict = page.locator("#conflicts article")
    for words in ("Doe, Jane", "CT · Series", "Image 1", "Read out again", "stow", "pixels of 1 frame; header:"):
        await expect(conflict).to_contain_text(words)
    drawn = "images => images.length === 2 && images.every(one => one.naturalWidth > 0)"
    await expect(conflict.locator("img")).to_have_count(2)
    await page.wait_for_function(f"({drawn})([...document.querySelectorAll('#conflicts img')])")
    await page.get_by_role("button", name="Keep current").click()
    await expect(page.locator("#conflicts")).to_contain_text("None: every UID stands for one picture")


async def test_patients_are_kept_apart_or_merged_by_keyboard(page: Page) -> None:
    pairs = page.locator("#patients article")
    await expect(pairs).to_have_count(2)
    await expect(pairs.first).to_contain_text("Roe, Richard")
    await expect(pairs.first.locator(".differs")).to_have_count(4)  # names and dates of birth
    await pairs.first.get_by_role("button", name="Keep apart").focus()
    for key in ("Enter", *"given out again", "Tab", "Tab", "Enter"):
        await page.keyboard.press("Space" if key == " " else key)
    await expect(page.locator("#note")).to_have_text("They are kept apart.")
    await expect(pairs).to_have_count(1)
    await pairs.first.get_by_role("button", name="Merge into NEW-2").focus()
    for key in ("Enter", *"late", "Tab", "Tab", "Enter"):
        await page.keyboard.press(key)
    await expect(page.locator("#note")).to_contain_text("1 instance filed there")
    await expect(page.locator("#patients")).to_contain_text("None: no study names")
    await expect(page.locator("#corrections tbody tr").nth(1)).to_contain_text("kept apart")


async def test_work_is_begun_and_told(page: Page) -> None:
    await page.get_by_role("button", name="Run compaction now").click()
    await expect(page.locator("#jobs tr", has_text="compaction")).to_contain_text("done")


async def test_retention_is_asked_for(page: Page) -> None:
    await page.get_by_role("button", name="What is due?").click()
    await expect(page.locator("#retention")).to_contain_text("6 kept")
