"""The writing side of a store: records go to the log, and become durable in groups.

What is durable when, and what a failure leaves::

    append   record in the page cache, said by the index's pending layer
    sync     fdatasync of the log for every caller waiting (`GroupCommit`), then pending -> durable
    roll     the full log is synced before the next one is created: only the newest can be torn
    flush    durable -> LMDB, by a thread of its own; never before an acknowledgement

A failed fdatasync is not asked again: the kernel reports an error once and may have dropped
the pages. The log is cut where it was last synced, a new one is started, what was said since
is forgotten, and every caller whose `mark` is older gets `BackendFailed`.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from nearframe import log
from nearframe.errors import BackendFailed, NoSpace, StorageError
from nearframe.storage.packs.groupcommit import GroupCommit
from nearframe.storage.packs.index import Index
from nearframe.storage.packs.ledger import Ledger
from nearframe.storage.packs.record import FILE_HEADER_BYTES, RecordHeader, Role
from nearframe.storage.packs.segments import LogSegment, Segments
from nearframe.storage.ports import Buffer

#: Entries after which LMDB is brought up to date: one transaction of about 20 ms, and as
#: much to read again after a crash.
_FLUSH_ENTRIES: Final = 8192
_FLUSH_BYTES: Final = 64 << 20
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

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
        last_log: LogSegment | None,
        segment_bytes: int,
        reserve_bytes: int,
    ) -> None:
        self.lock = threading.RLock()
        self.sync_failures = 0
        self._segments = segments
        self._index = index
        self._ledger = ledger
        self._next_number = next_number
        self._segment_bytes = segment_bytes
        self._reserve_bytes = reserve_bytes
        self._sequence = 0
        self._unflushed_bytes = 0
        self._group = GroupCommit(self._commit)
        self._flush_wanted = threading.Event()
        self._closing = False
        self._log = self._start_log() if last_log is None else last_log
        self._flusher = threading.Thread(target=self._flush_when_wanted, name="pack-index", daemon=True)
        self._flusher.start()

    def close(self) -> None:
        """Bring LMDB up to date and stop. What is not synced is not waited for."""
        self._closing = True
        self._flush_wanted.set()
        self._flusher.join()
        self.flush()

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
            raise BackendFailed("the disk did not keep what was written; nothing since the last sync is stored")

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

    def check_space(self, needed_bytes: int) -> None:
        """Refuse what would touch the reserve.

        Raises
        ------
        NoSpace
        """
        free = self._segments.free_bytes() - self._reserve_bytes
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
        if not into_reserve:
            self.check_space(header.length)
        with self.disk_errors(header.length):
            if self._log.length + header.length > self._segment_bytes and self._log.length > FILE_HEADER_BYTES:
                self.roll()
            offset = self._log.append([header.encode(), *body])
        self.publish(header, self._log.number, offset)

    def publish(self, header: RecordHeader, segment: int, offset: int) -> None:
        """Take a record into the ledger that stands in a pack."""
        self._ledger.apply(header, segment, offset)
        self._sequence += 1
        self._unflushed_bytes += header.length

    def roll(self) -> None:
        """Sync the log and start the next one."""
        try:
            self._log.sync()
        except OSError as error:
            self._lose()
            raise BackendFailed(
                "the disk did not keep what was written; nothing since the last sync is stored"
            ) from error
        self._index.end_sync()
        self._index.settle()
        self._log = self._start_log()

    @property
    def log_number(self) -> int:
        """Number of the log."""
        return self._log.number

    def _start_log(self) -> LogSegment:
        number = self._next_number
        self._next_number += 1
        started = self._segments.create_log(number)
        self._ledger.register(number, Role.LOG)
        return started

    def _lose(self) -> None:
        """Forget what is not durable and leave the log whose fdatasync failed."""
        self.sync_failures += 1
        self._index.forget()
        self._log.abandon()
        _log.error("sync_failed", segment=self._log.number, kept_bytes=self._log.synced_length)
        self._log = self._start_log()

    # -- group commit ----------------------------------------------------------------------

    def _commit(self) -> int:
        with self.lock:
            sequence, failures, current = self._sequence, self.sync_failures, self._log
            self._index.begin_sync()
        try:
            current.sync()
        except OSError:
            with self.lock:
                if self.sync_failures == failures:
                    self._lose()
                return self._sequence
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

    @contextmanager
    def disk_errors(self, needed_bytes: int) -> Iterator[None]:
        """Turn the system's errors into ours."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise NoSpace(needed_bytes, 0) from error
            raise BackendFailed(
                f"the disk refused a write ({errno.errorcode.get(error.errno or 0, 'OSError')})"
            ) from error
