"""Opening index and bucket: the tables, and the proof that the two belong together."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from nearframe.errors import ConfigurationError, NotFound
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.postgres import STORE_LOCK, open_postgres
from nearframe.storage.catalogue.sqlite import open_sqlite
from nearframe.storage.objects.schema import VERSION, metadata, state
from nearframe.storage.packs.keys import derive, load_root_key, read_root_key
from nearframe.storage.s3 import Bucket

#: An object that says whose bucket it is.
MARK: Final = "archive"


#: The index of an origin whose catalogue is SQLite too, in its home.
INDEX_FILE: Final = "objects.sqlite"


def open_index(where: Path | str) -> Database:
    """Open the database of an index: a ``postgresql://`` URL, which may be the catalogue's, or a file of its own."""
    return open_postgres(where, STORE_LOCK) if isinstance(where, str) else open_sqlite(where)


def prepare(database: Database, bucket: Bucket, root_key_file: Path) -> bytes:
    """Make the tables of the index if there are none, and the mark in the bucket; return the root key.

    The first origin makes the root key; every other one is given a copy of its file.

    Raises
    ------
    ConfigurationError
        If one of the three belongs to another archive, there is no root key, or a newer release wrote the index.
    """
    with database.write() as connection:
        metadata.create_all(connection)
        columns = (state.c.version, state.c.archive, state.c.root_key_mark)
        row = connection.execute(sa.select(*columns)).first()
        root_key = load_root_key(root_key_file) if row is None else read_root_key(root_key_file)
        mark = derive(root_key, "object store")
        if row is None:
            _check_unmarked(bucket)
            version, archive, known_mark = VERSION, uuid.uuid4().hex, mark
            fresh = {"id": 1, "version": version, "archive": archive, "root_key_mark": mark}
            connection.execute(sa.insert(state).values(fresh | {"generation": 1, "swept_at": 0}))
        else:
            version, archive, known_mark = row
    if version > VERSION:
        raise ConfigurationError(f"the index of the object store has version {version}; this release knows {VERSION}")
    if mark != known_mark:
        raise ConfigurationError(
            f"{root_key_file}: the archive was made under another root key; copy that of its other origins"
        )
    # The index is committed first: a crash between the two leaves a bucket that the next start marks.
    if _mark_of(bucket) is None:
        bucket.put(MARK, archive.encode())
    if _mark_of(bucket) != archive:
        raise ConfigurationError(
            "the bucket belongs to another archive: correct s3_url or database_url; two archives need two prefixes"
        )
    return root_key


def belongs(database: Database, bucket: Bucket) -> bool:
    """Return whether a bucket is that of an index."""
    with database.read() as connection:
        if not sa.inspect(connection).has_table(state.name):
            return False
        archive = connection.execute(sa.select(state.c.archive)).scalar()
    return archive is not None and _mark_of(bucket) == archive


def _check_unmarked(bucket: Bucket) -> None:
    if _mark_of(bucket) is not None:
        raise ConfigurationError(
            "the bucket holds an archive, and the database has no index of it: correct database_url, or restore "
            "the database; a new archive needs a prefix of its own"
        )


def _mark_of(bucket: Bucket) -> str | None:
    try:
        return bucket.get(MARK).decode("ascii", errors="replace")
    except NotFound:
        return None
