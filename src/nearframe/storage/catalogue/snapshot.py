"""The catalogue as it is at one moment, copied beside its writers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nearframe.errors import BackendFailed, ConfigurationError, IntegrityError
from nearframe.storage.catalogue.database import WAIT_S
from nearframe.storage.ports import FeedCursor


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a copy of a catalogue holds.

    Attributes
    ----------
    schema
        Version of its tables.
    head
        The end of its feed.
    studies, instances
        In view, of all tenants.
    """

    schema: int
    head: FeedCursor
    studies: int
    instances: int


def take_snapshot(path: Path, into: Path) -> Snapshot:
    """Copy an SQLite catalogue into a new file, whole and of one moment, whoever writes to it meanwhile.

    Raises
    ------
    ConfigurationError
        If there is no catalogue.
    IntegrityError
        If it is damaged.
    BackendFailed
        If it cannot be copied.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path}: no catalogue is there")
    try:
        with (
            closing(sqlite3.connect(path, timeout=WAIT_S)) as source,
            closing(sqlite3.connect(into, isolation_level=None)) as copy,
        ):
            source.backup(copy)
            # So that the copy is one file, and can be read where nothing may be written.
            copy.execute("PRAGMA journal_mode=DELETE")
            return examine(copy)
    except sqlite3.DatabaseError as error:
        raise BackendFailed(f"the catalogue cannot be copied ({type(error).__name__}: {error})") from error


def examine(connection: sqlite3.Connection) -> Snapshot:
    """Return what a catalogue holds, once its pages are proved sound.

    Raises
    ------
    IntegrityError
        If they are not.
    """
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise IntegrityError("the catalogue is damaged: restore the last backup, or its file alone from a copy")
    (schema,) = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    epoch, seq, studies, instances = connection.execute("SELECT epoch, seq, studies, instances FROM head").fetchone()
    return Snapshot(schema, FeedCursor(epoch, seq), studies, instances)
