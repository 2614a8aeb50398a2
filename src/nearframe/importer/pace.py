"""So many bytes a second, by all senders together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """Holds senders back. Any thread may call.

    Parameters
    ----------
    bytes_per_s
        None for as fast as it goes.
    wait
        Sleeps for some seconds, or less if all is over.
    """

    def __init__(
        self,
        bytes_per_s: float | None,
        wait: Callable[[float], object],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._wait = wait
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._free_at = 0.0

    def spend(self, size_bytes: int) -> None:
        """Return when so many bytes more may be sent."""
        if self._bytes_per_s is None:
            return
        with self._lock:
            now = self._monotonic()
            begins = max(self._free_at, now)
            self._free_at = begins + size_bytes / self._bytes_per_s
        if begins > now:
            self._wait(begins - now)
