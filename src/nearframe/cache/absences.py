"""Negative answers, remembered for seconds: what is not there is not asked for again and again."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from nearframe.cache.sizedlru import SizedLRU

K = TypeVar("K", bound=Hashable)

TTL_S: Final = 5.0
KEPT: Final = 10_000  # some 300 bytes each; a storm of wrong questions puts out nothing but older ones


class Absences(Generic[K]):
    """What was found to be absent, each for a few seconds. For one event loop.

    Every absence has a witness: the state of things under which it was found. With another
    witness, or after the witness is gone, it counts no more.
    """

    def __init__(self, ttl_s: float = TTL_S, most: int = KEPT, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._monotonic = monotonic
        self._known: SizedLRU[K, tuple[weakref.ref[object], float]] = SizedLRU(most)

    def __len__(self) -> int:
        return len(self._known)

    def note(self, key: K, witness: object) -> None:
        """Remember that `key` is absent."""
        self._known.put(key, (weakref.ref(witness), self._monotonic() + self._ttl_s), 1)

    def holds(self, key: K, witness: object) -> bool:
        """Return whether `key` is known to be absent."""
        known = self._known.get(key)
        if known is None:
            return False
        if known[0]() is witness and self._monotonic() < known[1]:
            return True
        self._known.discard(key)
        return False
