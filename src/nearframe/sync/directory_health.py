"""Whether the nodes of a list answer, looked up when somebody asks for the list."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import httpx

from nearframe import tasks
from nearframe.clock import Clock

#: A look is good for so long, however many ask.
FRESH_S: Final = 5.0
#: Who asks for the list waits this long for the first look; a node that is slower is not well.
_PATIENCE_S: Final = 1.0
_AT_ONCE: Final = 16


class NodeHealth:
    """Remembers which nodes answered ``GET /healthz`` last. For one event loop.

    Parameters
    ----------
    ca
        PEM file of the authority that signed their certificates; None for the system's.
    """

    def __init__(self, clock: Clock, ca: Path | None = None) -> None:
        self._clock = clock
        trust = True if ca is None else ssl.create_default_context(cafile=str(ca))
        self._client = httpx.AsyncClient(verify=trust, timeout=_PATIENCE_S, trust_env=False)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._is_healthy: dict[str, bool] = {}
        self._looked_at: float | None = None
        self._looking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            await tasks.cancel([self._looking])
        await self._client.aclose()

    async def healthy(self, urls: Iterable[str]) -> frozenset[str]:
        """Return those of some nodes that answered when they were last looked at."""
        wanted = list(urls)
        is_stale = self._looked_at is None or self._clock.monotonic() - self._looked_at > FRESH_S
        is_new = any(url not in self._is_healthy for url in wanted)
        if (is_stale or is_new) and (self._looking is None or self._looking.done()):
            self._looking = tasks.spawn(self._look(wanted), name="look at nodes")
        if is_new and self._looking is not None:
            await asyncio.wait([self._looking], timeout=_PATIENCE_S)
        return frozenset(url for url in wanted if self._is_healthy.get(url, False))

    async def _look(self, urls: list[str]) -> None:
        self._looked_at = self._clock.monotonic()
        found = await asyncio.gather(*(self._answers(url) for url in urls))
        self._is_healthy = dict(zip(urls, found, strict=True))

    async def _answers(self, url: str) -> bool:
        try:
            async with self._slots, self._client.stream("GET", f"{url}/healthz") as answer:
                return answer.status_code == httpx.codes.OK
        except (httpx.HTTPError, httpx.InvalidURL):
            return False
