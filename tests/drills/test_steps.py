"""A node is killed at each step of bringing an object upstream, before it and after it: once in effect all the same."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.drills.audit import Audit
from tests.drills.dying import AT_THE_ORIGIN, STEPS
from tests.drills.ledger import Ledger, instances
from tests.drills.site import Node, Site
from tests.drills.traffic import Scanner

pytestmark = pytest.mark.drill

_PATIENCE_S = 60.0
_WHEN = ("before", "after")


class Setup:
    """A site whose nodes run, and are settled."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._new = instances(len(STEPS) * 2, 3)
        self._ledger = Ledger()
        self._scanner = Scanner(site, self._ledger, [], random.Random(1))

    async def die(self, node: Node, step: str, when: str) -> None:
        """Store a study; have a node die on the way, start it again, and see what came of it."""
        node.kill()
        await node.start(step, when)
        sent, self._new = self._new[:3], self._new[3:]
        self._ledger.instances.extend(sent)
        files = {instance: instance.first for instance in sent}
        async with httpx.AsyncClient(timeout=_PATIENCE_S, trust_env=False) as client:
            await self._scanner.store(client, self.site.edge.url, files)
            async with asyncio.timeout(_PATIENCE_S):
                assert await node.ended() == -signal.SIGKILL
            await node.start()
            if not sent[0].acknowledged:  # as every scanner does
                await self._scanner.store(client, self.site.edge.url, files)
        assert all(instance.acknowledged for instance in sent)
        await Audit(self.site, self._ledger, self._scanner).run()


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    site = Site(tmp_path)
    try:
        await site.start()
        yield Setup(site)
    finally:
        await site.stop()


@pytest.mark.parametrize("when", _WHEN)
async def test_an_edge_killed_at_each_step(setup: Setup, when: str) -> None:
    for step in STEPS:
        await setup.die(setup.site.edge, step, when)


@pytest.mark.parametrize("when", _WHEN)
async def test_an_upstream_killed_at_each_step(setup: Setup, when: str) -> None:
    for step in AT_THE_ORIGIN:
        await setup.die(setup.site.origin, step, when)
