"""Files that only this process can read, and that are gone with it."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from nearframe.errors import BackendFailed, NoSpace
from nearframe.units import MIB

_AES_BLOCK_BYTES = 16
_KEY_BYTES = 32
_WINDOW_BYTES = 64 * 1024  # a parser reads an element header at a time: decrypt ahead of it
_LOOK_EVERY_BYTES = 16 * MIB  # between looks at the free space while a file grows


class EncryptedFile:
    """An unlinked file under AES-256-CTR: written from the start, then read anywhere.

    The key is used for this file alone and never leaves memory, so the counter starts at
    zero. There is no authentication: nobody else can open the file, and digests are taken
    from what is read back. Any thread may call; calls take turns, so that a late write can
    never reach a descriptor that `close` has freed for another file.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._fd = open_unlinked(folder)
        self._key = AES(os.urandom(_KEY_BYTES))
        self._encryptor = Cipher(self._key, CTR(bytes(_AES_BLOCK_BYTES))).encryptor()
        self._window_start = 0
        self._window = b""

    def write(self, data: bytes | bytearray) -> None:
        """Append `data`.

        Raises
        ------
        OSError
            As the file system says; what was written before stays readable.
        """
        with self._lock:
            rest = memoryview(self._encryptor.update(data))
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes, or those there are."""
        with self._lock:
            if length >= _WINDOW_BYTES:
                return self._decrypt(offset, length)
            if not self._window_start <= offset <= self._window_start + len(self._window) - length:
                self._window_start, self._window = offset, self._decrypt(offset, _WINDOW_BYTES)
            at = offset - self._window_start
            return self._window[at : at + length]

    def close(self) -> None:
        """Give the disk space back."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _decrypt(self, offset: int, length: int) -> bytes:
        block, skip = divmod(offset, _AES_BLOCK_BYTES)
        sealed = os.pread(self._fd, length + skip, offset - skip)
        counter = block.to_bytes(_AES_BLOCK_BYTES, "big")
        return Cipher(self._key, CTR(counter)).decryptor().update(sealed)[skip:]


class ScratchFile(EncryptedFile):
    """An encrypted file that stays clear of the disk's reserve."""

    def __init__(self, folder: ScratchFolder) -> None:
        self._folder = folder
        self._until_look_bytes = 0
        with _disk_errors():
            super().__init__(folder.path)

    def write(self, data: bytes | bytearray) -> None:
        """Append `data`.

        Raises
        ------
        NoSpace
            If the disk is full, or the reserve would be touched.
        BackendFailed
            If the disk refuses.
        """
        self._until_look_bytes -= len(data)
        if self._until_look_bytes < 0:
            self._folder.check_space(len(data))
            self._until_look_bytes = _LOOK_EVERY_BYTES
        with _disk_errors(len(data)):
            super().write(data)


class ScratchFolder:
    """Where one process puts what does not fit memory. What an earlier one left there is removed.

    Parameters
    ----------
    reserve_bytes
        Free space of the file system that is never touched.
    """

    def __init__(self, path: Path, reserve_bytes: int = 0) -> None:
        self.path = path
        self._reserve_bytes = reserve_bytes
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_leftovers(path)

    def open(self) -> ScratchFile:
        """Return an empty file.

        Raises
        ------
        NoSpace, BackendFailed
            If there can be none.
        """
        self.check_space(0)
        return ScratchFile(self)

    def check_space(self, needed_bytes: int) -> None:
        """Refuse what would touch the reserve.

        Raises
        ------
        NoSpace
        """
        check_space(self.path, needed_bytes, self._reserve_bytes)


def check_space(folder: Path, needed_bytes: int, reserve_bytes: int = 0) -> None:
    """Refuse what would leave less than `reserve_bytes` free on the disk of a folder.

    Raises
    ------
    NoSpace
    """
    state = os.statvfs(folder)
    free_bytes = state.f_bavail * state.f_frsize - reserve_bytes
    if needed_bytes > free_bytes:
        raise NoSpace(needed_bytes, max(free_bytes, 0))


def remove_leftovers(folder: Path) -> None:
    """Remove the files in a folder, if there is one: names that a crash kept from being unlinked at once."""
    with contextlib.suppress(FileNotFoundError):
        for left in folder.iterdir():
            if left.is_file():
                left.unlink()


@contextlib.contextmanager
def _disk_errors(needed_bytes: int = 0) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(needed_bytes, 0) from error
        raise BackendFailed(f"a scratch file cannot be written ({error.strerror})") from error


def open_unlinked(folder: Path) -> int:
    """Open a new file that has no name; it is gone with its descriptor."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (OSError, AttributeError):
        # O_TMPFILE is Linux's, and not every file system there has it (NFS, old overlayfs).
        fd, name = tempfile.mkstemp(dir=folder)
        os.unlink(name)  # noqa: PTH108
        return fd
