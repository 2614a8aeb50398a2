"""The SQLite files that a node keeps beside its catalogue: opened, proved, and begun anew where they are damaged.

None holds anything that is nowhere else, so a node never stays down for one. What cannot be
proved sound is set aside under a new name, for whoever wants to look into it; it is counted,
and its owner fills the new file from what else it knows.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from nearframe import log
from nearframe.errors import BackendFailed, ConfigurationError
from nearframe.metrics import EDGE_FILES_SET_ASIDE, Metrics
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.sqlite import open_sqlite
from nearframe.storage.durable import sync_folder

#: Results that speak of the disk or of who may use it, not of what the file holds.
_NOT_DAMAGE: Final = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH}
)
_PRIMARY_CODE: Final = 0xFF
_PROOF_BYTES: Final = 8
_ROWS_AT_ONCE: Final = 1000  # an outbox after a day without a line has a hundred thousand

_log = log.logger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OwnFile(Generic[T]):
    """A file that was opened.

    Attributes
    ----------
    kept
        What `read` found in it.
    is_new
        True if it was begun just now.
    """

    database: Database
    kept: T
    is_new: bool


def proof_of_row(*names: object, content: bytes = b"") -> bytes:
    """Return what a row keeps beside the names in it: with a bit flipped it would name something that nobody has."""
    return hashlib.sha256("\0".join(map(str, names)).encode() + content).digest()[:_PROOF_BYTES]


def open_own(
    path: Path, schema: int, tables: sa.MetaData, read: Callable[[sa.Connection], T], metrics: Metrics
) -> OwnFile[T]:
    """Open a file, or begin a new one.

    Parameters
    ----------
    read
        Reads what its owner needs at once. `ValueError` and `TypeError` mean: nothing that its
        owner ever wrote.

    Raises
    ------
    ConfigurationError
        If a newer release wrote it.
    StorageError
        If the disk does not let it be opened.
    """
    try:
        return _open(path, schema, tables, read)
    except (BackendFailed, ValueError, TypeError) as error:
        if not path.exists() or not _is_damage(error):
            raise
        _log.error("edge_file_set_aside", file=path.name, error=error)
        metrics.add(EDGE_FILES_SET_ASIDE, file=path.stem)
        _set_aside(path)
    return _open(path, schema, tables, read)


def rows_of(connection: sa.Connection, table: sa.Table) -> Iterator[dict[str, Any]]:
    """Yield every row of a table.

    Raises
    ------
    ValueError
        If a value is none that its column may have: SQLite looks at no types when it reads.
    """
    allowed = {column.name: _types_of(column) for column in table.c}
    for found in connection.execute(sa.select(table)).yield_per(_ROWS_AT_ONCE).mappings():
        row = dict(found)
        for name, value in row.items():
            if not isinstance(value, allowed[name]) or (isinstance(value, float) and not math.isfinite(value)):
                raise ValueError(f"a value of {table.name}.{name} is of another type")
        yield row


def _types_of(column: sa.Column[Any]) -> tuple[type, ...]:
    types = (int, float) if isinstance(column.type, sa.Float) else (column.type.python_type,)
    return (*types, type(None)) if column.nullable else types


def _open(path: Path, schema: int, tables: sa.MetaData, read: Callable[[sa.Connection], T]) -> OwnFile[T]:
    database = open_sqlite(path)
    try:
        with database.write() as connection:
            found = int(connection.execute(sa.text("PRAGMA user_version")).scalar_one())
            is_new = not sa.inspect(connection).get_table_names()
            if is_new:
                tables.create_all(connection)
                connection.execute(sa.text(f"PRAGMA user_version = {schema:d}"))
            elif found > schema:
                raise ConfigurationError(
                    f"{path.name} has schema {found}, this release knows {schema}: "
                    "install the newer release again, or remove the file to begin it anew"
                )
            elif found < schema:
                raise BackendFailed(f"{path.name} has schema {found}, which no release wrote")
        with database.read() as connection:
            if connection.execute(sa.text("PRAGMA integrity_check(1)")).scalar() != "ok":
                raise BackendFailed(f"{path.name} is damaged")
            return OwnFile(database, read(connection), is_new)
    except BaseException:
        database.close()
        raise


def _is_damage(error: Exception) -> bool:
    cause = error.__cause__
    code = getattr(cause.orig, "sqlite_errorcode", None) if isinstance(cause, DBAPIError) else None
    return code is None or code & _PRIMARY_CODE not in _NOT_DAMAGE


def _set_aside(path: Path) -> None:
    aside = next(
        name
        for number in count(1)
        if not (name := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists()
    )
    # The log first: left beside a new file, it could be taken for that one's.
    for suffix in ("-wal", ""):
        found = path.with_name(path.name + suffix)
        if found.exists():
            found.replace(aside.with_name(aside.name + suffix))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    sync_folder(path.parent)
