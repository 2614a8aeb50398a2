"""Studies that the upstream took out of view: what is kept of them stays for a while, and then goes for good.

What was deleted by mistake, moved to the wrong place or rejected in error is brought back, most often within hours, and
should not cross a thin line again. Nobody can read it meanwhile. It goes first when room is needed, and when an
edge has started: since when it is out of view is known in memory only.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.errors import NearframeError
from nearframe.storage.ports import StudyRef

#: Whoever finds a mistake the next morning still has it undone without a frame on the line.
KEPT_S: Final = 24 * 3600.0
_LOOK_EVERY_S: Final = 60.0

_log = log.logger(__name__)


class Departing:
    """Remembers which studies are to go. For one event loop.

    Parameters
    ----------
    let_go
        Lets the contents of a study go, unless it is in view; returns False if they are in use and it is to be
        tried again.
    """

    def __init__(self, let_go: Callable[[StudyRef], Awaitable[bool]], clock: Clock) -> None:
        self._let_go = let_go
        self._clock = clock
        self._since: dict[StudyRef, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to let go of what has been out of view for long enough."""
        self._task = tasks.spawn(self._keep_looking(), name="let go of removed studies")

    async def stop(self) -> None:
        if self._task is not None:
            await tasks.cancel([self._task])

    def left(self, study: StudyRef) -> None:
        """Take note of a study that is out of view from now on."""
        self._since.setdefault(study, self._clock.monotonic())

    def left_earlier(self, study: StudyRef) -> None:
        """Take note of a study that was out of view when this edge started."""
        self._since[study] = -math.inf

    def came_back(self, study: StudyRef) -> bool:
        """Take note that a study is in view; return whether it was about to go."""
        return self._since.pop(study, None) is not None

    async def let_go(self, kept_s: float = 0.0) -> bool:
        """Let go of what has been out of view for so long; return whether something went."""
        until = self._clock.monotonic() - kept_s
        went = False
        for study in [study for study, since in self._since.items() if since <= until]:
            try:
                if await self._let_go(study):
                    self._since.pop(study, None)
                    went = True
            except NearframeError as error:  # the next look tries again
                _log.warning("removed_study_not_let_go", error=error)
        return went

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self.let_go(KEPT_S)
