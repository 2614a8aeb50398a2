"""Keys: a root key wraps tenant keys, which wrap study data keys, which wrap content keys.

A content key is random and wrapped once for every study that holds the content; with the
study's data key goes every content that no other study holds.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import ConfigurationError, IntegrityError
from nearframe.ids import Digest
from nearframe.storage.durable import sync_folder
from nearframe.storage.packs.record import WRAP_NONCE_BYTES
from nearframe.storage.ports import StudyRef

ROOT_KEY_BYTES: Final = 32


def derive(key: bytes, purpose: str) -> bytes:
    """Return an independent key for one purpose (a single HKDF-Expand step, RFC 5869 section 2.3)."""
    return hmac.digest(key, b"nearframe " + purpose.encode() + b"\x01", "sha256")


class WrappedKey(Protocol):
    """A content key under a study's data key: a record's header, or a row of the index."""

    @property
    def key_tag(self) -> bytes: ...

    @property
    def wrap_nonce(self) -> bytes: ...

    @property
    def wrapped(self) -> bytes: ...


class StudyKeys:
    """What one study's data key can do. Immutable; usable from several threads."""

    __slots__ = ("_content_ids", "_wrapping", "key_id")

    def __init__(self, key_id: bytes, data_key: bytes, content_id_key: bytes) -> None:
        self.key_id = key_id
        self._wrapping = AESGCM(data_key)
        self._content_ids = hmac.new(content_id_key, digestmod="sha256")

    def content_id(self, digest: Digest) -> bytes:
        """Return the tenant's id of a content: says nothing of the digest to who lacks the tenant key."""
        state = self._content_ids.copy()
        state.update(digest)
        return state.digest()

    def wrap(self, content_id: bytes, key_tag: bytes, content_key: bytes, digest: Digest) -> tuple[bytes, bytes]:
        """Return a fresh nonce, and the content key and digest wrapped under the study's data key."""
        nonce = secrets.token_bytes(WRAP_NONCE_BYTES)
        return nonce, self._wrapping.encrypt(nonce, content_key + digest, content_id + key_tag + self.key_id)

    def unwrap(self, content_id: bytes, wrap: WrappedKey) -> tuple[bytes, Digest]:
        """Return content key and digest.

        Raises
        ------
        IntegrityError
            If the wrap does not open.
        """
        associated = content_id + wrap.key_tag + self.key_id
        try:
            opened = self._wrapping.decrypt(wrap.wrap_nonce, wrap.wrapped, associated)
        except InvalidTag as error:
            raise IntegrityError("a content key does not open under its study's data key") from error
        return opened[:32], opened[32:]


class KeyRing(Protocol):
    """Custody of study data keys. Usable from several threads."""

    def find(self, study: StudyRef) -> StudyKeys | None:
        """Return the keys of a study, or None if it has none."""
        ...

    def knows(self, study: StudyRef) -> bool:
        """Return whether a study has keys: without them nothing is kept of it."""
        ...

    def ensure(self, study: StudyRef) -> StudyKeys:
        """Return the keys of a study, made and durable if it had none."""
        ...

    def by_id(self, key_id: bytes) -> StudyKeys | None:
        """Return the keys with an id, or None if they were never made or are shredded."""
        ...

    def study_of(self, key_id: bytes) -> StudyRef | None:
        """Return whose keys these are, or None if not known."""
        ...

    def shred(self, study: StudyRef) -> bytes | None:
        """Destroy a study's data key; return the id it had. Gone for good on return.

        After an OSError the key may or may not be gone after a restart: call it again.
        """
        ...

    def settle(self) -> None:
        """Leave no doubt about an operation that failed: what `find` says is durable."""
        ...


def load_root_key(path: Path) -> bytes:
    """Read the root key (64 hex characters), made with mode 0600 if there is no such file.

    Raises
    ------
    ConfigurationError
        If the file holds something else.
    """
    if not path.exists():
        write_root_key(path, secrets.token_bytes(ROOT_KEY_BYTES))
    return read_root_key(path)


def read_root_key(path: Path) -> bytes:
    """Read the root key.

    Raises
    ------
    ConfigurationError
        If there is no such file, or it holds something else.
    """
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError:
        key = b""
    except OSError as error:
        raise ConfigurationError(f"{path}: the root key cannot be read ({error.strerror})") from error
    if len(key) != ROOT_KEY_BYTES:
        raise ConfigurationError(f"{path} is not a root key: 64 hex characters; restore it from its backup")
    return key


def write_root_key(path: Path, key: bytes) -> None:
    """Write a root key where there is none, durably, with mode 0600."""
    # Written aside and linked: a crash leaves a whole key or none, and an existing key is never replaced.
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, key.hex().encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    os.link(fresh, path)
    fresh.unlink()
    sync_folder(path.parent)
