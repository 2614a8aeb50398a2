"""What an interrupted import has already sent, so that the next run goes on from there.

It belongs to one target and is deleted when an import into it is complete. The first line
is a hash of the archive's identity, since the next archive at the same URL has been sent
nothing; then one line per file, a hash of its path, size and time of change. It names nobody.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from nearframe.errors import ConfigurationError

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
        Its URL and the tenant.
    archive
        What tells this archive from an earlier one at that URL: a journal of another begins anew.

    Raises
    ------
    ConfigurationError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, *target: str, archive: str = "") -> None:
        self.path = folder / f"import-{_hash(*target)[:16]}.journal"
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+", encoding="ascii", errors="replace")
        except OSError as error:
            raise ConfigurationError(
                f"{folder}: no place to remember the import ({error.strerror}); --state names another folder"
            ) from error
        self._sent = self._read(f"{_hash(archive)}\n")

    def _read(self, head: str) -> set[str]:
        self._file.seek(0)
        if self._file.readline() != head:
            self._file.truncate(0)
            self._file.write(head)
            self._file.flush()
        # A line that a crash cut short is a file sent again.
        return {line[:_KEY_CHARS] for line in self._file if len(line) == _KEY_CHARS + 1}

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


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:_KEY_CHARS]
