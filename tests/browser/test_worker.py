"""A study that was opened once is opened again for nothing: by the node's own counters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Playwright, async_playwright

from nearframe.demo.nodes import DemoNode
from tests.browser.conftest import free_port
from tests.browser.worker import (
    browser,
    frames_asked,
    read_like_cornerstone,
    read_with_ohif,
    settled,
    store,
    under_control,
)
from tests.syncing import STUDY_UID, ct_series, rename

pytestmark = pytest.mark.browser

SLICES = 12
ROWS = 128


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[DemoNode]:
    node = DemoNode("origin", tmp_path / "origin", f"127.0.0.1:{free_port()}")
    node.start()
    store(node, ct_series(SLICES, rows=ROWS))
    yield node
    node.stop()


@pytest.fixture
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as playwright:
        yield playwright


async def test_ohif_opens_a_study_that_was_read_and_renamed_for_no_frame(
    playwright: Playwright, chromium: Path, ohif: Path, origin: DemoNode, tmp_path: Path
) -> None:
    await settled(origin, STUDY_UID, SLICES)
    async with browser(playwright, chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, origin)
        await read_like_cornerstone(page, STUDY_UID)
    asked = frames_asked(origin)
    assert asked == SLICES
    store(origin, ct_series(SLICES, rows=ROWS, change=rename("Doe^Janet")))
    async with browser(playwright, chromium, tmp_path / "profile") as context:
        await read_with_ohif(await context.new_page(), origin, STUDY_UID, SLICES)
    assert frames_asked(origin) == asked


async def test_a_page_like_cornerstone_reads_a_renamed_study_again_for_no_frame(
    playwright: Playwright, chromium: Path, origin: DemoNode, tmp_path: Path
) -> None:
    await settled(origin, STUDY_UID, SLICES)
    async with browser(playwright, chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, origin)
        first = await read_like_cornerstone(page, STUDY_UID)
        again = await read_like_cornerstone(page, STUDY_UID)
    assert len(first) == SLICES
    assert None not in first.values()
    assert again == first
    assert frames_asked(origin) == SLICES
    store(origin, ct_series(SLICES, rows=ROWS, change=rename("Doe^Janet")))
    async with browser(playwright, chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, origin)
        assert await read_like_cornerstone(page, STUDY_UID) == first
    assert frames_asked(origin) == SLICES
