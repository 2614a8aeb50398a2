"""Keeping the list of nodes: this edge makes itself known upstream, and learns who else there is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from nearframe import log, tasks
from nearframe.edge.upstream import Upstream
from nearframe.errors import NearframeError
from nearframe.sync.directory import ANNOUNCED_EVERY_S, Directory, Listed

_log = log.logger(__name__)


class Announcer:
    """Asks each upstream now and then. For one event loop.

    Parameters
    ----------
    itself
        This edge as clients reach it; None if no such URL is known, then it only learns.
    """

    def __init__(self, upstreams: Sequence[Upstream], directory: Directory, itself: Listed | None, tenant: str) -> None:
        self._upstreams = upstreams
        self._directory = directory
        self._itself = itself
        self._tenant = tenant
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._running = [tasks.spawn(self._keep_asking(one), name="announce") for one in self._upstreams]

    async def stop(self) -> None:
        """Stop; the upstreams forget this edge by themselves."""
        await tasks.cancel(self._running)

    async def _keep_asking(self, upstream: Upstream) -> None:
        while True:
            try:
                self._directory.told(upstream.url, await upstream.announce(self._tenant, self._itself))
            except NearframeError as error:
                _log.debug("not_announced", error=error)
            await asyncio.sleep(ANNOUNCED_EVERY_S * random.uniform(0.8, 1.0))
