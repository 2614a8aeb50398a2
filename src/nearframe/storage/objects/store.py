"""The content store over a bucket and a database: any number of origins share it.

What a second origin needs is the same bucket (`S3Location`), the same database and the same root
key, copied into its home: nothing else. It keeps no state of its own but caches. An acknowledgement
(`sync` returned) means that object and index row outlast the machine that gave it; every origin reads
it at once. What one origin takes away, the others go on reading for at most `freshness.STALE_S`.

`preparing` refuses a bucket, an index and a root key that do not belong together: that would otherwise
end with the sweep removing another archive's objects.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.clock import Clock, SystemClock
from nearframe.errors import Busy, IntegrityError, NotFound
from nearframe.ids import Digest
from nearframe.log import logger
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.values import microseconds
from nearframe.storage.objects import recording
from nearframe.storage.objects.blocks import BlockCache
from nearframe.storage.objects.compaction import Compactor
from nearframe.storage.objects.economy import MAX_LIVE_SHARE
from nearframe.storage.objects.freshness import Freshness
from nearframe.storage.objects.holding import Holds
from nearframe.storage.objects.index import ObjectIndex
from nearframe.storage.objects.intake import Intake, ObjectSettings
from nearframe.storage.objects.keyring import TableKeyRing
from nearframe.storage.objects.preparing import MARK, prepare
from nearframe.storage.objects.proving import Scrubber, lost_contents
from nearframe.storage.objects.reading import BytesFile, ObjectReader
from nearframe.storage.objects.recording import NewObject, Reference
from nearframe.storage.objects.writing import Pending, Writer
from nearframe.storage.packs.files import CachedFile
from nearframe.storage.packs.lately import Held, Lately
from nearframe.storage.packs.locks import own
from nearframe.storage.packs.opening import form_of, read_range
from nearframe.storage.packs.record import FILE_HEADER_BYTES
from nearframe.storage.packs.tables import Entry
from nearframe.storage.ports import Buffer, ContentKind, Mark, StudyRef
from nearframe.storage.s3 import Bucket
from nearframe.storage.upkeep import Compacted, LostContent, OneAtATime, PackStats, ScrubReport, at_once, unheard

#: What is remembered for all origins.
_SCRUBBED: Final = "scrubbed"
#: No generation: what carries it is looked up each time.
_NO_GENERATION: Final = -1

_log = logger(__name__)


class ObjectStore:
    """A `ContentStore` on a bucket. Usable from several threads, and beside others of its kind.

    Parameters
    ----------
    home
        This origin's own: ``keys/root.key``, and the file of the cache, which ends with the process.
    bucket, database
        The same for every origin; both are closed with the store.

    Raises
    ------
    ConfigurationError
        If another process owns `home`, or bucket, index and root key do not belong together.
    """

    #: An acknowledgement takes a request to the bucket: nobody holds a lock meanwhile.
    is_remote: ClassVar[bool] = True

    def __init__(
        self,
        home: Path,
        bucket: Bucket,
        database: Database,
        settings: ObjectSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings or ObjectSettings()
        self._cache_folder = home / "cache"
        self._clock = clock or SystemClock()
        self._bucket = bucket
        self._database = database
        self._owner: int | None = own(home)
        with ExitStack() as undo:
            undo.callback(self._let_go)
            root_key = prepare(database, bucket, home / "keys" / "root.key")
            self._keys = TableKeyRing(database, root_key)
            undo.pop_all()
        self._index = ObjectIndex(database)
        self._holds = Holds(bucket, database, self._index, self._keys)
        self._reader = ObjectReader(bucket, BlockCache(self._cache_folder, self._settings.cache_bytes))
        self._writer = Writer(bucket, self._reader, self._record, self._clock, object_bytes=self._settings.object_bytes)
        self._intake = Intake(self._index, self._keys, self._writer, self._settings)
        self._freshness = Freshness(self._index.generation, self._clock, self._forget_found)
        self._lately = Lately(self._look_up, lambda: self._freshness.generation, self._settings.memory_bytes)
        self._upkeep = OneAtATime()
        self._look_lock = threading.Lock()
        self.integrity_failures = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let what is under way end, and let go of home, bucket and database. Safe to call twice."""
        if self._owner is not None:
            self._writer.close()
            self._let_go()

    def _let_go(self) -> None:
        self._database.close()
        self._bucket.close()
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    # -- writing ---------------------------------------------------------------------------

    def mark(self) -> Mark:
        return Mark(self._writer.mark(), self._freshness.generation)

    def sync(self, since: Mark) -> None:
        self._writer.sync(since.failures)

    def confirm(self, since: Mark, contents: Mapping[StudyRef, Collection[Digest]]) -> None:
        if self._index.generation() == since.changes:
            return
        self._look_anew()
        for study, digests in contents.items():
            keys = self._keys.find(study)
            ids = set() if keys is None else {keys.content_id(digest) for digest in digests}
            if keys is None or ids - self._index.readable(keys.key_id, ids):
                raise Busy("contents that were held already went meanwhile; send it again")

    def append(
        self,
        study: StudyRef,
        kind: ContentKind,
        digest: Digest,
        size: int,
        chunks: Iterable[Buffer],
        *,
        into_reserve: bool = False,  # a bucket has none
    ) -> bool:
        return self._intake.append(self._keys.ensure(study), kind, digest, size, chunks)

    def adopt(self, study: StudyRef, digests: Iterable[Digest], *, into_reserve: bool = False) -> list[Digest]:
        return self._intake.adopt(self._keys.ensure(study), digests)

    def release(self, study: StudyRef, digests: Iterable[Digest]) -> None:
        keys = self._keys.find(study)
        if keys is None:
            return
        self._writer.settle()
        with self._database.write() as connection:
            recording.release(connection, keys.key_id, [keys.content_id(digest) for digest in digests])
        self._freshness.end()

    def shred(self, study: StudyRef) -> None:
        self._writer.settle()
        self._keys.shred(study)
        self._forget_found()
        self._freshness.end()

    def let_go(
        self, connection: sa.Connection, study: StudyRef, digests: Sequence[Digest], *, is_empty: bool
    ) -> list[Digest]:
        self._look_anew()  # another origin may have shredded the study since, and stored it again
        keys = self._keys.find(study)
        if keys is None:
            return list(digests)
        ids = {digest: keys.content_id(digest) for digest in digests}
        with self._database.write_within(connection) as own:
            recording.release(own, keys.key_id, ids.values())
            present = recording.present(own, ids.values())
            if is_empty:
                self._keys.shred_within(own, study)
        self._look_anew()
        return [digest for digest, content_id in ids.items() if content_id not in present]

    def _record(self, objects: Sequence[NewObject], references: Sequence[Reference]) -> None:
        written_at = microseconds(self._clock.now())
        try:
            with self._database.write() as connection:
                recording.record(connection, objects, references, self._intake.rewrap, written_at)
        except Busy:
            self._look_anew()  # what is known of keys may be of before another origin shredded a study
            raise
        self._holds.hold_new(objects, references)

    # -- reading ---------------------------------------------------------------------------

    def read(self, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None) -> bytes:
        parts = list(self.stream(study, digest, start, stop))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_nowait(self, study: StudyRef, digest: Digest) -> bytes | None:
        framed = self.read_framed(study, digest, b"", b"")
        return None if framed is None else bytes(framed)

    def read_framed(self, study: StudyRef, digest: Digest, head: bytes, tail: bytes) -> bytes | bytearray | None:
        # Nobody waits here, so nobody asks the database either whether what is known still holds.
        if not self._freshness.is_fresh():
            return None
        return self._lately.framed(study, digest, head, tail, self._lately.known)

    def stream(self, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        self._freshness.refresh()
        held = self._lately.find(study, digest)
        at, stop, _ = slice(start, stop).indices(held.form.plain_length)
        failed: set[tuple[int, int]] = set()
        while True:
            try:
                for part in read_range(held.key, held.form, held.open_file(), held.entry.offset, at, stop):
                    yield part
                    at += len(part)
                return
            except (IntegrityError, NotFound) as error:
                entry, place = held.entry, (held.entry.segment, held.entry.offset)
                self._reader.forget(entry.segment, entry.offset, entry.offset + entry.record_length)
                if place in failed:
                    self._found_damaged(held)
                    raise IntegrityError("a stored content is not in the bucket as it was sealed") from error
                # Its bytes changed on the way or in the cache, and are fetched once more; or compaction has moved it,
                # and the index knows where.
                failed.add(place)
                self._freshness.end()
                self._freshness.refresh()
                held = self._lately.find(study, digest)

    def size_of(self, study: StudyRef, digest: Digest) -> int | None:
        self._freshness.refresh()
        try:
            return self._lately.find(study, digest).form.plain_length
        except (NotFound, IntegrityError):
            return None

    def missing(self, study: StudyRef, digests: Iterable[Digest]) -> list[Digest]:
        keys, wanted = self._keys.find(study), list(digests)
        if keys is None:
            return wanted
        ids = {digest: keys.content_id(digest) for digest in wanted}
        with self._writer.lock:
            held = {
                content_id for content_id, pending in self._writer.pending.items() if keys.key_id in pending.holders
            }
        held |= self._index.readable(keys.key_id, set(ids.values()) - held)
        return [digest for digest in wanted if ids[digest] not in held]

    def kinds(self) -> dict[ContentKind, tuple[int, int]]:
        return self._index.kinds()

    def unheld(self, study: StudyRef, digests: Iterable[Digest]) -> list[Digest]:
        """Return those of `digests` that no study of the tenant holds."""
        keys = self._keys.ensure(study)
        ids = {digest: keys.content_id(digest) for digest in digests}
        present = self._index.present(ids.values())
        return [digest for digest, content_id in ids.items() if content_id not in present]

    def _look_up(self, study: StudyRef, digest: Digest) -> Held:
        generation = self._freshness.generation  # taken first: what changes meanwhile makes this look-up stale
        keys = self._keys.find(study)
        if keys is None:
            raise NotFound("content")
        content_id = keys.content_id(digest)
        with self._writer.lock:
            pending = self._writer.pending.get(content_id)
            if pending is not None and keys.key_id in pending.holders:
                return self._held_yet(pending)
            reference = self._writer.reference(content_id, keys.key_id)
        found, is_held = self._index.find(keys.key_id, content_id)
        if found is None or not (is_held or reference):
            raise NotFound("content")
        if not found.entry.readable:
            raise IntegrityError("a stored content is damaged; it is kept out of use until stored again")
        content_key, _ = keys.unwrap(content_id, reference.wrap if reference and not is_held else found.wrap)
        open_file = partial(self._reader.open, found.where)
        return Held(generation, found.entry, found.entry.form(content_id), AESGCM(content_key), open_file)

    def _held_yet(self, pending: Pending) -> Held:
        """Return a content that is not durable yet: of no generation, so that nobody remembers it."""
        header, where = pending.header, pending.where
        entry = Entry(header.key_tag, segment=0, offset=0, stored_length=header.stored_length)
        open_file: Callable[[], CachedFile] = partial(BytesFile, pending.record)
        if where is not None:
            entry = entry._replace(segment=where.id, offset=FILE_HEADER_BYTES)
            open_file = partial(self._reader.open, where)
        return Held(_NO_GENERATION, entry, form_of(header), AESGCM(pending.content_key), open_file)

    def _found_damaged(self, held: Held) -> None:
        entry = held.entry
        with self._database.write() as connection:
            if recording.mark_damaged(connection, held.form.content_id, entry.segment, entry.offset):
                self.integrity_failures += 1
        self._freshness.end()
        _log.error("content_damaged", segment=entry.segment, offset=entry.offset)

    def _look_anew(self) -> None:
        """Believe nothing that was looked up before."""
        self._freshness.end()
        self._freshness.refresh()
        self._forget_found()

    def _forget_found(self) -> None:
        """Forget keys, look-ups and opened contents: something of them may be gone."""
        self._keys.forget_opened()
        self._lately.clear()

    # -- upkeep ----------------------------------------------------------------------------

    def look(self) -> None:
        """Ask the bucket for anything; raises what it fails at, `Busy` if somebody waits for that already."""
        if not self._look_lock.acquire(blocking=False):
            raise Busy("the object store has not answered the last question yet")
        try:
            self._bucket.has(MARK)
        finally:
            self._look_lock.release()

    def stats(self) -> PackStats:
        """Return what the store holds, every origin's contents included; the counts since the start are this one's."""
        totals = self._index.totals()
        return PackStats(
            segments=totals.objects,
            stored_bytes=totals.length,
            live_bytes=totals.live_bytes,
            contents=totals.contents,
            plain_bytes=totals.plain_bytes,
            dedupe_hits=self._intake.dedupe_hits,
            reused_bytes=self._intake.reused_bytes,
            integrity_failures=self.integrity_failures,
            sync_failures=self._writer.sync_failures,
        )

    def compact(self, max_live_share: float = MAX_LIVE_SHARE, pace: Callable[[int], None] = at_once) -> Compacted:
        """Rewrite the objects that are worth it (`economy`), and sweep up what was uploaded in vain.

        Raises
        ------
        Busy
            If compaction or scrub runs already in this process.
        """
        with self._upkeep.turn():
            compactor = Compactor(self._bucket, self._database, self._index, self._clock, pace)
            done = compactor.run(max_live_share)
            self._holds.complete()
            swept = compactor.sweep()
        if swept:
            _log.info("objects_swept", objects=swept)
        return done

    def erase(self, pace: Callable[[int], None] = at_once) -> Compacted:
        """Take the bytes of every content that no study holds out of the bucket.

        On return none of what was let go of before the call stands in an object, but for those that were
        skipped: under a legal hold, or not what the index says.

        Raises
        ------
        Busy
            If compaction or scrub runs already in this process.
        """
        with self._upkeep.turn():
            return Compactor(self._bucket, self._database, self._index, self._clock, pace).erase()

    def scrub(
        self, progress: Callable[[ScrubReport], None] = unheard, pace: Callable[[int], None] = at_once
    ) -> ScrubReport:
        """Read and prove every content; keep what is damaged out of use.

        Raises
        ------
        Busy
            If compaction or scrub runs already in this process.
        """
        with self._upkeep.turn():
            scrubber = Scrubber(
                self._bucket,
                self._database,
                self._index,
                self._keys,
                self._cache_folder,
                progress=progress,
                pace=pace,
            )
            report = scrubber.run()
            with self._database.write() as connection:
                recording.note_moment(connection, _SCRUBBED, microseconds(self._clock.now()))
        self._freshness.end()
        return report

    def scrubbed_at(self) -> datetime | None:
        return self._index.moment(_SCRUBBED)

    def damaged(self) -> Iterator[LostContent]:
        """Yield what studies hold and cannot read: to be fetched again and appended."""
        return lost_contents(self._index, self._keys)

    def hold(self, study: StudyRef) -> int:
        return self._holds.hold(study)

    def end_hold(self, study: StudyRef) -> int:
        return self._holds.release(study)

    def held_otherwise(self, standing: Collection[StudyRef]) -> list[StudyRef]:
        return self._holds.otherwise(standing)
