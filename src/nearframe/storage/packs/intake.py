"""Taking contents in: sealing, storing once per tenant, referencing for every study that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from nearframe.errors import Busy, ConfigurationError, IntegrityError
from nearframe.ids import Digest
from nearframe.storage.packs.files import disk_errors
from nearframe.storage.packs.keys import KeyRing, StudyKeys
from nearframe.storage.packs.ledger import Ledger
from nearframe.storage.packs.record import RecordHeader, RecordType
from nearframe.storage.packs.sealing import OWN_PACK_BYTES, OneAtATime, new_content, seal_content
from nearframe.storage.packs.segments import Segments
from nearframe.storage.packs.tables import Entry
from nearframe.storage.packs.writer import Writer
from nearframe.storage.ports import Buffer, ContentKind
from nearframe.units import GIB, MIB


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
    last_bytes
        What is kept free of the reserve in any case: without it a catalogue cannot commit.
    memory_bytes
        For contents that are read again and again, held opened; 0 for none.
    """

    segment_bytes: int = 128 * MIB
    chunk_bytes: int = MIB
    reserve_bytes: int = GIB
    memory_bytes: int = 0
    last_bytes: int = 0

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
        self._alone = OneAtATime(writer.lock)

    def append(
        self,
        keys: StudyKeys,
        kind: ContentKind,
        digest: Digest,
        size: int,
        chunks: Iterable[Buffer],
        *,
        into_reserve: bool = False,
    ) -> bool:
        """Store a content, or only a reference; see `ContentStore.append`."""
        content_id = keys.content_id(digest)
        with self._alone.storing(content_id):
            if self.reference(keys, content_id, digest, into_reserve=into_reserve):
                with self._writer.lock:
                    self.reused_bytes += size
                return False
            self._store(keys, content_id, digest, kind, size, chunks, into_reserve)
            return True

    def reference(self, keys: StudyKeys, content_id: bytes, digest: Digest, *, into_reserve: bool = False) -> bool:
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
            self._writer.write(wrap, into_reserve=into_reserve)
            self.dedupe_hits += 1
            return True

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
        into_reserve: bool,
    ) -> None:
        header, content_key = self._new_record(keys, content_id, digest)
        header, sealed = seal_content(header, content_key, kind, size, chunks, self._settings.chunk_log2)
        if header.length <= min(OWN_PACK_BYTES, self._settings.segment_bytes):
            body = list(sealed)
            with self._writer.lock:
                self._check_not_shredded(keys)
                self._writer.write(header, body, into_reserve=into_reserve)
        else:
            self._store_apart(keys, header, sealed)

    def _new_record(self, keys: StudyKeys, content_id: bytes, digest: Digest) -> tuple[RecordHeader, bytes]:
        with self._writer.lock:
            damaged = self._ledger.entry(content_id)
            known_key = None if damaged is None else self._content_key(content_id, damaged)
            if damaged is None or known_key is None:
                return new_content(keys, content_id, digest)
            wrap = self._ledger.wrap(keys.key_id, content_id)
            return new_content(keys, content_id, digest, (damaged.key_tag, known_key, wrap))

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
