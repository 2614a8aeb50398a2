"""A catalogue carried over into another database, row by row, while its node goes on.

::

    begin    the target gets its tables, and a schema number that no node opens: `UNFINISHED`
    carry    table by table, in the order of the primary keys and a block at a time: rows of one state of
             the source beside those of the target; what differs is written, what is too much removed
    again    as often as there is something new; a pass that finds nothing to write has compared every row
    move     until such a pass, with the source's write transaction held, so that its node reads on and writes
             nothing; then the source gets a number that is not written to, `MOVED`, and the target its own

A crash between the two numbers leaves an archive that is read and takes nothing in, until the move is made again.
Each block is a transaction of the target, so a run that was interrupted goes on where it differs. The epoch
of the feed comes along: whoever follows it goes on from the same cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from nearframe.errors import ConfigurationError
from nearframe.storage.catalogue import migrations, schema
from nearframe.storage.catalogue.database import Database

BLOCK_ROWS: Final = 1000
#: The head last, so that it never speaks of rows that are not there. Leases are of the processes at work.
_CARRIED: Final = (
    *(
        table
        for table in schema.metadata.tables.values()
        if table not in (schema.schema_version, schema.lease, schema.head)
    ),
    schema.head,
)

Row: TypeAlias = tuple[Any, ...]
Key: TypeAlias = tuple[Any, ...]


@dataclass(slots=True)
class Pass:
    """What one comparison of the two found, of all tables.

    Attributes
    ----------
    rows
        Compared.
    written, removed
        Of the target.
    """

    rows: int = 0
    written: int = 0
    removed: int = 0

    @property
    def found_nothing(self) -> bool:
        """True if the target was as the source, row by row."""
        return not self.written and not self.removed


class Conversion:
    """From one database into another. Sync.

    Parameters
    ----------
    progress
        Told of each block: the table, the rows compared of it, and how many there are.
    """

    def __init__(
        self, source: Database, target: Database, progress: Callable[[str, int, int], None] = lambda *_: None
    ) -> None:
        self._source = source
        self._target = target
        self._progress = progress

    def begin(self, now: datetime) -> None:
        """Make the target ready, or find that a former run did.

        Raises
        ------
        ConfigurationError
            If another release wrote the source, or something else is in the target.
        """
        with self._source.read() as connection:
            found = migrations.version_of(connection)
            epoch = connection.execute(sa.select(schema.head.c.epoch)).scalar_one()
        if found not in (migrations.LATEST, migrations.MOVED):
            raise ConfigurationError(
                f"the catalogue has schema {found}, this release knows {migrations.LATEST}: "
                "start its node once with this release, or nearframe migrate, before it goes elsewhere"
            )
        with self._target.write() as connection:
            found = migrations.version_of(connection)
            if found == 0:
                migrations.create(connection, epoch)
                migrations.set_version(connection, migrations.UNFINISHED, now)
            elif found != migrations.UNFINISHED:
                raise ConfigurationError("there is a catalogue in that database already; name an empty one")
            elif connection.execute(sa.select(schema.head.c.epoch)).scalar_one() != epoch:
                raise ConfigurationError(
                    "that database holds the unfinished copy of another catalogue; name an empty one"
                )

    def carry(self) -> Pass:
        """Make the target what the source is at this moment; return what that took."""
        found = Pass()
        with self._source.read() as source:
            for table in _CARRIED:
                self._carry_table(source, table, found)
        return found

    def move(self, carry: Callable[[], Pass], now: datetime) -> list[Pass]:
        """Make the target the archive's catalogue; return the passes that took.

        Parameters
        ----------
        carry
            Calls `carry` of this, and carries whatever else has to be there before.

        Raises
        ------
        Busy
            If the source's node does not let go of its write transaction in time.
        """
        with self._source.write() as source:
            passes = [carry()]
            while not passes[-1].found_nothing:
                passes.append(carry())
            migrations.set_version(source, migrations.MOVED, now)
        with self._target.write() as target:
            migrations.set_version(target, migrations.LATEST, now)
        return passes

    def _carry_table(self, source: sa.Connection, table: sa.Table, found: Pass) -> None:
        total = int(source.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
        done = 0
        after: Key | None = None
        for rows in _blocks(source, table):
            until = _key(table, rows[-1])
            with self._target.write() as target:
                self._write_block(target, table, rows, after, until, found)
            after, done = until, done + len(rows)
            self._progress(table.name, done, total)
        with self._target.write() as target:
            self._write_block(target, table, [], after, None, found)

    def _write_block(
        self,
        target: sa.Connection,
        table: sa.Table,
        rows: Sequence[Row],
        after: Key | None,
        until: Key | None,
        found: Pass,
    ) -> None:
        """Make what the target has between two keys what the source has there."""
        there_rows = _rows(target, table, after, until)
        found.rows += len(rows)
        if there_rows == rows:
            return
        there = {_key(table, row): row for row in there_rows}
        wanted = {_key(table, row): row for row in rows}
        other = [key for key, row in wanted.items() if key in there and there[key] != row]
        gone = [key for key in there if key not in wanted]
        # Taken out and put in anew: unique columns besides the key may have changed places among rows.
        for key in (*gone, *other):
            target.execute(
                sa.delete(table).where(*(column == value for column, value in zip(table.primary_key, key, strict=True)))
            )
        new = [row for key, row in wanted.items() if key not in there]
        if put := new + [wanted[key] for key in other]:
            names = table.columns.keys()
            target.execute(sa.insert(table), [dict(zip(names, row, strict=True)) for row in put])
        found.written += len(put)
        found.removed += len(gone)


def _blocks(connection: sa.Connection, table: sa.Table) -> Iterator[list[Row]]:
    after: Key | None = None
    while rows := _rows(connection, table, after, None, BLOCK_ROWS):
        yield rows
        after = _key(table, rows[-1])


def _rows(
    connection: sa.Connection, table: sa.Table, after: Key | None, until: Key | None, limit: int | None = None
) -> list[Row]:
    """Return rows in the order of the primary key, which is the same in both databases: by code point, by byte."""
    key = [_comparable(column, connection.dialect.name) for column in table.primary_key]
    statement = sa.select(table).order_by(*key).limit(limit)
    if after is not None:
        statement = statement.where(sa.tuple_(*key) > _literal(table, after))
    if until is not None:
        statement = statement.where(sa.tuple_(*key) <= _literal(table, until))
    return [tuple(row) for row in connection.execute(statement)]


def _comparable(column: sa.Column[Any], dialect: str) -> sa.ColumnElement[Any]:
    is_text = isinstance(column.type, sa.String) and dialect == "postgresql"
    return sa.collate(column, "C") if is_text else column


def _literal(table: sa.Table, key: Key) -> sa.Tuple:
    values = zip(table.primary_key, key, strict=True)
    return sa.tuple_(*(sa.literal(value, column.type) for column, value in values))


def _key(table: sa.Table, row: Row) -> Key:
    return tuple(row[place] for place in _key_places(table))


@cache
def _key_places(table: sa.Table) -> tuple[int, ...]:
    names = table.columns.keys()
    return tuple(names.index(column.name) for column in table.primary_key)
