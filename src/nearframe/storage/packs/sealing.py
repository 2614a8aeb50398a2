"""Making content records: a key for the content, its form, its sealed chunks."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import IntegrityError
from nearframe.ids import Digest
from nearframe.storage.packs.keys import StudyKeys, WrappedKey
from nearframe.storage.packs.opening import form_of
from nearframe.storage.packs.record import (
    KEY_TAG_BYTES,
    NONCE_PREFIX_BYTES,
    Coding,
    Flags,
    RecordHeader,
    RecordType,
)
from nearframe.storage.packs.seal import compress, seal, sealed_length
from nearframe.storage.ports import Buffer, ContentKind
from nearframe.units import MIB

#: Contents above this are sealed chunk by chunk into a pack of their own, so that memory
#: stays bounded and a slow source holds up nobody.
OWN_PACK_BYTES: Final = 8 * MIB
#: Header blobs above this are stored as they are: they are compressed in memory.
_COMPRESS_BYTES: Final = 16 * MIB


def new_content(
    keys: StudyKeys, content_id: bytes, digest: Digest, known: tuple[bytes, bytes, WrappedKey | None] | None = None
) -> tuple[RecordHeader, bytes]:
    """Return a content record without its content, and the content key.

    Parameters
    ----------
    known
        Key tag and key of a damaged content that is stored again, and the study's wrap of it if it
        has one: the key stays, so that every study that holds the content reads it again. The nonces
        of the chunks are new in any case.
    """
    if known is None:
        key_tag, content_key, wrap = secrets.token_bytes(KEY_TAG_BYTES), AESGCM.generate_key(256), None
    else:
        key_tag, content_key, wrap = known
    if wrap is not None:
        nonce, wrapped = wrap.wrap_nonce, wrap.wrapped
    else:
        nonce, wrapped = keys.wrap(content_id, key_tag, content_key, digest)
    header = RecordHeader(
        RecordType.CONTENT,
        content_id=content_id,
        key_tag=key_tag,
        nonce_prefix=secrets.token_bytes(NONCE_PREFIX_BYTES),
        study_key_id=keys.key_id,
        wrap_nonce=nonce,
        wrapped=wrapped,
        flags=Flags.WRAPPED,
    )
    return header, content_key


def seal_content(
    header: RecordHeader, content_key: bytes, kind: ContentKind, size: int, chunks: Iterable[Buffer], chunk_log2: int
) -> tuple[RecordHeader, Iterator[bytes]]:
    """Return the whole header of a content, and its sealed chunks as they are asked for.

    Raises
    ------
    IntegrityError
        If `chunks` do not add up to `size`: now, or when the chunks are asked for.
    """
    coding, coded_length = Coding.NONE, size
    if kind is ContentKind.HEADER and size <= _COMPRESS_BYTES:
        coding, coded = _compressed(size, b"".join(chunks))
        coded_length, chunks = len(coded), [coded]
    header = header._replace(
        kind=kind,
        coding=coding,
        chunk_log2=chunk_log2,
        plain_length=size,
        stored_length=sealed_length(coded_length, chunk_log2),
    )
    return header, seal(AESGCM(content_key), form_of(header), chunks)


class OneAtATime:
    """Two senders of the same content: the second waits, then finds it held."""

    def __init__(self, lock: threading.RLock) -> None:
        self._storing: set[bytes] = set()
        self._stored = threading.Condition(lock)

    @contextmanager
    def storing(self, content_id: bytes) -> Iterator[None]:
        """Be the only one that stores a content."""
        with self._stored:
            while content_id in self._storing:
                self._stored.wait()
            self._storing.add(content_id)
        try:
            yield
        finally:
            with self._stored:
                self._storing.remove(content_id)
                self._stored.notify_all()


def _compressed(size: int, plain: bytes) -> tuple[Coding, bytes]:
    if len(plain) != size:
        raise IntegrityError("a content is not as long as announced")
    coded = compress(plain)
    return (Coding.ZSTD, coded) if len(coded) < size else (Coding.NONE, plain)
