"""Files that only this process can read, and that are gone with it."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

_AES_BLOCK_BYTES = 16
_KEY_BYTES = 32
_WINDOW_BYTES = 64 * 1024  # a parser reads an element header at a time: decrypt ahead of it


class EncryptedFile:
    """An unlinked file under AES-256-CTR: written from the start, then read anywhere.

    The key is used for this file alone and never leaves memory, so the counter starts at
    zero. There is no authentication: nobody else can open the file, and digests are taken
    from what is read back. Any thread may call; calls take turns, so that a late write can
    never reach a descriptor that `close` has freed for another file.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._fd = _open_unlinked(folder)
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


def _open_unlinked(folder: Path) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (OSError, AttributeError):
        # O_TMPFILE is Linux's, and not every file system there has it (NFS, old overlayfs).
        fd, name = tempfile.mkstemp(dir=folder)
        os.unlink(name)  # noqa: PTH108
        return fd
