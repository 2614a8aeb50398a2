"""Work on an archive that comes round: what it is, and how each piece stands or ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nearframe.clock import Clock

#: Said by work that is under way: how far it is, in words.
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Round:
    """A piece of work.

    Attributes
    ----------
    every_s
        Between two of them; what is asked for begins at once.
    run
        Does it, in a thread of the lowest priority, and returns what came of it, in words.
    waits
        Whether there is something to do before it is due: what another process left to this one.
    """

    name: str
    every_s: float
    run: Callable[[Tell], str]
    waits: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class RoundState:
    """How a piece of work stands, or ended last.

    Attributes
    ----------
    words
        How far it is, or what came of it; what went wrong if it `failed`.
    """

    is_running: bool = False
    started_at: datetime | None = None
    finished_at: datetime | None = None
    words: str = ""
    failed: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "running": self.is_running,
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
            "words": self.words,
            "failed": self.failed,
        }


class RoundBook:
    """How every piece of work stands. Any thread may call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._states: dict[str, RoundState] = {}

    def __getitem__(self, name: str) -> RoundState:
        return self._states.get(name, RoundState())

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Return how all that is known here stands."""
        with self._lock:
            states = dict(self._states)
        return {name: state.as_json() for name, state in states.items()}

    def failures(self) -> dict[str, str]:
        """Return what went wrong last, by the name of the work."""
        with self._lock:
            return {name: state.words for name, state in self._states.items() if state.failed}

    def know(self, name: str) -> None:
        """Know a piece of work before it first begins."""
        self._change(name)

    def begin(self, name: str) -> None:
        self._change(name, is_running=True, started_at=self._clock.now(), words="", failed=False)

    def tell(self, name: str, words: str) -> None:
        """Say how far it is."""
        self._change(name, words=words)

    def end(self, name: str, words: str, *, failed: bool = False) -> None:
        self._change(name, is_running=False, finished_at=self._clock.now(), words=words, failed=failed)

    def _change(self, name: str, **changes: Any) -> None:
        with self._lock:
            self._states[name] = replace(self._states.get(name, RoundState()), **changes)
