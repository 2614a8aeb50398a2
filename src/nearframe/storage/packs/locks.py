"""Who may do what with the packs of a home, between processes: locks that end with their holder.

One process owns a store. Others may copy its packs beside it (`standing`): meanwhile none is
removed. Packs are otherwise only added and appended to.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nearframe.errors import Busy, ConfigurationError
from nearframe.storage.packs.files import disk_errors


def own(home: Path) -> int:
    """Lock the store's directory for this process; the descriptor returned holds the lock.

    Raises
    ------
    ConfigurationError
        If another process owns it.
    """
    directory = home / "packs"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = _open(directory / "lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise ConfigurationError(
            f"another process works in {home}; stop it, or give this one another --home"
        ) from error
    return fd


def is_owned(home: Path) -> bool:
    """Return whether a process owns the store now."""
    try:
        fd = os.open(home / "packs" / "lock", os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def removing_packs(home: Path) -> Iterator[None]:
    """Hold the right to remove packs.

    Raises
    ------
    Busy
        While another process copies them.
    """
    fd = _open(_copying(home))
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy("the packs are being backed up; none is removed meanwhile") from error
        yield
    finally:
        os.close(fd)


@contextmanager
def keeping_packs(home: Path) -> Iterator[None]:
    """Keep every pack where it is; waits until a compaction that runs has ended."""
    fd = _open(_copying(home))
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def _copying(home: Path) -> Path:
    return home / "packs" / "copying"


def _open(path: Path) -> int:
    with disk_errors():
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
