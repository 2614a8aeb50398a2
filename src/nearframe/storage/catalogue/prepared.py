"""Statements made into SQL once, for those that every instance taken in needs.

SQLAlchemy takes about 150 µs to execute a statement that it has compiled before, ten times
what SQLite takes to run it. Here it still writes the SQL, for whichever database; what is
left for each execution is to hand the driver the values in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError


class _Form(NamedTuple):
    """A statement as SQL.

    Attributes
    ----------
    order
        Names of its values, where the driver takes them by position.
    constants
        The values that the statement itself has.
    """

    sql: str
    order: tuple[str, ...] | None
    constants: dict[str, Any]

    def values(self, given: Mapping[str, Any]) -> Any:
        """Return the values as the driver takes them."""
        named = {**self.constants, **given} if self.constants else given
        return named if self.order is None else tuple([named[name] for name in self.order])


class Prepared:
    """A statement whose values need no conversion by type: whole numbers, text, bytes and truth values.

    Parameters
    ----------
    columns
        The columns that an INSERT sets.
    """

    def __init__(
        self, statement: sa.SelectBase | sa.Update | sa.Insert | sa.TextClause, columns: Sequence[str] | None = None
    ) -> None:
        self._statement = statement
        self._columns = columns
        self._forms: dict[str, _Form] = {}

    def rows(self, connection: sa.Connection, **values: Any) -> list[dict[str, Any]]:
        """Run it once and return what it selects, by the names of the columns."""
        with closing(connection.connection.cursor()) as cursor:
            self._execute(connection, cursor, values)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def first(self, connection: sa.Connection, **values: Any) -> tuple[Any, ...] | None:
        """Run it once and return the first row it selects."""
        with closing(connection.connection.cursor()) as cursor:
            self._execute(connection, cursor, values)
            row: tuple[Any, ...] | None = cursor.fetchone()
            return row

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run it once with each of `rows`."""
        form = self._form(connection.dialect)
        with closing(connection.connection.cursor()) as cursor:
            try:
                if len(rows) == 1:
                    # Not as a batch: PostgreSQL's driver pipelines those, and a session that goes silent
                    # after a pipeline is not always ended by idle_in_transaction_session_timeout.
                    cursor.execute(form.sql, form.values(rows[0]))
                else:
                    cursor.executemany(form.sql, [form.values(row) for row in rows])
            except connection.dialect.loaded_dbapi.Error as error:
                raise _wrapped(error, connection.dialect) from error

    def _execute(self, connection: sa.Connection, cursor: DBAPICursor, values: Mapping[str, Any]) -> None:
        form = self._form(connection.dialect)
        try:
            cursor.execute(form.sql, form.values(values))
        except connection.dialect.loaded_dbapi.Error as error:
            raise _wrapped(error, connection.dialect) from error

    def _form(self, dialect: sa.Dialect) -> _Form:
        form = self._forms.get(dialect.name)
        if form is None:
            compiled: Any = self._statement.compile(dialect=dialect, column_keys=self._columns)
            order = compiled.positiontup
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            form = self._forms[dialect.name] = _Form(
                compiled.string, None if order is None else tuple(order), constants
            )
        return form


def _wrapped(error: Exception, dialect: sa.Dialect) -> BaseException:
    """Return a driver's error as SQLAlchemy raises them: without the values, which are nobody's business."""
    base = dialect.loaded_dbapi.Error
    return DBAPIError.instance("", None, error, base, hide_parameters=True, dialect=dialect)
