"""When not to ask: a circuit breaker before the upstream.

Closed, requests pass. After a few failures in a row it opens: requests are refused at once
instead of each waiting for a time-out. While it is open one request is let through every
so often, at growing and jittered intervals; the first that succeeds closes it. The change
feed asks all the time and so is that request, whether or not anybody reads; with several
upstreams the others are probed (`upstream.ranked`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from nearframe.clock import Clock
from nearframe.errors import UpstreamUnavailable

FAILURES_TO_OPEN = 3  # one lost packet is no outage
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class Breaker:
    """Counts failures and says whether to try. For one event loop.

    Attributes
    ----------
    failing
        Set from the first failure to the next success.
    told
        Called when one of the two came, or the breaker opened.
    """

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._try_at = 0.0
        self._well_since: float | None = None
        self.failing = asyncio.Event()
        self.told: Callable[[], None] = lambda: None

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_TO_OPEN

    @property
    def pause_s(self) -> float:
        """Seconds until the next request is let through; 0 while closed."""
        return max(0.0, self._try_at - self._clock.monotonic()) if self.is_open else 0.0

    @property
    def well_s(self) -> float:
        """Seconds since it last began to answer; 0 while it fails, and before its first answer."""
        if self._well_since is None or self.failing.is_set():
            return 0.0
        return self._clock.monotonic() - self._well_since

    def check(self) -> None:
        """Let a request pass, or raise `UpstreamUnavailable`."""
        if not self.is_open:
            return
        if self.pause_s > 0:
            raise UpstreamUnavailable(
                "the upstream cannot be reached; what this edge holds is served, the rest when the line is back"
            )
        self._schedule()  # this request is the probe; others wait for the next

    def succeeded(self) -> None:
        """The upstream answered."""
        if self._failures or self._well_since is None:
            self._failures, self._well_since = 0, self._clock.monotonic()
            self.failing.clear()
            self.told()

    def failed(self) -> None:
        """The upstream could not be reached, or did not answer in time."""
        self._failures += 1
        self._well_since = None
        self.failing.set()
        if self.is_open:
            self._schedule()
        if self._failures in (1, FAILURES_TO_OPEN):
            self.told()

    def _schedule(self) -> None:
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(10, self._failures - FAILURES_TO_OPEN))
        # Full jitter would let a whole region of edges back at once less often, and probe less: half is kept.
        self._try_at = self._clock.monotonic() + pause * (0.5 + self._rng.random() / 2)
