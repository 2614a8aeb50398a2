"""What an interrupted import has already sent, so that the next run goes on from there.

One line per file, a hash of its path, size and time of change: the journal names nobody.
It belongs to one target and is deleted when an import into it is complete.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

_KEY_CHARS = 32


def default_folder() -> Path:
    """Return where journals are kept (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state else Path.home() / ".local" / "state") / "nearframe"


class Journal:
    """The files sent to one target. Any thread may add.

    Parameters
    ----------
    target
        What identifies the target: its URL, the tenant, and the server's own identity if it tells.
    """

    def __init__(self, folder: Path, *target: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256("\0".join(target).encode()).hexdigest()[:16]
        self.path = folder / f"import-{digest}.journal"
        self._lock = threading.Lock()
        self._file = self.path.open("a+", encoding="ascii", errors="replace")
        self._file.seek(0)
        # A line that a crash cut short is a file sent again.
        self._sent = {line[:_KEY_CHARS] for line in self._file if len(line) == _KEY_CHARS + 1}

    def __contains__(self, key: str) -> bool:
        return key in self._sent

    def add(self, keys: Iterable[str]) -> None:
        """Remember that these were stored."""
        with self._lock:
            self._file.writelines(f"{key}\n" for key in keys)
            self._file.flush()

    def forget(self) -> None:
        """Delete the journal: there is nothing left to resume."""
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
