"""Connections and transactions: many readers, one writer, whichever the database."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from nearframe.errors import BackendFailed, Busy, NearframeError, StatementRefused

READERS: Final = 8
#: Longer than any transaction takes, shorter than a client waits.
WAIT_S: Final = 20.0

_REFUSED: Final = (IntegrityError, DataError, ProgrammingError)


class Database:
    """A database of the catalogue.

    Parameters
    ----------
    readers
        Engine whose transactions see one state from beginning to end and change nothing.
    writer
        Engine for changes.
    lock
        SQL that makes a write transaction wait for the one before it, run first of all.
    now
        SQL of the time by the database's own clock, in microseconds since 1970.
    tell
        SQL that tells other processes, once it is committed, that something was.
    news
        Yields whenever another process may have committed something. None for a database that one
        process works with.
    bound
        Stops what a read transaction runs once it has taken so many seconds: then `translate`
        says `TooBroad`.
    translate
        Names the error a driver's exception stands for, None where that says nothing to a caller.
    """

    def __init__(
        self,
        readers: sa.Engine,
        writer: sa.Engine,
        *,
        lock: str | None,
        now: str,
        tell: str | None = None,
        news: Callable[[], AsyncIterator[None]] | None = None,
        bound: Callable[[sa.Connection, float], AbstractContextManager[None]],
        translate: Callable[[BaseException], NearframeError | None],
    ) -> None:
        self._readers = readers
        self._writer = writer
        self._lock = None if lock is None else sa.text(lock)
        self._tell = None if tell is None else sa.text(tell)
        self.news = news
        self.now: sa.ColumnElement[int] = sa.literal_column(now, sa.BigInteger)
        self._bound = bound
        self._translate = translate
        # Writers of this process queue here, in order, and not in the database's polling.
        self._turn = threading.Lock()
        self._guard: Callable[[sa.Connection], None] | None = None

    @property
    def is_shared(self) -> bool:
        """Whether several processes may work with it at once."""
        return self.news is not None

    def guarded(self, guard: Callable[[sa.Connection], None]) -> Database:
        """Return this database as one whose write transactions begin with `guard`: what that raises, ends them."""
        guarded = copy(self)
        guarded._guard = guard
        return guarded

    def tell(self, connection: sa.Connection) -> None:
        """Have a write transaction tell other processes that there is something new, once it is committed."""
        if self._tell is not None:
            connection.execute(self._tell)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a read transaction: one consistent state."""
        with self._errors(), self._readers.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def read_within(self, allowed_s: float) -> Iterator[sa.Connection]:
        """Open a read transaction that is stopped when it has taken too long.

        Raises
        ------
        TooBroad
            If it was.
        """
        with self.read() as connection, self._bound(connection, allowed_s):
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open the write transaction: alone until it ends; durable when this returns without error."""
        with self._errors(), self._turn, self._writer.begin() as connection:
            if self._lock is not None:
                connection.execute(self._lock)
            if self._guard is not None:
                self._guard(connection)
            yield connection

    @contextmanager
    def write_within(self, connection: sa.Connection) -> Iterator[sa.Connection]:
        """Write as part of another set of tables' transaction, if the server can: the database is the same one then.

        Alone until that ends. A database that one process works with is written to by itself.
        """
        if not self.is_shared:
            with self.write() as own:
                yield own
        else:
            if self._lock is not None:
                connection.execute(self._lock)
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._readers.dispose()
        self._writer.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        # The driver's text may quote values of the row: it stays in the cause, which is not logged.
        try:
            yield
        except PoolTimeout as error:
            raise Busy("every connection to the catalogue is taken; try again") from error
        except DBAPIError as error:
            known = self._translate(error.orig) if error.orig is not None else None
            kind = StatementRefused if isinstance(error, _REFUSED) else BackendFailed
            raise known or kind(f"the catalogue's database failed: {type(error.orig).__name__}") from error
        except SQLAlchemyError as error:
            raise BackendFailed(f"the catalogue's database failed: {type(error).__name__}") from error
