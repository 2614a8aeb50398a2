"""The schema's versions, from the first one on.

A new database gets the current tables at once. An older one is brought forward by the
steps it lacks, each in the transaction that raises its number. A newer one is refused:
a program must not write what it cannot read. So before an older release is installed
again, the newer one takes back what it added (`take_back`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import sqlalchemy as sa

from nearframe.errors import ArchiveMoved, ConfigurationError
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.catalogue.values import microseconds

LATEST: Final = 7
#: Instead of a version, while another catalogue is carried into the database (`conversion`).
UNFINISHED: Final = -1
#: Instead of a version, once all of it was carried elsewhere: who has it open reads on, and nobody writes.
MOVED: Final = -2
_VERSION: Final = Prepared(sa.select(schema.schema_version.c.version))

#: ``{version: tables}``: what a step added, so that it can be taken back for an older release.
ADDED: Final[Mapping[int, Sequence[sa.Table]]] = {
    2: (schema.given_urgency,),
    3: (schema.commitment, schema.performed_step, schema.scheduled_step),
    4: (schema.correction, schema.corrected, schema.withdrawn),
    5: (schema.merged_identifier, schema.hl7_message),
    6: (schema.lease,),
    7: (schema.hold, schema.held, schema.letting_go),
}

#: ``{version: step}``: a step takes a database at the version before to `version`.
STEPS: Final[Mapping[int, Callable[[sa.Connection], None]]] = {
    version: partial(schema.metadata.create_all, tables=tables, checkfirst=False) for version, tables in ADDED.items()
}


def migrate(database: Database, now: datetime, *, may_create: bool = True) -> None:
    """Create the tables, or bring those of an older release forward.

    Raises
    ------
    ConfigurationError
        If the database was written by a newer release, or has no tables although it should.
    """
    with database.write() as connection:
        found = version_of(connection)
        if found == LATEST:
            return
        if found == UNFINISHED:
            raise ConfigurationError(
                "another catalogue is being carried into that database: run that nearframe migrate to its end first"
            )
        if found == MOVED:
            raise ConfigurationError(
                "this catalogue was carried into PostgreSQL: set database_url to that; to go on with this one, which "
                "stays in the home as catalogue.sqlite, without what was stored since, nearframe migrate --take-back"
            )
        if found > LATEST:
            raise ConfigurationError(
                f"the catalogue has schema {found}, this release knows {LATEST}: "
                f"install the newer release again; there nearframe migrate --to {LATEST} makes it what this one knows"
            )
        if found == 0 and not may_create:
            raise ConfigurationError(
                "the packs of this home hold contents, but there is no catalogue to say whose: nearframe restore "
                "--only-catalogue brings back the last backup's; or correct database_url, or take an empty home"
            )
        if found == 0:
            create(connection, new_epoch())
        else:
            for version in range(found + 1, LATEST + 1):
                STEPS[version](connection)
        set_version(connection, LATEST, now)


def take_back(database: Database, to: int, now: datetime, *, discard: bool) -> dict[str, int]:
    """Give a database the schema of an older release; return the rows that went, by table.

    Parameters
    ----------
    discard
        Also if rows of what the older release does not know go with it.

    Raises
    ------
    ConfigurationError
        If there is no way to that schema, or rows would go.
    """
    with database.write() as connection:
        found = version_of(connection)
        if not min(ADDED) - 1 <= to <= found <= LATEST:
            raise ConfigurationError(
                f"the catalogue has schema {found}; this release can make it {min(ADDED) - 1} to {min(found, LATEST)}"
            )
        leaving = [table for version in range(found, to, -1) for table in reversed(ADDED[version])]
        rows = {table.name: _rows(connection, table) for table in leaving}
        lost = {name: count for name, count in rows.items() if count}
        if lost and not discard:
            words = ", ".join(f"{count} of {name}" for name, count in lost.items())
            raise ConfigurationError(f"an older release does not know these rows: {words}; --discard drops them")
        schema.metadata.drop_all(connection, tables=leaving, checkfirst=False)
        set_version(connection, to, now)
    return lost


def refuse_if_moved(connection: sa.Connection) -> None:
    """Begin a write transaction only where the catalogue still is; see `Database.guarded`.

    Raises
    ------
    ArchiveMoved
        If it was carried elsewhere since it was opened.
    """
    if _VERSION.first(connection) == (MOVED,):
        raise ArchiveMoved


def go_on_here(database: Database, now: datetime) -> None:
    """Let nodes open a catalogue again that was carried elsewhere; its feed begins a new epoch.

    Raises
    ------
    ConfigurationError
        If it was not.
    """
    with database.write() as connection:
        if version_of(connection) != MOVED:
            raise ConfigurationError("this catalogue was not carried elsewhere: there is nothing to take back")
        # Who followed the other one may be beyond the end of this.
        connection.execute(sa.update(schema.head).values(epoch=new_epoch()))
        set_version(connection, LATEST, now)


def new_epoch() -> str:
    """Return a name for a feed that continues no other."""
    return uuid.uuid4().hex


def version_of(connection: sa.Connection) -> int:
    """Return the version of the tables, 0 where there are none."""
    if not sa.inspect(connection).has_table(schema.schema_version.name):
        return 0
    return connection.execute(sa.select(sa.func.max(schema.schema_version.c.version))).scalar() or 0


def set_version(connection: sa.Connection, version: int, now: datetime) -> None:
    """Say which version the tables are."""
    connection.execute(sa.delete(schema.schema_version))
    connection.execute(sa.insert(schema.schema_version).values(version=version, applied_at=microseconds(now)))


def _rows(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def create(connection: sa.Connection, epoch: str) -> None:
    """Make the current tables, with a feed that is at its beginning."""
    schema.metadata.create_all(connection, checkfirst=False)
    connection.execute(sa.insert(schema.head).values(id=1, epoch=epoch, seq=0, next_id=1, studies=0, instances=0))
