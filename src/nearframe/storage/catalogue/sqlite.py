"""The catalogue in one file, without a server: SQLite in write-ahead mode.

An acknowledged commit survives a power cut: with ``synchronous=FULL`` SQLite syncs the
write-ahead log before a commit returns (https://sqlite.org/pragma.html#pragma_synchronous),
and the folder when it creates a file.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

from nearframe.errors import Busy, NearframeError, NoSpace, TooBroad
from nearframe.storage.catalogue.database import READERS, WAIT_S, Database
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.durable import sync_folder
from nearframe.units import MIB

#: A node's catalogue, in its home.
CATALOGUE_FILE: Final = "catalogue.sqlite"

_WAL_LIMIT_BYTES: Final = 64 * MIB  # what a checkpoint leaves of the log file
_READER_CACHE_KIB: Final = 4 * 1024  # times READERS; the system's page cache does the rest
_WRITER_CACHE_KIB: Final = 16 * 1024
#: The Julian day of 1970-01-01T00:00Z is 2440587.5.
_NOW: Final = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
_STEPS_BETWEEN_LOOKS: Final = 50_000  # of SQLite's virtual machine, about a millisecond


def open_sqlite(path: Path) -> Database:
    """Open the database file at `path`, creating it and its folder if need be."""
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        sync_folder(path.parent.parent)
    writer = _engine(path, "BEGIN IMMEDIATE", pool_size=1, cache_kib=_WRITER_CACHE_KIB)
    readers = _engine(path, "BEGIN", pool_size=READERS, cache_kib=_READER_CACHE_KIB, query_only=True)
    return Database(readers, writer, lock=None, now=_NOW, bound=_bound, translate=partial(_translate, path))


def _engine(path: Path, begin: str, *, pool_size: int, cache_kib: int, query_only: bool = False) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False, "timeout": WAIT_S, "cached_statements": 256},
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=WAIT_S,
        pool_reset_on_return=None,
    )

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins no transaction on its own
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"journal_size_limit={_WAL_LIMIT_BYTES}",
            f"cache_size=-{cache_kib}",
            "temp_store=MEMORY",
            "case_sensitive_like=ON",  # as in PostgreSQL; text is folded before it is stored
            f"query_only={'ON' if query_only else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    sa.event.listen(engine, "connect", connected)
    begins = Prepared(sa.text(begin))
    sa.event.listen(engine, "begin", lambda connection: begins.first(connection))
    return engine


@contextmanager
def _bound(connection: sa.Connection, allowed_s: float) -> Iterator[None]:
    raw: Any = connection.connection.dbapi_connection
    deadline = time.monotonic() + allowed_s
    raw.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def _translate(path: Path, error: BaseException) -> NearframeError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return NoSpace(needed_bytes=1, free_bytes=shutil.disk_usage(path.parent).free)
    if code == sqlite3.SQLITE_INTERRUPT:
        return TooBroad()
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Busy("another process holds the catalogue; try again")
    return None
