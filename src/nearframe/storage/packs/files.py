"""The few file operations that packs and keys need, as a port.

`LocalFiles` is the real one; `faulty.FaultyFiles` loses what was not synced. Names are
flat and chosen by us: a number or a constant, never a UID or a digest.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from nearframe.errors import BackendFailed, NoSpace
from nearframe.storage.ports import Buffer

#: The kernel's flag for "from the page cache or not at all"; 0 where the platform has none.
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_errors(needed_bytes: int = 0) -> Iterator[None]:
    """Turn the system's errors into ours.

    Raises
    ------
    NoSpace
        If the disk is full, or the quota used up; `needed_bytes` goes into the message.
    BackendFailed
        For any other error of the disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace(needed_bytes, 0) from error
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        raise BackendFailed(f"the disk refused an operation ({name})") from error


class ReadableFile(Protocol):
    """What is read of a file. Reads may come from several threads, and may raise `OSError`."""

    def size(self) -> int:
        """Return the length in bytes."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` as far as the file goes; return the bytes read."""
        ...


class CachedFile(ReadableFile, Protocol):
    """What is read of a file that may be at hand already."""

    def read_into_nowait(self, offset: int, buffer: memoryview) -> bool:
        """Fill `buffer` whole if nobody has to be waited for; return whether it did."""
        ...


class StoredFile(CachedFile, Protocol):
    """An open file; one thread writes at a time.

    Every operation may raise `OSError`. A write that raised may have left any part of
    its bytes behind.
    """

    def write_at(self, offset: int, buffers: Sequence[Buffer]) -> None:
        """Write all of `buffers`, one after the other. Not durable."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes. Not durable."""
        ...

    def sync(self) -> None:
        """Make contents and size durable. After a failure nothing is known of what was written since."""
        ...


class Files(Protocol):
    """One flat directory. Creation, renaming and removal are durable after `sync`, not before."""

    def names(self) -> list[str]: ...

    def create(self, name: str) -> StoredFile:
        """Create a file that must not exist yet."""
        ...

    def open(self, name: str, *, writable: bool = False) -> StoredFile:
        """Open a file; FileNotFoundError if there is none. It closes with its last reference."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Rename, replacing `new`: after a crash there is the one or the other."""
        ...

    def remove(self, name: str) -> None: ...

    def sync(self) -> None:
        """Make the directory's entries durable."""
        ...

    def free_bytes(self) -> int:
        """Return the space an unprivileged writer may still use."""
        ...


class LocalFile:
    """A file descriptor that closes with its last reference.

    So a reader that still holds the file of a pack removed meanwhile reads on undisturbed,
    and no lock or count stands on the read path.
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __del__(self) -> None:
        os.close(self._fd)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def write_at(self, offset: int, buffers: Sequence[Buffer]) -> None:
        pending = [memoryview(buffer) for buffer in buffers if len(buffer)]
        while pending:
            written = os.pwritev(self._fd, pending, offset)
            if not written:
                raise OSError(errno.EIO, "the file takes no more bytes")
            offset += written
            while pending and written >= len(pending[0]):
                written -= len(pending.pop(0))
            if written:
                pending[0] = pending[0][written:]

    def read_into(self, offset: int, buffer: memoryview) -> int:
        done = os.preadv(self._fd, [buffer], offset)
        while 0 < done < len(buffer):
            more = os.preadv(self._fd, [buffer[done:]], offset + done)
            if not more:
                break
            done += more
        return done

    def read_into_nowait(self, offset: int, buffer: memoryview) -> bool:
        try:
            return os.preadv(self._fd, [buffer], offset, _NOWAIT) == len(buffer)
        except OSError as error:
            # EAGAIN: not in the page cache. EOPNOTSUPP: a file system without the flag.
            if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
                return False
            raise

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def sync(self) -> None:
        os.fdatasync(self._fd)


class LocalFiles:
    """A directory of the local file system, created if need be."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory

    def names(self) -> list[str]:
        with os.scandir(self._directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))

    def create(self, name: str) -> StoredFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return LocalFile(os.open(self._directory / name, flags, 0o600))

    def open(self, name: str, *, writable: bool = False) -> StoredFile:
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC
        return LocalFile(os.open(self._directory / name, flags))

    def rename(self, old: str, new: str) -> None:
        (self._directory / old).rename(self._directory / new)

    def remove(self, name: str) -> None:
        (self._directory / name).unlink()

    def sync(self) -> None:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self) -> int:
        status = os.statvfs(self._directory)
        return status.f_bavail * status.f_frsize
