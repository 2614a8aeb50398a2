"""The schema's versions, from the first one on.

A new database gets the current tables at once. An older one is brought forward by the
steps it lacks, each in the transaction that raises its number. A newer one is refused:
a program must not write what it cannot read.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from nearframe.errors import ConfigurationError
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.values import microseconds

LATEST: Final = 4

#: ``{version: step}``: a step takes a database at the version before to `version`.
STEPS: Final[Mapping[int, Callable[[sa.Connection], None]]] = {
    2: lambda connection: schema.given_urgency.create(connection),
    3: lambda connection: schema.metadata.create_all(
        connection, [schema.commitment, schema.performed_step, schema.scheduled_step], checkfirst=False
    ),
    4: lambda connection: schema.metadata.create_all(
        connection, [schema.correction, schema.corrected, schema.withdrawn], checkfirst=False
    ),
}


def migrate(database: Database, now: datetime, *, may_create: bool = True) -> None:
    """Create the tables, or bring those of an older release forward.

    Raises
    ------
    ConfigurationError
        If the database was written by a newer release, or has no tables although it should.
    """
    with database.write() as connection:
        found = _version(connection)
        if found == LATEST:
            return
        if found > LATEST:
            raise ConfigurationError(
                f"the catalogue has schema {found}, this release knows {LATEST}: "
                "install the newer release again, or restore a backup from before it"
            )
        if found == 0 and not may_create:
            raise ConfigurationError(
                "the packs of this home hold contents, but there is no catalogue to say whose: restore its backup, "
                "correct database_url, or begin anew with an empty home"
            )
        if found == 0:
            _create(connection)
        else:
            for version in range(found + 1, LATEST + 1):
                STEPS[version](connection)
        connection.execute(sa.delete(schema.schema_version))
        connection.execute(
            sa.insert(schema.schema_version).values(version=LATEST, applied_at=microseconds(now)),
        )


def new_epoch() -> str:
    """Return a name for a feed that continues no other."""
    return uuid.uuid4().hex


def _version(connection: sa.Connection) -> int:
    if not sa.inspect(connection).has_table(schema.schema_version.name):
        return 0
    return connection.execute(sa.select(sa.func.max(schema.schema_version.c.version))).scalar() or 0


def _create(connection: sa.Connection) -> None:
    schema.metadata.create_all(connection, checkfirst=False)
    connection.execute(sa.insert(schema.head).values(id=1, epoch=new_epoch(), seq=0, next_id=1, studies=0, instances=0))
