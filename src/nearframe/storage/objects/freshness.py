"""How long what was looked up may be believed where others change it too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from nearframe.clock import Clock

#: For so long an origin may go on reading what another one took away.
STALE_S: Final = 1.0


class Freshness:
    """Asks for a number that goes up with every change that matters, at most once in `STALE_S`.

    Parameters
    ----------
    read
        Returns that number; asks the database.
    on_change
        Called when it is another one.
    """

    def __init__(self, read: Callable[[], int], clock: Clock, on_change: Callable[[], None]) -> None:
        self._read = read
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._until = -1.0
        self._ended = 0
        self.generation = read()

    def is_fresh(self) -> bool:
        """Return whether `generation` may be believed now; asks nobody."""
        return self._clock.monotonic() < self._until

    def refresh(self) -> None:
        """Ask, unless that was done just now."""
        if self.is_fresh():
            return
        with self._lock:
            if self.is_fresh():
                return
            until, ended = self._clock.monotonic() + STALE_S, self._ended  # counted from before the question
            generation = self._read()
            if generation != self.generation:
                self.generation = generation
                self._on_change()
            if ended == self._ended:  # else something changed here after the answer
                self._until = until

    def end(self) -> None:
        """Ask the next time, whenever that is: something has just changed here."""
        self._ended += 1
        self._until = -1.0
