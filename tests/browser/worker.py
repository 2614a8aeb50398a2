"""Parts for tests of the service worker: a browser that can be restarted, nodes that count, readers."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from playwright.async_api import BrowserContext, Page, Playwright, Response

from nearframe.demo.nodes import DemoNode
from tests.browser.conftest import CHROMIUM_OPTIONS
from tests.browser.middleman import Middleman

READY_MS = 180_000
ACCEPT = "multipart/related; type=application/octet-stream; transfer-syntax=*"
_FRAME = re.compile(r"/frames/\d+$")
_ASKED = re.compile(r'^nearframe_http_requests_total\{route="retrieve_frames",.*\} (\d+)', re.MULTILINE)

_CONTROLLED = """
() => navigator.serviceWorker.controller ? null : new Promise((resolve) => {
  navigator.serviceWorker.addEventListener("controllerchange", () => resolve(null), { once: true });
})
"""

#: What Cornerstone3D's loader does with a study: the metadata of each series, then each frame by XMLHttpRequest.
LIKE_CORNERSTONE = """
async ([study, accept]) => {
  const root = `/dicomweb/studies/${study}`;
  const series = await (await fetch(`${root}/series`)).json();
  const get = (url) => new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    request.responseType = "arraybuffer";
    request.setRequestHeader("Accept", accept);
    request.onload = () => resolve(request.status === 200 ? request.response : null);
    request.onerror = () => resolve(null);
    request.send();
  });
  const frames = {};
  for (const one of series) {
    const uid = one["0020000E"].Value[0];
    for (const instance of await (await fetch(`${root}/series/${uid}/metadata`)).json()) {
      const sop = instance["00080018"].Value[0];
      const body = await get(`${root}/series/${uid}/instances/${sop}/frames/1`);
      const digest = body && new Uint8Array(await crypto.subtle.digest("SHA-256", body));
      frames[sop] = digest && Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    }
  }
  return frames;
}
"""


@asynccontextmanager
async def browser(playwright: Playwright, chromium: Path, profile: Path) -> AsyncIterator[BrowserContext]:
    """Open Chromium with a profile that outlives it, but for its HTTP cache."""
    for cache in (profile / "Default" / "Cache", profile / "Default" / "Code Cache"):
        shutil.rmtree(cache, ignore_errors=True)
    options = [*CHROMIUM_OPTIONS, "--disk-cache-size=1"]
    context = await playwright.chromium.launch_persistent_context(
        profile, executable_path=chromium, args=options, viewport={"width": 1280, "height": 800}
    )
    await context.add_init_script("try { localStorage.shownTours = '[\"basicViewerTour\"]' } catch {}")
    yield context
    await context.close()


def frames_asked(node: DemoNode) -> int:
    """Return how many requests for frames a node has answered, whatever the answer was."""
    text = httpx.get(f"{node.url}/metrics", trust_env=False).text
    return sum(map(int, _ASKED.findall(text)))


def store(node: DemoNode, files: Iterable[bytes]) -> None:
    """Store files; all must be taken."""
    with httpx.Client(base_url=node.url, timeout=60, trust_env=False) as client:
        for file in files:
            answer = client.post("/dicomweb/studies", content=file, headers={"Content-Type": "application/dicom"})
            answer.raise_for_status()


async def settled(node: DemoNode, study: str, frames: int) -> None:
    """Wait until every frame of a study has its rendition."""
    async with httpx.AsyncClient(base_url=node.url, timeout=60, trust_env=False) as client:
        for _ in range(300):
            made = (await client.get(f"/api/studies/{study}/renditions")).raise_for_status().json()
            if len(made["len"]) == frames:
                return
            await asyncio.sleep(0.2)
    raise AssertionError("not every frame has a rendition")


async def under_control(page: Page, node: DemoNode | Middleman) -> None:
    """Open the study page and wait until its worker is in charge."""
    await page.goto(node.url)
    await page.evaluate(_CONTROLLED)


async def read_like_cornerstone(page: Page, study: str) -> dict[str, str | None]:
    """Read a study as Cornerstone3D does; return the SHA-256 of each frame's answer, or None where it failed."""
    found: dict[str, str | None] = await page.evaluate(LIKE_CORNERSTONE, [study, ACCEPT])
    return found


async def read_with_ohif(
    page: Page, node: DemoNode, study: str, frames: int, at: Mapping[int, Callable[[], None]] | None = None
) -> None:
    """Open a study in the viewer and wait until it has read so many frames.

    Parameters
    ----------
    at
        What happens when so many have been read.
    """
    read: set[str] = set()
    complete = asyncio.Event()
    happens = dict(at or {})

    def note(answer: Response) -> None:
        if answer.status == 200 and _FRAME.search(answer.url):
            read.add(answer.url)
            happens.pop(len(read), lambda: None)()
        if len(read) == frames:
            complete.set()

    page.on("response", note)
    await page.goto(f"{node.url}/viewer/viewer?StudyInstanceUIDs={study}")
    await asyncio.wait_for(complete.wait(), READY_MS / 1000)
    page.remove_listener("response", note)
