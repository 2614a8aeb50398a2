"""Contents that are read again and again, opened once: framed as they are sent, in bounded memory."""

from __future__ import annotations

import threading
from typing import NamedTuple

from nearframe.cache.sizedlru import SizedLRU
from nearframe.ids import Digest
from nearframe.storage.ports import StudyRef


class OpenedKey(NamedTuple):
    """A content as one study reads it, and what stands around it."""

    study: StudyRef
    digest: Digest
    head: bytes
    tail: bytes


class Opened:
    """What was opened, least recently used out first. Whoever asks has looked up that the study holds it.

    Parameters
    ----------
    capacity_bytes
        Plain bytes held at most; 0 holds nothing.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._lock = threading.Lock()
        self._held: SizedLRU[OpenedKey, bytes] = SizedLRU(capacity_bytes)

    def get(self, key: OpenedKey) -> bytes | None:
        """Return a content in its frame, if it is held."""
        with self._lock:
            return self._held.get(key)

    def put(self, key: OpenedKey, framed: bytes) -> None:
        """Hold a content in its frame."""
        with self._lock:
            self._held.put(key, framed, len(framed))

    def clear(self) -> None:
        """Forget everything: a key was destroyed, and what it opened goes too."""
        with self._lock:
            self._held.clear()
