"""When not to ask: a circuit breaker before the upstream.

Closed, requests pass. After a few failures in a row it opens: requests are refused at once
instead of each waiting for a time-out. While it is open one request is let through every
so often, at growing and jittered intervals; the first that succeeds closes it. The change
feed asks all the time and so is that request, whether or not anybody reads.
"""

from __future__ import annotations

import random

from nearframe.clock import Clock
from nearframe.errors import UpstreamUnavailable

FAILURES_TO_OPEN = 3  # one lost packet is no outage
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class Breaker:
    """Counts failures and says whether to try. For one event loop."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._try_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURES_TO_OPEN

    @property
    def pause_s(self) -> float:
        """Seconds until the next request is let through; 0 while closed."""
        return max(0.0, self._try_at - self._clock.monotonic()) if self.is_open else 0.0

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
        self._failures = 0

    def failed(self) -> None:
        """The upstream could not be reached, or did not answer in time."""
        self._failures += 1
        if self.is_open:
            self._schedule()

    def _schedule(self) -> None:
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(10, self._failures - FAILURES_TO_OPEN))
        # Full jitter would let a whole region of edges back at once less often, and probe less: half is kept.
        self._try_at = self._clock.monotonic() + pause * (0.5 + self._rng.random() / 2)
