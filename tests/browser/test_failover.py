"""A node is gone in the middle of a study: the page reads on from the next, and is not reloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from nearframe.demo.nodes import DemoNode
from tests.browser.conftest import free_port
from tests.browser.worker import ACCEPT, browser, frames_asked, read_with_ohif, store, under_control
from tests.syncing import STUDY_UID, ct_series

pytestmark = pytest.mark.browser

SLICES = 12
MANY = 80

_FIND = """
async (study) => {
  const found = [];
  for (const one of await (await fetch(`/dicomweb/studies/${study}/metadata`)).json()) {
    const [series, sop] = ["0020000E", "00080018"].map((tag) => one[tag].Value[0]);
    found.push(`/dicomweb/studies/${study}/series/${series}/instances/${sop}/frames/1`);
  }
  return found;
}
"""
_READ = """
async ([paths, accept]) => {
  const read = [];
  for (const path of paths) {
    const answer = await fetch(path, { headers: { Accept: accept } });
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await answer.arrayBuffer()));
    read.push([answer.status, Array.from(digest.slice(0, 8)).join(".")]);
  }
  return read;
}
"""
_UNTIL_AN_EDGE_ANSWERS = """
async () => {
  for (;;) {
    const answer = await fetch("/dicomweb/studies?limit=1");
    if (answer.headers.get("cache-status")?.includes("edge")) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}
"""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[str, DemoNode]]:
    """An origin and two edges that all know of each other."""
    addresses = {name: f"127.0.0.1:{free_port()}" for name in ("near", "next", "origin")}
    config = tmp_path / "nearframe.toml"
    tables = [
        f'[[edges]]\nname = "{name}"\nurl = "http://{address}"\nrank = {rank}\n'
        for rank, (name, address) in enumerate(addresses.items())
    ]
    config.write_text("renditions = false\n" + "".join(tables))  # every node sends frames as they are stored
    known = ["--config", str(config), "--name"]
    origin = DemoNode("origin", tmp_path / "origin", addresses["origin"], [*known, "origin"])
    edges = {
        name: DemoNode("edge", tmp_path / name, addresses[name], [*known, name, "--upstream", origin.url])
        for name in ("near", "next")
    }
    started = {"origin": origin, **edges}
    try:
        origin.start()
        store(origin, ct_series(SLICES, rows=128))
        for edge in edges.values():
            edge.start()
        yield started
    finally:
        for node in started.values():
            node.stop()


async def read(page: Page, paths: list[str]) -> list[tuple[int, str]]:
    found: list[list[int | str]] = await page.evaluate(_READ, [paths, ACCEPT])
    return [(int(status), str(digest)) for status, digest in found]


async def test_a_page_reads_on_from_the_next_edge_then_from_the_origin_and_comes_back(
    chromium: Path, nodes: dict[str, DemoNode], tmp_path: Path
) -> None:
    async with async_playwright() as playwright, browser(playwright, chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, nodes["near"])
        paths = await page.evaluate(_FIND, STUDY_UID)
        assert len(paths) == SLICES
        whole = await read(page, paths[:4])
        nodes["near"].cut()
        before = frames_asked(nodes["next"])
        whole += await read(page, paths[4:8])
        assert frames_asked(nodes["next"]) == before + 4
        assert (await page.evaluate(_FIND, STUDY_UID)) == paths
        nodes["next"].cut()
        before = frames_asked(nodes["origin"])
        whole += await read(page, paths[8:10])
        assert frames_asked(nodes["origin"]) == before + 2
        nodes["near"].start()
        await page.evaluate(_UNTIL_AN_EDGE_ANSWERS)
        whole += await read(page, paths[10:])
        assert frames_asked(nodes["near"]) == 2
        assert {status for status, _ in whole} == {200}
        assert await read(page, paths) == whole
        assert frames_asked(nodes["near"]) == 2


@pytest.mark.drill
async def test_ohif_finishes_a_study_from_the_next_edge_and_the_origin(
    chromium: Path, ohif: Path, nodes: dict[str, DemoNode], tmp_path: Path
) -> None:
    study = f"{STUDY_UID}8"
    store(nodes["origin"], ct_series(MANY, rows=256, study=study))
    async with async_playwright() as playwright, browser(playwright, chromium, tmp_path / "profile") as context:
        page = await context.new_page()
        await under_control(page, nodes["near"])
        gone = {MANY // 8: nodes["near"].cut, MANY // 2: nodes["next"].cut}
        await read_with_ohif(page, nodes["near"], study, MANY, gone)
    assert frames_asked(nodes["origin"]) > 0
