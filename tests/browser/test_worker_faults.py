"""What a browser keeps when things go wrong, and when it is told to keep less."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from playwright.async_api import BrowserContext, Page, async_playwright

from nearframe.demo.nodes import DemoNode
from tests.browser.conftest import free_port
from tests.browser.middleman import Middleman
from tests.browser.worker import browser, frames_asked, read_like_cornerstone, settled, store, under_control
from tests.syncing import STUDY_UID, ct_series

pytestmark = [pytest.mark.browser, pytest.mark.drill]

SLICES = 40
OTHER_STUDY = f"{STUDY_UID}9"
_KEPT = """
async () => (await caches.keys()).filter((name) => name.startsWith("nearframe:study:")).map((name) => name.slice(16))
"""


@pytest.fixture
def port() -> int:
    """Where the middleman listens."""
    return free_port()


@pytest.fixture
def node(tmp_path: Path, port: int) -> Iterator[DemoNode]:
    address = f"127.0.0.1:{free_port()}"
    config = tmp_path / "nearframe.toml"
    config.write_text(
        f'name = "next"\n[[edges]]\nname = "middleman"\nurl = "http://127.0.0.1:{port}"\n'
        f'[[edges]]\nname = "direct"\nurl = "http://{address}"\n'
    )
    node = DemoNode("origin", tmp_path / "origin", address, ["--config", str(config)])
    node.start()
    store(node, ct_series(SLICES, rows=128))
    store(node, ct_series(SLICES, rows=128, study=OTHER_STUDY, seed=2))
    yield node
    node.stop()


@asynccontextmanager
async def opened(chromium: Path, profile: Path) -> AsyncIterator[BrowserContext]:
    async with async_playwright() as playwright, browser(playwright, chromium, profile) as context:
        yield context


async def kept(page: Page) -> set[str]:
    return set(await page.evaluate(_KEPT))


async def test_a_damaged_frame_is_passed_on_once_and_never_kept(
    chromium: Path, node: DemoNode, port: int, tmp_path: Path
) -> None:
    await settled(node, STUDY_UID, SLICES)
    middleman = Middleman(node.url, port)
    middleman.change = lambda path, body: body[:500] + b"XX" + body[502:] if "/frames/" in path else body
    await middleman.start()
    async with opened(chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, middleman)
        damaged = await read_like_cornerstone(page, STUDY_UID)
        middleman.change = lambda path, body: body
        whole = await read_like_cornerstone(page, STUDY_UID)
        assert not set(damaged.values()) & set(whole.values())
        assert frames_asked(node) == 2 * SLICES
        assert await read_like_cornerstone(page, STUDY_UID) == whole
        assert frames_asked(node) == 2 * SLICES
    await middleman.stop()


async def test_a_frame_that_breaks_off_is_gone_on_with_from_the_next_node(
    chromium: Path, node: DemoNode, port: int, tmp_path: Path
) -> None:
    await settled(node, STUDY_UID, SLICES)
    middleman = Middleman(node.url, port)
    await middleman.start()
    async with opened(chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, middleman)
        middleman.stop_after = lambda path: 1000 if "/frames/" in path else None
        broken = await read_like_cornerstone(page, STUDY_UID)
    await middleman.stop()
    async with opened(chromium, tmp_path / "other profile") as context:
        page = await context.new_page()
        await under_control(page, node)
        assert await read_like_cornerstone(page, STUDY_UID) == broken
    assert None not in broken.values()


async def test_one_corrected_frame_is_the_one_that_is_fetched(chromium: Path, node: DemoNode, tmp_path: Path) -> None:
    await settled(node, STUDY_UID, SLICES)
    async with opened(chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, node)
        before = await read_like_cornerstone(page, STUDY_UID)
        store(node, [ct_series(SLICES, rows=128)[7][:-2] + b"\x01\x00"])
        with httpx.Client(base_url=node.url, trust_env=False) as client:
            (conflict,) = client.get("/api/conflicts").json()["conflicts"]
            answer = client.post(f"/api/conflicts/{conflict['id']}", json={"keep": "incoming"})
            answer.raise_for_status()
        await settled(node, STUDY_UID, SLICES)
        asked = frames_asked(node)
        after = await read_like_cornerstone(page, STUDY_UID)
    assert frames_asked(node) == asked + 1
    assert len(set(after.values()) - set(before.values())) == 1


async def test_a_full_browser_lets_the_older_study_go(chromium: Path, node: DemoNode, tmp_path: Path) -> None:
    async with opened(chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, node)
        first = await read_like_cornerstone(page, STUDY_UID)
        used = await page.evaluate("async () => (await navigator.storage.estimate()).usage")
        session = await context.new_cdp_session(page)
        quota = {"origin": node.url, "quotaSize": used + 100_000}
        await session.send("Storage.overrideQuotaForOrigin", quota)
        await read_like_cornerstone(page, OTHER_STUDY)
        assert await kept(page) == {OTHER_STUDY}
        assert await read_like_cornerstone(page, STUDY_UID) == first


async def test_two_pages_at_once_read_the_same(chromium: Path, node: DemoNode, tmp_path: Path) -> None:
    await settled(node, STUDY_UID, SLICES)
    async with opened(chromium, tmp_path / "profile") as context:
        left, right = await context.new_page(), await context.new_page()
        await under_control(left, node)
        await under_control(right, node)
        both = await asyncio.gather(read_like_cornerstone(left, STUDY_UID), read_like_cornerstone(right, STUDY_UID))
        assert both[0] == both[1]
        asked = frames_asked(node)
        assert await read_like_cornerstone(left, STUDY_UID) == both[0]
        assert frames_asked(node) == asked


@pytest.mark.parametrize(("setting", "left"), [("persistent", {STUDY_UID}), ("session", set()), ("off", set())])
async def test_what_is_left_after_a_restart_is_what_the_setting_says(
    chromium: Path, tmp_path: Path, setting: str, left: set[str]
) -> None:
    node = DemoNode("origin", tmp_path / "home", f"127.0.0.1:{free_port()}", ["--browser-cache", "persistent"])
    node.start()
    store(node, ct_series(3))
    node.options = ["--browser-cache", setting]
    try:
        if setting != "off":
            node.stop()
            node.start()
        async with opened(chromium, tmp_path / "profile") as context:
            page = await context.new_page()
            await under_control(page, node)
            await read_like_cornerstone(page, STUDY_UID)
            assert await kept(page) == {STUDY_UID}
        node.stop()
        node.start()
        async with opened(chromium, tmp_path / "profile") as context:
            page = await context.new_page()
            await page.goto(node.url)
            await page.locator("tr.study").wait_for()
            assert await kept(page) == left
    finally:
        node.stop()


async def test_forget_drops_every_study(chromium: Path, node: DemoNode, tmp_path: Path) -> None:
    async with opened(chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, node)
        await read_like_cornerstone(page, STUDY_UID)
        await page.get_by_role("button", name="Forget").click()
        await page.get_by_text("Kept in this browser").wait_for(state="detached")
        assert await kept(page) == set()
