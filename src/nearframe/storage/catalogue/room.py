"""Room for rows that peers make: bounded in number and bytes, so that no peer can fill the disk with them."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from nearframe.units import MIB

#: Dropped at once, of those that are over: room for one row would be looked for at every row.
_SHARE = 10


@dataclass(frozen=True, slots=True)
class Room:
    """How many rows there may be, and how many bytes in their documents."""

    rows: int = 10_000
    document_bytes: int = 256 * MIB

    @property
    def half(self) -> Room:
        """What one of those who share it may take."""
        return Room(self.rows // 2, self.document_bytes // 2)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that share a room.

    Attributes
    ----------
    document, age
        Columns: what takes the bytes, and what says which row is the oldest.
    chosen
        Which rows of the table share it.
    over
        Which of them nobody waits for any more.
    """

    table: sa.Table
    document: sa.ColumnElement[bytes]
    age: sa.ColumnElement[int]
    chosen: sa.ColumnElement[bool]
    over: sa.ColumnElement[bool]

    def make_room(self, connection: sa.Connection, adding_bytes: int, room: Room) -> bool:
        """Return whether there is room for a row more; the oldest that are over go for it."""
        while not self._has_room(connection, adding_bytes, room):
            oldest = sa.select(self.age).where(self.chosen, self.over).order_by(self.age)
            ages = connection.execute(oldest.limit(max(1, room.rows // _SHARE))).scalars().all()
            if not ages:
                return False
            connection.execute(sa.delete(self.table).where(self.chosen, self.over, self.age <= ages[-1]))
        return True

    def _has_room(self, connection: sa.Connection, adding_bytes: int, room: Room) -> bool:
        held = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(self.document)), 0))
        rows, document_bytes = connection.execute(held.where(self.chosen)).one()
        return bool(rows < room.rows and document_bytes + adding_bytes <= room.document_bytes)
