"""Whether the archive behind an edge answers, and whether it speaks there what it should.

An archive has no feed that would tell. So it is asked now and then, whether or not anybody reads, and
at once when a request failed.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Final

from nearframe import log, tasks
from nearframe.edge.pacs.ports import Archive
from nearframe.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable

#: Seconds between two looks at an archive that is well: one search by a key, which costs it about a millisecond.
EVERY_S: Final = 30.0
#: At one that answers, and not as it should.
_AGAIN_S: Final = 5.0
#: At one that does not answer, until the breaker says how often.
_SOON_S: Final = 1.0

_log = log.logger(__name__)


class ArchiveWatch:
    """Looks after one archive. For one event loop.

    Attributes
    ----------
    problem
        What is wrong with it, and what to do; empty if nothing is.
    """

    def __init__(self, archive: Archive) -> None:
        self.problem = ""
        self._archive = archive
        #: As which error it was seen last.
        self._seen: type[UpstreamError] | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_reachable(self) -> bool:
        """Whether it answered when it was asked last."""
        return self._archive.last_contact_s is not None and not self._archive.breaker.failing.is_set()

    def start(self) -> None:
        """Begin to look, now and from then on."""
        self._looking = tasks.spawn(self._keep_looking(), name="watch archive")

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            await tasks.cancel([self._looking])

    async def _keep_looking(self) -> None:
        breaker = self._archive.breaker
        while True:
            await self.look()
            jitter = random.uniform(0.5, 1.0)  # many edges must not ask in step
            if breaker.failing.is_set():
                await asyncio.sleep(max(_SOON_S * jitter, breaker.pause_s))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(jitter * (_AGAIN_S if self.problem else EVERY_S)):
                    await breaker.failing.wait()

    async def look(self) -> None:
        """Ask it once; what changed is logged."""
        error = await self._asked()
        self.problem = "" if error is None else str(error)
        seen = None if error is None else type(error)
        if seen is self._seen:
            return
        self._seen = seen
        if error is None:
            _log.info("archive_answers")
        elif isinstance(error, UpstreamUnavailable | UpstreamTimeout):
            _log.warning("archive_away", error=error)
        else:
            _log.warning("archive_unusable", error=error)

    async def _asked(self) -> UpstreamError | None:
        try:
            await self._archive.probe()
        except UpstreamError as error:
            return error
        return None
