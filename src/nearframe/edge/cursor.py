"""How far this edge has followed its upstream, kept in a file.

Written after what it stands for is durable, so that a crash repeats a little and misses
nothing. It names the epoch of this edge's own catalogue: after that was restored from a
backup, or lost, the cursor means nothing and everything is followed again.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path

from nearframe.errors import BackendFailed
from nearframe.storage.durable import replace_durably
from nearframe.storage.ports import FeedCursor

_FILE_NAME = "upstream.json"


@dataclass(frozen=True, slots=True)
class Followed:
    """A place in an upstream's feed.

    Attributes
    ----------
    upstream
        URL it was read from.
    local_epoch
        Epoch of this edge's catalogue.
    cursor
        As the upstream writes it.
    """

    upstream: str
    local_epoch: str
    cursor: str


class CursorFile:
    """Keeps one `Followed` in a folder, durably."""

    def __init__(self, home: Path) -> None:
        self._path = home / _FILE_NAME
        # A save whose caller was cancelled may still be running when the next one begins.
        self._saving = threading.Lock()

    def load(self, upstream: str, local_epoch: str) -> str | None:
        """Return the cursor, or None if there is none that still means something."""
        try:
            kept = Followed(**json.loads(self._path.read_bytes()))
            FeedCursor.parse(kept.cursor)
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        return kept.cursor if (kept.upstream, kept.local_epoch) == (upstream, local_epoch) else None

    def save(self, followed: Followed) -> None:
        """Replace what is kept; durable on return.

        Raises
        ------
        BackendFailed
            If the file cannot be written; what was kept stays.
        """
        document = {name: getattr(followed, name) for name in ("upstream", "local_epoch", "cursor")}
        try:
            with self._saving:
                replace_durably(self._path, json.dumps(document).encode())
        except OSError as error:
            raise BackendFailed(f"the feed cursor cannot be written: {error.strerror}") from error
