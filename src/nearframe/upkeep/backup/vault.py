"""Where backups are kept: a port, and a directory behind it."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from nearframe.errors import Busy, ConfigurationError, NotFound
from nearframe.storage.durable import replace_durably
from nearframe.storage.packs.files import disk_errors

#: Names are ours: a digest or a time in hex, letters and full stops, below one of a few prefixes.
_NAME: Final = re.compile(r"[a-z]+/[0-9A-Za-z.]+")
_FOLDER_CHARS: Final = 2  # of a name are a folder of their own: a million blobs make 256 folders of 4,000


class Vault(Protocol):
    """Named blobs, each whole or not there. One writer at a time."""

    def put(self, name: str, data: bytes) -> bool:
        """Keep a blob, durably on return; True if it was written, False if the name was there already.

        Raises
        ------
        NoSpace, BackendFailed
            If it is not kept.
        """
        ...

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return a blob, or bytes ``start:stop`` of it.

        Raises
        ------
        NotFound
            If there is none of that name.
        BackendFailed
            If it cannot be read.
        """
        ...

    def names(self, prefix: str) -> list[str]:
        """Return the names below a prefix, in order."""
        ...

    def remove(self, name: str) -> None:
        """Remove a blob; one that is not there is removed already."""
        ...


class DirectoryVault:
    """A vault in a directory, for the time of a block.

    Parameters
    ----------
    create
        Make the directory if there is none, and be its only writer.

    Raises
    ------
    ConfigurationError
        If there is no such directory, or it cannot be made.
    Busy
        If another process writes to it.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self._folder = folder
        self._lock = -1
        try:
            if create:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            elif not folder.is_dir():
                raise ConfigurationError(f"{folder}: there is no such folder of backups")
        except BlockingIOError as error:
            self.close()
            raise Busy(f"another backup into {folder} is under way; try again when it has ended") from error
        except OSError as error:
            self.close()
            raise ConfigurationError(f"{folder}: {error.strerror}; name a folder for backups") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def put(self, name: str, data: bytes) -> bool:
        path = self._path(name)
        with disk_errors(len(data)):
            if path.exists():
                return False
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_durably(path, data)
        return True

    def get(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        path = self._path(name)
        with disk_errors():
            if not path.is_file():
                raise NotFound("blob in the backup")
            with path.open("rb") as file:
                file.seek(start)
                return file.read(-1 if stop is None else max(stop - start, 0))

    def names(self, prefix: str) -> list[str]:
        with disk_errors():
            found = (path for path in (self._folder / prefix).glob("*/*") if not path.name.endswith(".new"))
            return sorted(f"{prefix}/{path.name}" for path in found)

    def remove(self, name: str) -> None:
        with disk_errors():
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError("not a name of a vault")
        prefix, _, own = name.partition("/")
        return self._folder / prefix / own[-_FOLDER_CHARS:] / own
