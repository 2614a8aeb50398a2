"""A scanner that stores by C-STORE at whichever origin it finds, and sends again what was not acknowledged."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

from nearframe.dimse.channel import Timeouts
from nearframe.dimse.scu import Peer, associate
from nearframe.dimse.status import Status
from nearframe.errors import UpstreamError
from tests.drills.series import CONTEXTS, Series

#: Shorter than the standstills of an origin: a scanner has a next patient.
_TIMEOUTS: Final = Timeouts(connect_s=2, associate_s=5, answer_s=15)


class Modality:
    """Stores one series after the other.

    Attributes
    ----------
    answers
        Statuses, and ``"none"`` for associations that were refused or broke.
    """

    def __init__(self, peers: Sequence[Peer], series: Sequence[Series], rng: random.Random) -> None:
        self._peers = peers
        self._series = series
        self._rng = rng
        self.answers = Counter[str]()

    async def run(self) -> None:
        while True:
            await self._send_some()
            await asyncio.sleep(self._rng.uniform(0.0, 0.3))

    async def finish(self) -> None:
        """Send until all that was ever sent is acknowledged."""
        while self._pending():
            await self._send_some()

    async def _send_some(self) -> None:
        """Send a few objects on one association: what waits to be sent again, then new ones."""
        known = [(series, uid) for series in self._series for uid in series.acknowledged]
        fresh = [(series, uid) for series in self._series for uid, times in series.sent.items() if not times]
        some = [*self._pending(), *fresh][: self._rng.randrange(1, 6)]
        if known and self._rng.random() < 0.2:
            some.append(self._rng.choice(known))  # scanners send again what they know is there
        try:
            async with associate(self._rng.choice(self._peers), CONTEXTS, timeouts=_TIMEOUTS) as user:
                for series, uid in some:
                    status = await series.store(user, uid)
                    self.answers[f"{status:04X}"] += 1
        except UpstreamError:
            self.answers["none"] += 1

    def _pending(self) -> list[tuple[Series, str]]:
        return [
            (series, uid)
            for series in self._series
            for uid, times in series.sent.items()
            if times and uid not in series.acknowledged
        ]


#: Done, or to be tried again: a failure of the archive, of which the object knows nothing (PS3.4 Table B.2-1).
RETRYABLE: Final = {f"{Status.SUCCESS:04X}", f"{Status.OUT_OF_RESOURCES:04X}", "none"}
