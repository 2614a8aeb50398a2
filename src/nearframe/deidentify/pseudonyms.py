"""What stands for identifiers: the same for the same key, so that a second export fits the first.

Whoever has the key can tell whether an identifier is a certain one, by trying; nobody else can.
"""

from __future__ import annotations

import hmac
import os
import secrets
from base64 import b32encode
from pathlib import Path
from typing import Final

from nearframe.errors import ConfigurationError

_KEY_BYTES: Final = 32
_WORD_BYTES: Final = 10  # 16 characters: as many as SH has room for
_LEAST_DAYS: Final = 365
_MOST_DAYS: Final = 10 * 365


class Pseudonyms:
    """Another identifier for each, by a key.

    Parameters
    ----------
    key
        None for one that is forgotten: nothing is then stable beyond this run.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(_KEY_BYTES)

    def uid(self, uid: str) -> str:
        """Return a UID below 2.25, as of a random UUID (PS3.5 B.2)."""
        number = bytearray(self._digest("uid", uid)[:16])
        number[6] = number[6] & 0x0F | 0x40
        number[8] = number[8] & 0x3F | 0x80
        return f"2.25.{int.from_bytes(number, 'big')}"

    def word(self, kind: str, value: str) -> str:
        """Return 16 letters and digits for an identifier of a kind."""
        return b32encode(self._digest(kind, value)[:_WORD_BYTES]).decode("ascii")

    def days(self, patient: str) -> int:
        """Return by how many days a patient's dates move: into the past, one to ten years."""
        drawn = int.from_bytes(self._digest("days", patient)[:8], "big")
        return -(_LEAST_DAYS + drawn % (_MOST_DAYS - _LEAST_DAYS))

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.digest(self._key, f"nearframe {kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256")


def keyed_pseudonyms(path: Path) -> Pseudonyms:
    """Return the pseudonyms of a key file: 64 hex characters, drawn if the file is not there yet.

    Raises
    ------
    ConfigurationError
        If it cannot be read or written, or holds something else.
    """
    try:
        if not path.exists():
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(f"{secrets.token_hex(_KEY_BYTES)}\n")
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
        if len(key) != _KEY_BYTES:
            raise ValueError
    except OSError as error:
        raise ConfigurationError(f"{path}: no place for a key ({error.strerror})") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is no key: it has 64 hex characters") from error
    return Pseudonyms(key)
