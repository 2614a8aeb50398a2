"""An origin in a process of its own, and Chromium to look at it with."""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from nearframe.demo.nodes import DemoNode
from nearframe.web import viewer

#: Of tests that use `browser`.
SHARED_LOOP = pytest.mark.asyncio(loop_scope="session")

#: No GPU here: Chromium draws WebGL in software; and it stays off the network.
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


@pytest.fixture(scope="session")
def chromium() -> Path:
    """Debian's Chromium."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed")
    return Path(found)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: Path) -> AsyncIterator[Browser]:
    """One Chromium for whoever needs no profile of its own: each test has a context, which shares nothing."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def ohif() -> Path:
    """The installed viewer."""
    folder = viewer.installed()
    if folder is None:
        pytest.skip("the viewer is not installed: nearframe viewer install")
    return folder


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, ohif: Path) -> Iterator[DemoNode]:
    """A running origin that serves the viewer."""
    node = DemoNode("origin", tmp_path_factory.mktemp("browser") / "origin", f"127.0.0.1:{free_port()}")
    node.start()
    yield node
    node.stop()
