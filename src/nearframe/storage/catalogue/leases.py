"""Leases: which process of an archive does a piece of work that only one may do at a time.

A row for each piece of work: who holds it, a fencing token, and until when, by the clock of the
database; the processes' own clocks are never compared. ::

    take      nobody holds it, or who did let it expire: a new token      one transaction, writers take turns
    renew     before it expires
    write     `guard` comes first in every transaction of the work: is the token still the row's?
    give up   at a stop in good order: the next one need not wait

A holder that stood still (swapped out, cut off) and comes back finds its token gone: what it then
writes is refused in the transaction that would have written it, whatever its clock says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from nearframe.errors import LeaseLost
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.values import moment

_SECOND: Final = 1_000_000
_lease = schema.lease.c


@dataclass(frozen=True, slots=True)
class Lease:
    """A piece of work that was given to a process, as its `token` proves."""

    name: str
    token: int

    def guard(self, connection: sa.Connection) -> None:
        """Refuse to write for this work once it is another's.

        Raises
        ------
        LeaseLost
        """
        held = sa.select(_lease.token).where(_lease.name == self.name)
        if connection.execute(held).scalar() != self.token:
            raise LeaseLost


@dataclass(frozen=True, slots=True)
class Standing:
    """Who does a piece of work.

    Attributes
    ----------
    expires_in_s
        Below zero once it is free.
    """

    name: str
    holder: str
    token: int
    taken_at: datetime
    expires_in_s: float


class Leases:
    """The leases of an archive. Any thread may call; every change is durable when its call returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take a piece of work that nobody does; None if somebody does it."""
        with self._database.write() as connection:
            now = self._now(connection)
            row = connection.execute(sa.select(schema.lease).where(_lease.name == name)).first()
            if row is not None and row.expires_at > now:
                return None
            token = 1 if row is None else row.token + 1
            values = {"holder": holder, "token": token, "taken_at": now, "expires_at": now + _microseconds(ttl_s)}
            if row is None:
                connection.execute(sa.insert(schema.lease).values(name=name, **values))
            else:
                connection.execute(sa.update(schema.lease).where(_lease.name == name).values(values))
            return Lease(name, token)

    def renew(self, leases: Sequence[Lease], ttl_s: float) -> list[Lease]:
        """Hold on to work; return what of it still is the holder's."""
        with self._database.write() as connection:
            until = self._now(connection) + _microseconds(ttl_s)
            return [lease for lease in leases if self._set_expiry(connection, lease, until)]

    def give_up(self, leases: Sequence[Lease]) -> None:
        """Let work go, and tell who waits for it."""
        with self._database.write() as connection:
            for lease in leases:
                self._set_expiry(connection, lease, 0)
            self._database.tell(connection)

    def standing(self) -> list[Standing]:
        """Return who does what, by name."""
        with self._database.read() as connection:
            now = self._now(connection)
            rows = connection.execute(sa.select(schema.lease).order_by(_lease.name)).all()
        return [
            Standing(row.name, row.holder, row.token, moment(row.taken_at), (row.expires_at - now) / _SECOND)
            for row in rows
        ]

    def _set_expiry(self, connection: sa.Connection, lease: Lease, expires_at: int) -> bool:
        mine = sa.and_(_lease.name == lease.name, _lease.token == lease.token)
        changed: sa.CursorResult[Any] = connection.execute(
            sa.update(schema.lease).where(mine).values(expires_at=expires_at)
        )
        return changed.rowcount == 1

    def _now(self, connection: sa.Connection) -> int:
        return int(connection.execute(sa.select(self._database.now)).scalar_one())


def _microseconds(seconds: float) -> int:
    return int(seconds * _SECOND)
