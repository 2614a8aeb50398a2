"""The content store: sealed packs, an index that follows them, and a key ring."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe import log
from nearframe.errors import BackendFailed, IntegrityError, NoSpace, NotFound
from nearframe.ids import Digest
from nearframe.storage.packs.compaction import Compactor
from nearframe.storage.packs.files import CachedFile, Files, LocalFiles, disk_errors
from nearframe.storage.packs.index import Index
from nearframe.storage.packs.intake import Intake, PackSettings
from nearframe.storage.packs.keyring import SlotKeyRing
from nearframe.storage.packs.keys import KeyRing, StudyKeys, load_root_key
from nearframe.storage.packs.lately import Held, Lately
from nearframe.storage.packs.ledger import Ledger
from nearframe.storage.packs.locks import own, removing_packs
from nearframe.storage.packs.opening import read_range
from nearframe.storage.packs.record import RecordHeader, RecordType
from nearframe.storage.packs.recovery import recover
from nearframe.storage.packs.scrub import Scrubber
from nearframe.storage.packs.segments import Segments
from nearframe.storage.packs.slots import SLOT_BYTES
from nearframe.storage.packs.tables import Wrap
from nearframe.storage.packs.writer import Writer
from nearframe.storage.ports import Buffer, ContentKind, Mark, StudyRef
from nearframe.storage.upkeep import Compacted, LostContent, OneAtATime, PackStats, ScrubReport, at_once, unheard

#: A content moves once per compaction: two look-ups in a row that miss are already rare.
_MOVED_ATTEMPTS: Final = 8

_log = log.logger(__name__)


class PackStore:
    """A `ContentStore` of sealed packs below one directory; its only owner.

    Parameters
    ----------
    home
        Holds ``packs/``, ``packs/index/`` and ``keys/``; made if need be.
    files, keys
        Where packs and keys are, if not in `home`: other adapters, or a test's.

    Raises
    ------
    ConfigurationError
        If another process owns `home`, or the key ring belongs to another root key.
    """

    #: An acknowledgement takes a sync of the local disk.
    is_remote: ClassVar[bool] = False

    def __init__(
        self,
        home: Path,
        settings: PackSettings | None = None,
        *,
        files: Files | None = None,
        keys: KeyRing | None = None,
    ) -> None:
        self._settings = settings or PackSettings()
        with ExitStack() as undo, disk_errors():
            self._home = home
            self._owner: int | None = own(home)
            undo.callback(os.close, self._owner)
            self._segments = Segments(files or LocalFiles(home / "packs"))
            self._keys = keys or SlotKeyRing(LocalFiles(home / "keys"), load_root_key(home / "keys" / "root.key"))
            self._index = Index(home / "packs" / "index")
            undo.callback(self._index.close)
            self._ledger = Ledger(self._index, self._keys)
            self.recovered = recover(self._segments, self._index, self._ledger, self._keys)
            self._writer = Writer(
                self._segments,
                self._index,
                self._ledger,
                next_number=self.recovered.next_number,
                current=self.recovered.log,
                segment_bytes=self._settings.segment_bytes,
                reserve_bytes=self._settings.reserve_bytes,
                last_bytes=self._settings.last_bytes,
            )
            undo.pop_all()
        self._intake = Intake(self._settings, self._segments, self._keys, self._ledger, self._writer)
        self._upkeep = OneAtATime()
        self.integrity_failures = 0
        self._lately = Lately(self._look_up, lambda: self._ledger.generation, self._settings.memory_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Sync, bring the index up to date, and let go of the directory. Safe to call twice."""
        if self._owner is None:
            return
        try:
            with self._writer.lock, disk_errors():
                self._keys.settle()
                self._writer.settle()
            self.flush()
        except NoSpace as error:  # what the index lacks is read again from the packs at the next start
            _log.warning("index_not_written", error=error)
        finally:
            self.abandon()

    def flush(self) -> None:
        """Bring the index up to what is durable; otherwise it follows by itself."""
        self._writer.flush()

    def abandon(self) -> None:
        """Let go of the directory as a crash would, with nothing synced or flushed: for drills."""
        if self._owner is None:
            return
        self._writer.stop()
        self._index.close()
        os.close(self._owner)
        self._owner = None

    def stats(self) -> PackStats:
        """Return what the store holds; takes time with the number of packs, not of contents."""
        uses = self._ledger.segments().values()
        return PackStats(
            segments=len(uses),
            stored_bytes=sum(use.covered_bytes for use in uses),
            live_bytes=sum(use.live_bytes for use in uses),
            contents=sum(use.contents for use in uses),
            plain_bytes=sum(use.plain_bytes for use in uses),
            dedupe_hits=self._intake.dedupe_hits,
            reused_bytes=self._intake.reused_bytes,
            integrity_failures=self.integrity_failures,
            sync_failures=self._writer.sync_failures,
        )

    def kinds(self) -> dict[ContentKind, tuple[int, int]]:
        """Return contents and their bytes on the disk, by kind; takes time with the number of contents."""
        found = dict.fromkeys(ContentKind, (0, 0))
        for _, entry in self._ledger.entries():
            contents, stored = found[ContentKind(entry.kind)]
            found[ContentKind(entry.kind)] = contents + 1, stored + entry.record_length
        return found

    # -- writing ---------------------------------------------------------------------------

    def mark(self) -> Mark:
        return Mark(self._writer.mark())

    def append(
        self,
        study: StudyRef,
        kind: ContentKind,
        digest: Digest,
        size: int,
        chunks: Iterable[Buffer],
        *,
        into_reserve: bool = False,
    ) -> bool:
        return self._intake.append(self._ensure_keys(study), kind, digest, size, chunks, into_reserve=into_reserve)

    def sync(self, since: Mark) -> None:
        self._writer.sync(since.failures)

    def confirm(self, since: Mark, contents: Mapping[StudyRef, Collection[Digest]]) -> None:
        pass  # no other process lets go of anything, and this one minds what is being taken in

    def adopt(self, study: StudyRef, digests: Iterable[Digest], *, into_reserve: bool = False) -> list[Digest]:
        keys = self._ensure_keys(study)
        reference = partial(self._intake.reference, into_reserve=into_reserve)
        return [digest for digest in digests if not reference(keys, keys.content_id(digest), digest)]

    def release(self, study: StudyRef, digests: Iterable[Digest]) -> None:
        keys = self._keys.find(study)
        if keys is None:
            return
        for digest in digests:
            content_id = keys.content_id(digest)
            with self._writer.lock:
                wrap = self._ledger.wrap(keys.key_id, content_id)
                if wrap is not None:
                    self._writer.write(_drop_record(keys.key_id, content_id, wrap))

    def shred(self, study: StudyRef) -> None:
        if not self._keys.knows(study):
            return
        with self._writer.lock:
            # What is pending is settled first and what follows at once: a failed fdatasync cannot
            # bring back what the destroyed key has made unreadable.
            self._writer.settle()
            with disk_errors():
                key_id = self._keys.shred(study)
            if key_id is not None:
                self._ledger.forget_study(key_id)
                self._writer.settle_index()
                self._lately.clear()

    def unheld(self, study: StudyRef, digests: Iterable[Digest]) -> list[Digest]:
        keys = self._ensure_keys(study)
        return [digest for digest in digests if self._ledger.entry(keys.content_id(digest)) is None]

    def let_go(self, connection: object, study: StudyRef, digests: Sequence[Digest], *, is_empty: bool) -> list[Digest]:
        since = self.mark()
        self.release(study, digests)
        self.sync(since)
        gone = self.unheld(study, digests)
        if is_empty:
            self.shred(study)
        return gone

    def _ensure_keys(self, study: StudyRef) -> StudyKeys:
        with disk_errors(SLOT_BYTES):
            return self._keys.ensure(study)

    # -- reading ---------------------------------------------------------------------------

    def read(self, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None) -> bytes:
        parts = list(self.stream(study, digest, start, stop))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_nowait(self, study: StudyRef, digest: Digest) -> bytes | None:
        framed = self.read_framed(study, digest, b"", b"")
        return None if framed is None else bytes(framed)

    def read_framed(self, study: StudyRef, digest: Digest, head: bytes, tail: bytes) -> bytes | bytearray | None:
        return self._lately.framed(study, digest, head, tail, self._lately.find)

    def stream(self, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        held, file = self._find_file(study, digest)
        try:
            yield from read_range(held.key, held.form, file, held.entry.offset, start, stop)
        except IntegrityError:
            self._found_damaged(held)
            raise
        except OSError as error:
            raise BackendFailed("the disk refused a read") from error

    def size_of(self, study: StudyRef, digest: Digest) -> int | None:
        keys = self._keys.find(study)
        held = None if keys is None else self._ledger.held(keys.key_id, keys.content_id(digest))
        return held[0].plain_length if held is not None and held[0].readable else None

    def missing(self, study: StudyRef, digests: Iterable[Digest]) -> list[Digest]:
        return [digest for digest in digests if self.size_of(study, digest) is None]

    def _look_up(self, study: StudyRef, digest: Digest) -> Held:
        generation = self._ledger.generation  # taken first: what changes meanwhile makes this look-up stale
        keys = self._keys.find(study)
        if keys is None:
            raise NotFound("content")
        content_id = keys.content_id(digest)
        held = self._ledger.held(keys.key_id, content_id)
        if held is None:
            raise NotFound("content")
        entry, wrap = held
        if not entry.readable:
            raise IntegrityError("a stored content is damaged; it is kept out of use until stored again")
        content_key, _ = keys.unwrap(content_id, wrap)
        open_file = partial(self._segments.reader, entry.segment)
        return Held(generation, entry, entry.form(content_id), AESGCM(content_key), open_file)

    def _find_file(self, study: StudyRef, digest: Digest) -> tuple[Held, CachedFile]:
        for _ in range(_MOVED_ATTEMPTS):
            held = self._lately.find(study, digest)
            try:
                return held, held.open_file()
            except FileNotFoundError:
                continue  # compaction has just moved it: the index knows where
        raise BackendFailed("the pack of a content is missing")

    def _found_damaged(self, held: Held) -> None:
        with self._writer.lock:
            entry = held.entry
            if self._ledger.mark_damaged(held.form.content_id, entry.key_tag, entry.segment, entry.offset):
                self.integrity_failures += 1
        _log.error("content_damaged", segment=held.entry.segment, offset=held.entry.offset)

    # -- upkeep ----------------------------------------------------------------------------

    def compact(self, max_live_share: float = 0.5, pace: Callable[[int], None] = at_once) -> Compacted:
        """Rewrite the packs of which at most that share is alive, beside readers and writers.

        Parameters
        ----------
        pace
            Called with the bytes of every piece copied; may sleep.

        Raises
        ------
        NoSpace
            If the disk has no room for the survivors of one pack; what was done before stays done.
        Busy
            If compaction or scrub runs already, or the packs are being backed up.
        """
        with self._upkeep.turn(), removing_packs(self._home):
            size = self._settings.segment_bytes
            return Compactor(self._segments, self._ledger, self._writer, size, pace).run(max_live_share)

    def erase(self, pace: Callable[[int], None] = at_once) -> Compacted:
        """Take the bytes of every content that nothing holds out of the packs, beside readers and writers.

        On return none of what was let go of before the call stands in any pack, but for packs that were
        skipped: see `Compacted`. Costs the rewriting of each pack that holds such a content.

        Raises
        ------
        NoSpace, Busy
            As of `compact`.
        """
        with self._upkeep.turn(), removing_packs(self._home):
            size = self._settings.segment_bytes
            return Compactor(self._segments, self._ledger, self._writer, size, pace).erase()

    def scrub(
        self, progress: Callable[[ScrubReport], None] = unheard, pace: Callable[[int], None] = at_once
    ) -> ScrubReport:
        """Read and prove every record; keep what is damaged out of use.

        Parameters
        ----------
        progress
            Called from time to time with the report so far.
        pace
            Called with the bytes of every record; may sleep.

        Raises
        ------
        Busy
            If compaction or scrub runs already.
        """
        with self._upkeep.turn():
            return Scrubber(self._segments, self._ledger, self._keys, self._writer, progress=progress, pace=pace).run()

    def scrubbed_at(self) -> datetime | None:
        return None

    def damaged(self) -> Iterator[LostContent]:
        """Yield what studies hold and cannot read: to be fetched again and appended."""
        for content_id, entry in self._ledger.entries():
            if entry.readable:
                continue
            for key_id in self._ledger.holders_of(content_id, entry):
                keys, wrap = self._keys.by_id(key_id), self._ledger.wrap(key_id, content_id)
                study = self._keys.study_of(key_id)
                if keys is not None and wrap is not None and study is not None:
                    digest = keys.unwrap(content_id, wrap)[1]
                    yield LostContent(study, digest, ContentKind(entry.kind))

    def hold(self, study: StudyRef) -> int:
        """Nothing on a disk can be kept against who owns it: the catalogue refuses what a hold forbids."""
        return 0

    def held_otherwise(self, standing: Collection[StudyRef]) -> list[StudyRef]:
        return []

    def end_hold(self, study: StudyRef) -> int:
        """Nothing to end; see `hold`."""
        return 0


def _drop_record(study_key_id: bytes, content_id: bytes, wrap: Wrap) -> RecordHeader:
    return RecordHeader(
        RecordType.DROP,
        content_id=content_id,
        key_tag=wrap.key_tag,
        study_key_id=study_key_id,
        wrap_nonce=wrap.wrap_nonce,
        carrier=wrap.carrier,
    )
