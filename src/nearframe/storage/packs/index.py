"""The index: five tables of bytes in LMDB, which lag the packs on purpose.

A change goes into a layer in memory and moves on as the packs become durable::

    pending   said by records that are written, not yet synced
    syncing   said by records that an fdatasync now running makes durable
    durable   synced, not yet in LMDB
    flushing  on its way into LMDB, in one transaction
    LMDB

So the index never speaks of bytes that a power cut can take, it costs no fsync before an
acknowledgement, and a failed fdatasync is undone by forgetting two layers. What LMDB lacks
after a crash is read again from the ends of the packs (`recovery`).

Look-ups need no lock. Changes and the movement of layers are the store's: it holds its lock.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Final, TypeAlias

import lmdb

from nearframe.errors import BackendFailed, NoSpace

#: Address space, not disk: about 100 million contents. LMDB's file grows as it fills.
_MAP_BYTES: Final = 64 << 30
_MAX_READERS: Final = 512
_ROOM_BYTES: Final = 1 << 20  # a transaction that brings the tables up to date


class Table(IntEnum):
    """The tables; their keys and values are `ledger`'s."""

    CONTENTS = 0
    WRAPS = 1
    HOLDERS = 2
    DROPS = 3
    SEGMENTS = 4
    META = 5


#: One dictionary a table; None marks a deleted key.
_Layer: TypeAlias = tuple[dict[bytes, bytes | None], ...]


def _layer() -> _Layer:
    return tuple({} for _ in Table)


class Index:
    """Tables of bytes, layered over an LMDB environment in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._env = lmdb.open(
                str(directory), map_size=_MAP_BYTES, max_dbs=len(Table), max_readers=_MAX_READERS, max_spare_txns=16
            )
            self._tables = [self._env.open_db(table.name.lower().encode()) for table in Table]
        except lmdb.Error as error:
            _refuse_if_full(directory, error)
            raise BackendFailed(f"the pack index cannot be opened ({error}); remove it and it is rebuilt") from error
        self._pending, self._durable = _layer(), _layer()
        self._syncing: _Layer | None = None
        self._flushing: _Layer | None = None
        self._flush_lock = threading.Lock()
        self._arrange()

    def close(self) -> None:
        """Close LMDB. What was not flushed is found in the packs at the next start."""
        with self._flush_lock:
            self._env.close()

    # -- look-ups, without a lock ----------------------------------------------------------

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return a value, or None."""
        # Layers first, LMDB second: an entry leaves its layer only after LMDB has it.
        for layer in self._layers:
            if key in layer[table]:
                return layer[table][key]
        with self._env.begin() as transaction:
            value: bytes | None = transaction.get(key, db=self._tables[table])
            return value

    def with_prefix(self, table: Table, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries whose key starts with `prefix`, in no order. Looks at every layer: for rare questions."""
        layers = self._layers
        seen: set[bytes] = set()
        for layer in layers:
            for key, value in list(layer[table].items()):
                if key.startswith(prefix) and key not in seen:
                    seen.add(key)
                    if value is not None:
                        yield key, value
        # Not inside the generator's yields: a read transaction held by a slow caller would keep LMDB's pages.
        for key, value in self._stored_with_prefix(table, prefix):
            if key not in seen:
                yield key, value

    def _stored_with_prefix(self, table: Table, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        after = prefix
        while page := self._stored_page(table, prefix, after):
            yield from page
            after = page[-1][0] + b"\0"

    def _stored_page(self, table: Table, prefix: bytes, start: bytes, limit: int = 1024) -> list[tuple[bytes, bytes]]:
        page: list[tuple[bytes, bytes]] = []
        with self._env.begin() as transaction, transaction.cursor(self._tables[table]) as cursor:
            found = cursor.set_range(start) if start else cursor.first()
            while found and len(page) < limit:
                key, value = cursor.item()
                if not key.startswith(prefix):
                    break
                page.append((key, value))
                found = cursor.next()
        return page

    def stored_groups(self, table: Table, length: int) -> Iterator[bytes]:
        """Yield the different first `length` bytes of LMDB's keys, layers left out."""
        after: bytes | None = b""
        while after is not None:
            page = self._stored_page(table, b"", after, limit=1)
            if not page:
                return
            group = page[0][0][:length]
            yield group
            after = _next_prefix(group)

    # -- changes; the store's lock is held -------------------------------------------------

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._pending[table][key] = value

    def delete(self, table: Table, key: bytes) -> None:
        self._pending[table][key] = None

    def put_durable(self, table: Table, key: bytes, value: bytes) -> None:
        """Enter what is durable already, under a key that nothing pending uses."""
        self._durable[table][key] = value

    def begin_sync(self) -> None:
        """What is pending is being made durable; what comes now is not part of it."""
        self._syncing, self._pending = self._pending, _layer()
        self._arrange()

    def end_sync(self) -> None:
        """What was being synced is durable."""
        if self._syncing is not None:
            _merge(self._durable, self._syncing)
            self._syncing = None
            self._arrange()

    def settle(self) -> None:
        """Everything pending is durable: it came from packs that are."""
        self.begin_sync()
        self.end_sync()

    def forget(self) -> None:
        """Undo what is not durable."""
        self._pending, self._syncing = _layer(), None
        self._arrange()

    @property
    def waiting(self) -> int:
        """Number of durable entries that LMDB lacks."""
        return sum(len(table) for table in self._durable)

    def flush(self, lock: threading.RLock) -> None:
        """Move what is durable into LMDB, in one synced transaction.

        `lock` is the store's: taken for the movement of layers, not for the transaction.

        Raises
        ------
        NoSpace, BackendFailed
            If LMDB refuses; nothing is lost, the entries wait for the next flush.
        """
        with self._flush_lock:
            with lock:
                if not self.waiting:
                    return
                flushing = self._flushing = self._durable
                self._durable = _layer()
                self._arrange()
            try:
                self._store(flushing)
            except lmdb.Error as error:
                with lock:
                    _merge(flushing, self._durable)
                    self._durable, self._flushing = flushing, None
                    self._arrange()
                _refuse_if_full(self._directory, error)
                raise BackendFailed(f"the pack index takes no entries ({error})") from error
            with lock:
                self._flushing = None
                self._arrange()

    def clear(self) -> None:
        """Empty every table, before the packs are read anew; raises `NoSpace` if the disk is full."""
        try:
            with self._flush_lock, self._env.begin(write=True) as transaction:
                for table in self._tables:
                    transaction.drop(table, delete=False)
        except lmdb.Error as error:
            _refuse_if_full(self._directory, error)
            raise BackendFailed(f"the pack index cannot be emptied ({error})") from error
        self._pending, self._durable = _layer(), _layer()
        self._syncing = self._flushing = None
        self._arrange()

    def _store(self, layer: _Layer) -> None:
        with self._env.begin(write=True) as transaction:
            for table, entries in zip(self._tables, layer, strict=True):
                for key, value in sorted(entries.items()):
                    if value is None:
                        transaction.delete(key, db=table)
                    else:
                        transaction.put(key, value, db=table)

    def _arrange(self) -> None:
        # One assignment, so that a reader sees either the old arrangement or the new one.
        layers = (self._pending, self._syncing, self._durable, self._flushing)
        self._layers = tuple(layer for layer in layers if layer is not None)


def _refuse_if_full(directory: Path, error: lmdb.Error) -> None:
    """Raise `NoSpace` if that is why LMDB refuses: it says that the disk failed."""
    free = shutil.disk_usage(directory).free
    if free < _ROOM_BYTES:
        raise NoSpace(_ROOM_BYTES, free) from error


def _merge(older: _Layer, newer: _Layer) -> None:
    for into, entries in zip(older, newer, strict=True):
        into.update(entries)


def _next_prefix(prefix: bytes) -> bytes | None:
    """Return the smallest string above every string that starts with `prefix`."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None
