"""The writing side of a store: records go to the log, and become durable in groups.

What is durable when, and what a failure leaves::

    append   record in the page cache, said by the index's pending layer
    sync     fdatasync of the log for every caller waiting (`GroupCommit`), then pending -> durable
    roll     the full log is synced before the next one is created: only the newest can be torn
    flush    durable -> LMDB, by a thread of its own; never before an acknowledgement

A failed fdatasync is not asked again: the kernel reports an error once and may have dropped
the pages. The log is left, what was said since is forgotten, and every caller whose `mark` is
older gets `BackendFailed`. The next record starts a new log; nothing there is acknowledged
before the old one is cut where it was last synced: else a forgotten drop could come back
after a restart and end what was stored again meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from nearframe import log
from nearframe.errors import BackendFailed, NoSpace, StorageError
from nearframe.storage.packs.files import disk_errors
from nearframe.storage.packs.groupcommit import GroupCommit
from nearframe.storage.packs.index import Index
from nearframe.storage.packs.ledger import Ledger
from nearframe.storage.packs.record import RecordHeader, RecordType, Role
from nearframe.storage.packs.segments import DraftSegment, LogSegment, Segments
from nearframe.storage.ports import Buffer

#: Entries after which LMDB is brought up to date: one transaction of about 20 ms, and as
#: much to read again after a crash.
_FLUSH_ENTRIES: Final = 8192
_FLUSH_BYTES: Final = 64 << 20
_LOST: Final = "the disk did not keep what was written; nothing since the last sync is stored"

_log = log.logger(__name__)


class Writer:
    """Appends records and makes them durable. `lock` guards log, ledger and index."""

    def __init__(
        self,
        segments: Segments,
        index: Index,
        ledger: Ledger,
        *,
        next_number: int,
        current: LogSegment | None,
        segment_bytes: int,
        reserve_bytes: int,
        last_bytes: int,
    ) -> None:
        self.lock = threading.RLock()
        self.sync_failures = 0
        self._segments = segments
        self._index = index
        self._ledger = ledger
        self._next_number = next_number
        self._segment_bytes = segment_bytes
        self._reserve_bytes = reserve_bytes
        self._last_bytes = last_bytes
        self._sequence = 0
        self._unflushed_bytes = 0
        self._group = GroupCommit(self._commit)
        self._flush_wanted = threading.Event()
        self._closing = False
        self._current = current  # the log that takes records; None until the next one starts it
        self._abandoned: list[LogSegment] = []  # logs whose end must be cut off
        self._flusher = threading.Thread(target=self._flush_when_wanted, name="pack-index", daemon=True)
        self._flusher.start()

    def stop(self) -> None:
        """End the thread that brings LMDB up to date."""
        self._closing = True
        self._flush_wanted.set()
        self._flusher.join()

    def mark(self) -> int:
        """Return a value for `sync`, to be taken before the first append of a batch."""
        return self.sync_failures

    def sync(self, since: int) -> None:
        """Make every earlier append durable.

        Raises
        ------
        BackendFailed
            If an fdatasync failed since the mark was taken.
        """
        with self.lock:
            sequence = self._sequence
        self._group.settle(sequence)
        if self.sync_failures != since:
            raise BackendFailed(_LOST)

    def flush(self) -> None:
        """Move what is durable into LMDB."""
        with self.lock:
            self._unflushed_bytes = 0
        self._index.flush(self.lock)

    def reserve_number(self) -> int:
        """Return the number for a new pack."""
        with self.lock:
            self._next_number += 1
            return self._next_number - 1

    def check_space(self, needed_bytes: int, *, into_reserve: bool = False) -> None:
        """Refuse what would touch the reserve, or what is kept of it in any case.

        Raises
        ------
        NoSpace
        """
        kept = min(self._reserve_bytes, self._last_bytes) if into_reserve else self._reserve_bytes
        free = self._segments.free_bytes() - kept
        if free < needed_bytes:
            raise NoSpace(needed_bytes, max(free, 0))

    # -- the lock is held ------------------------------------------------------------------

    def write(self, header: RecordHeader, body: Sequence[Buffer] = (), *, into_reserve: bool = False) -> None:
        """Append a record to the log and take it into the ledger.

        Raises
        ------
        NoSpace
            If the disk is full or the reserve would be touched; the log is as before.
        BackendFailed
            If the disk refuses; the log is as before.
        """
        if header.type is not RecordType.DROP:  # what frees space may use all there is
            self.check_space(header.length, into_reserve=into_reserve)
        self._sequence += 1  # a failed write too leaves something to settle: the rest to cut off
        with disk_errors(header.length):
            current = self._log_for(header.length)
            offset = current.append([header.encode(), *body])
        self._ledger.apply(header, current.number, offset)
        self._unflushed_bytes += header.length

    def publish(self, draft: DraftSegment, records: Iterable[tuple[RecordHeader, int]]) -> None:
        """Make a draft a pack, and take its records, with their offsets, into the ledger; durable on return.

        Raises
        ------
        BackendFailed
            If the disk did not keep what was written before.
        """
        self.settle()
        draft.publish()
        self._ledger.register(draft.number, Role.WHOLE)
        for header, offset in records:
            self._ledger.apply(header, draft.number, offset)
        self._ledger.cover(draft.number, draft.length)
        self.settle_index()

    def settle_index(self) -> None:
        """What the ledger was told since `settle` needs no record in the log: it is durable as it is."""
        self._index.settle()

    def settle(self) -> None:
        """Make everything durable that was written or published, without letting go of the lock.

        Raises
        ------
        BackendFailed
            If the disk did not keep it.
        """
        current = self._current
        try:
            self._before_sync(current)
            if current is not None:
                current.sync()
        except OSError as error:
            self._lose(current)
            raise BackendFailed(_LOST) from error
        self._index.end_sync()
        self.settle_index()

    def roll(self) -> None:
        """Settle, and end the log: what is written next has a higher pack number."""
        self.settle()
        self._current = None

    @property
    def log_number(self) -> int | None:
        """Number of the log that takes records, if there is one."""
        return None if self._current is None else self._current.number

    def _log_for(self, length: int) -> LogSegment:
        current = self._current
        if current is not None and not current.has_room(length, self._segment_bytes):
            self.roll()
        if self._current is None:
            self._current = self._segments.create_log(self.reserve_number())
            self._ledger.register(self._current.number, Role.LOG)
        return self._current

    def _before_sync(self, current: LogSegment | None) -> None:
        for abandoned in list(self._abandoned):
            abandoned.abandon()
            self._abandoned.remove(abandoned)
        if current is not None:
            current.cut_rest()

    def _lose(self, failed: LogSegment | None) -> None:
        """Forget what is not durable and leave the log whose fdatasync failed."""
        self.sync_failures += 1
        self._sequence += 1  # the next sync has something to settle: the end to cut off
        self._index.forget()
        self._ledger.generation += 1
        self._current = None
        if failed is not None:
            self._abandoned.append(failed)
            _log.error("sync_failed", segment=failed.number, kept_bytes=failed.synced_length)
        with suppress(OSError):
            self._before_sync(None)

    # -- group commit ----------------------------------------------------------------------

    def _commit(self) -> int:
        with self.lock:
            sequence, failures, current = self._sequence, self.sync_failures, self._current
            try:
                self._before_sync(current)
            except OSError:
                self._lose(current)
                return sequence
            self._index.begin_sync()
        try:
            if current is not None:
                current.sync()
        except OSError:
            with self.lock:
                if self.sync_failures == failures:
                    self._lose(current)
            return sequence
        with self.lock:
            # Between the two a roll may have failed: then this layer is forgotten already.
            if self.sync_failures == failures:
                self._index.end_sync()
            if self._index.waiting >= _FLUSH_ENTRIES or self._unflushed_bytes >= _FLUSH_BYTES:
                self._flush_wanted.set()
        return sequence

    def _flush_when_wanted(self) -> None:
        while True:
            self._flush_wanted.wait()
            self._flush_wanted.clear()
            if self._closing:
                return
            try:
                self.flush()
            except StorageError as error:
                _log.error("index_flush_failed", error=error)
