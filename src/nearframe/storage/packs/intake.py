"""Taking contents in: sealing, storing once per tenant, referencing for every study that holds them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import Busy, ConfigurationError, IntegrityError
from nearframe.ids import Digest
from nearframe.storage.packs.files import disk_errors
from nearframe.storage.packs.keys import KeyRing, StudyKeys
from nearframe.storage.packs.ledger import Ledger
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
from nearframe.storage.packs.segments import Segments
from nearframe.storage.packs.tables import Entry
from nearframe.storage.packs.writer import Writer
from nearframe.storage.ports import Buffer, ContentKind
from nearframe.units import GIB, MIB

#: Contents above this are sealed chunk by chunk into a pack of their own, so that memory
#: stays bounded and a slow source holds up nobody.
_OWN_SEGMENT_BYTES: Final = 8 * MIB
#: Header blobs above this are stored as they are: they are compressed in memory.
_COMPRESS_BYTES: Final = 16 * MIB


@dataclass(frozen=True, slots=True)
class PackSettings:
    """Sizes of a store.

    Attributes
    ----------
    segment_bytes
        Size at which a pack is closed.
    chunk_bytes
        Plain bytes sealed together, a power of two: a range read opens whole chunks.
    reserve_bytes
        Free disk space below which nothing more is taken in.
    memory_bytes
        For contents that are read again and again, held opened; 0 for none.
    """

    segment_bytes: int = 128 * MIB
    chunk_bytes: int = MIB
    reserve_bytes: int = GIB
    memory_bytes: int = 0

    def __post_init__(self) -> None:
        if self.chunk_bytes < 256 or self.chunk_bytes & (self.chunk_bytes - 1):
            raise ConfigurationError("chunk_bytes must be a power of two, at least 256")

    @property
    def chunk_log2(self) -> int:
        return self.chunk_bytes.bit_length() - 1


class Intake:
    """Stores contents for studies whose keys are at hand. Usable from several threads."""

    def __init__(
        self, settings: PackSettings, segments: Segments, keys: KeyRing, ledger: Ledger, writer: Writer
    ) -> None:
        self.dedupe_hits = 0
        self.reused_bytes = 0
        self._settings = settings
        self._segments = segments
        self._keys = keys
        self._ledger = ledger
        self._writer = writer
        self._storing: set[bytes] = set()
        self._stored = threading.Condition(writer.lock)

    def append(self, keys: StudyKeys, kind: ContentKind, digest: Digest, size: int, chunks: Iterable[Buffer]) -> bool:
        """Store a content, or only a reference; see `ContentStore.append`."""
        content_id = keys.content_id(digest)
        with self._storing_alone(content_id):
            if self.reference(keys, content_id, digest):
                with self._writer.lock:
                    self.reused_bytes += size
                return False
            self._store(keys, content_id, digest, kind, size, chunks)
            return True

    def reference(self, keys: StudyKeys, content_id: bytes, digest: Digest) -> bool:
        """Make a study hold a content that its tenant holds; return whether it does now."""
        with self._writer.lock:
            entry = self._ledger.entry(content_id)
            if entry is None or not entry.readable:
                return False
            if self._ledger.wrap(keys.key_id, content_id) is not None:
                return True
            content_key = self._content_key(content_id, entry)
            if content_key is None:
                return False
            self._check_not_shredded(keys)
            nonce, wrapped = keys.wrap(content_id, entry.key_tag, content_key, digest)
            wrap = RecordHeader(
                RecordType.WRAP,
                content_id=content_id,
                key_tag=entry.key_tag,
                study_key_id=keys.key_id,
                wrap_nonce=nonce,
                wrapped=wrapped,
            )
            self._writer.write(wrap)
            self.dedupe_hits += 1
            return True

    @contextmanager
    def _storing_alone(self, content_id: bytes) -> Iterator[None]:
        """Two senders of the same content: the second waits, then finds it held."""
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

    def _content_key(self, content_id: bytes, entry: Entry) -> bytes | None:
        """Return the key of a content, by the wrap of any study that holds it."""
        for key_id in self._ledger.holders_of(content_id, entry):
            keys, wrap = self._keys.by_id(key_id), self._ledger.wrap(key_id, content_id)
            if keys is not None and wrap is not None:
                with suppress(IntegrityError):
                    return keys.unwrap(content_id, wrap)[0]
        return None

    def _store(
        self,
        keys: StudyKeys,
        content_id: bytes,
        digest: Digest,
        kind: ContentKind,
        size: int,
        chunks: Iterable[Buffer],
    ) -> None:
        coding, coded_length = Coding.NONE, size
        if kind is ContentKind.HEADER and size <= _COMPRESS_BYTES:
            coding, coded = _compressed(size, b"".join(chunks))
            coded_length, chunks = len(coded), [coded]
        header, content_key = self._new_record(keys, content_id, digest)
        header = header._replace(
            kind=kind,
            coding=coding,
            chunk_log2=self._settings.chunk_log2,
            plain_length=size,
            stored_length=sealed_length(coded_length, self._settings.chunk_log2),
        )
        sealed = seal(AESGCM(content_key), form_of(header), chunks)
        if header.length <= min(_OWN_SEGMENT_BYTES, self._settings.segment_bytes):
            body = list(sealed)
            with self._writer.lock:
                self._check_not_shredded(keys)
                self._writer.write(header, body)
        else:
            self._store_apart(keys, header, sealed)

    def _new_record(self, keys: StudyKeys, content_id: bytes, digest: Digest) -> tuple[RecordHeader, bytes]:
        """Return a content record without its content, and the content key.

        A damaged content keeps its key, so that every study that holds it reads it again. The
        nonces of the chunks are new in any case.
        """
        key_tag, content_key = secrets.token_bytes(KEY_TAG_BYTES), AESGCM.generate_key(256)
        wrap = None
        with self._writer.lock:
            damaged = self._ledger.entry(content_id)
            known_key = None if damaged is None else self._content_key(content_id, damaged)
            if damaged is not None and known_key is not None:
                key_tag, content_key = damaged.key_tag, known_key
                wrap = self._ledger.wrap(keys.key_id, content_id)
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

    def _store_apart(self, keys: StudyKeys, header: RecordHeader, sealed: Iterator[bytes]) -> None:
        """Write a large content as a pack of its own; the lock is held only to publish it."""
        self._writer.check_space(header.length)
        with disk_errors(header.length):
            draft = self._segments.draft(self._writer.reserve_number())
            try:
                offset = draft.append([header.encode()])
                for part in sealed:
                    draft.append([part])
                draft.sync()
                with self._writer.lock:
                    self._check_not_shredded(keys)
                    self._writer.publish(draft, [(header, offset)])
            finally:
                draft.discard()

    def _check_not_shredded(self, keys: StudyKeys) -> None:
        if self._keys.by_id(keys.key_id) is None:
            raise Busy("the study was shredded while this content was taken in; send it again")


def _compressed(size: int, plain: bytes) -> tuple[Coding, bytes]:
    if len(plain) != size:
        raise IntegrityError("a content is not as long as announced")
    coded = compress(plain)
    return (Coding.ZSTD, coded) if len(coded) < size else (Coding.NONE, plain)
