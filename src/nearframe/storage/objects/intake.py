"""Taking contents in: sealing, storing once per tenant, referencing for every study that holds them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from nearframe.errors import Busy, IntegrityError
from nearframe.ids import Digest
from nearframe.storage.objects.index import Found, ObjectIndex, StudyWrap
from nearframe.storage.objects.keyring import TableKeyRing
from nearframe.storage.objects.proving import holders
from nearframe.storage.objects.recording import NewContent, Reference
from nearframe.storage.objects.writing import Writer
from nearframe.storage.packs.keys import StudyKeys
from nearframe.storage.packs.sealing import OWN_PACK_BYTES, OneAtATime, new_content, seal_content
from nearframe.storage.ports import Buffer, ContentKind
from nearframe.units import GIB, MIB


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """Sizes of a store.

    Attributes
    ----------
    object_bytes
        At which an object is full; memory for about ten of them is used while many senders are busy.
    chunk_log2
        Of the plain bytes sealed together.
    cache_bytes
        Of the local disk, for what was read and written lately.
    memory_bytes
        For contents that are read again and again, held opened; 0 for none.
    """

    object_bytes: int = 16 * MIB
    chunk_log2: int = 20
    cache_bytes: int = 8 * GIB
    memory_bytes: int = 0


class Intake:
    """Stores contents for studies whose keys are at hand. Usable from several threads."""

    def __init__(self, index: ObjectIndex, keys: TableKeyRing, writer: Writer, settings: ObjectSettings) -> None:
        self.dedupe_hits = 0
        self.reused_bytes = 0
        self._index = index
        self._keys = keys
        self._writer = writer
        self._settings = settings
        self._alone = OneAtATime(writer.lock)

    def append(self, keys: StudyKeys, kind: ContentKind, digest: Digest, size: int, chunks: Iterable[Buffer]) -> bool:
        """Store a content, or only a reference; see `ContentStore.append`."""
        content_id = keys.content_id(digest)
        with self._alone.storing(content_id):
            found, is_held = self._index.find(keys.key_id, content_id)
            if self._reference(keys, content_id, digest, found, is_held):
                with self._writer.lock:
                    self.reused_bytes += size
                return False
            self._store(keys, content_id, digest, kind, size, chunks, found, is_held)
            return True

    def adopt(self, keys: StudyKeys, digests: Iterable[Digest]) -> list[Digest]:
        """Reference what the tenant holds, durably; return what it does not."""
        mark = self._writer.mark()
        lacking = []
        for digest in digests:
            content_id = keys.content_id(digest)
            if not self._reference(keys, content_id, digest, *self._index.find(keys.key_id, content_id)):
                lacking.append(digest)
        self._writer.sync(mark)
        return lacking

    def rewrap(self, content_id: bytes, found: Found, new: NewContent) -> StudyWrap:
        """Return a study's wrap of the key that a content got from another origin."""
        content_key = self._content_key(content_id, found)
        if content_key is None:
            raise Busy("a content that another origin stored cannot be shared yet; send it again")
        key_tag = found.entry.key_tag
        return StudyWrap(new.keys.key_id, key_tag, *new.keys.wrap(content_id, key_tag, content_key, new.digest))

    def _reference(
        self, keys: StudyKeys, content_id: bytes, digest: Digest, found: Found | None, is_held: bool
    ) -> bool:
        """Have a study hold a content that its tenant has; return whether it does, once that is synced."""
        with self._writer.lock:
            pending = self._writer.pending.get(content_id)
            if pending is not None:
                if keys.key_id not in pending.holders:
                    self._refer(keys, content_id, digest, pending.header.key_tag, pending.content_key)
                return True
        if found is None or not found.entry.readable:
            return False
        if is_held:
            return True
        content_key = self._content_key(content_id, found)
        if content_key is None:
            return False
        with self._writer.lock:
            self._refer(keys, content_id, digest, found.entry.key_tag, content_key)
        return True

    def _refer(self, keys: StudyKeys, content_id: bytes, digest: Digest, key_tag: bytes, content_key: bytes) -> None:
        own = StudyWrap(keys.key_id, key_tag, *keys.wrap(content_id, key_tag, content_key, digest))
        self._writer.refer(Reference(content_id, own))
        self.dedupe_hits += 1

    def _store(
        self,
        keys: StudyKeys,
        content_id: bytes,
        digest: Digest,
        kind: ContentKind,
        size: int,
        chunks: Iterable[Buffer],
        damaged: Found | None,
        is_held: bool,
    ) -> None:
        known_key = None if damaged is None else self._content_key(content_id, damaged)
        known = None
        if damaged is not None and known_key is not None:
            known = (damaged.entry.key_tag, known_key, damaged.wrap if is_held else None)
        header, content_key = new_content(keys, content_id, digest, known)
        header, sealed = seal_content(header, content_key, kind, size, chunks, self._settings.chunk_log2)
        new = NewContent(keys, digest, header, 0)
        if header.length <= min(OWN_PACK_BYTES, self._settings.object_bytes):
            self._writer.add(new, content_key, list(sealed))
        else:
            self._writer.add_apart(new, content_key, sealed)

    def _content_key(self, content_id: bytes, found: Found) -> bytes | None:
        """Return the key of a content, by the wrap of any study that holds it."""
        for keys, wrap in holders(self._index, self._keys, content_id, found):
            with suppress(IntegrityError):
                return keys.unwrap(content_id, wrap)[0]
        return None
