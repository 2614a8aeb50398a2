"""Storage commitment: who asked for what, and whether the report has reached them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from nearframe.errors import Busy
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.attributes import dump
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.room import Room, Rows
from nearframe.storage.catalogue.values import microseconds, moment

_row = schema.commitment.c


class CommitmentKey(NamedTuple):
    """A request: whose, of whom (empty by DICOMweb), and its Transaction UID."""

    tenant: str
    requestor: str
    transaction_uid: str


@dataclass(frozen=True, slots=True)
class Commitment:
    """A request.

    Attributes
    ----------
    asked
        SOP class and SOP instance of each object to be kept safe.
    attempts
        How often the report was sent in vain.
    """

    key: CommitmentKey
    asked: tuple[tuple[str, str], ...]
    asked_at: datetime
    attempts: int = 0


class Commitments:
    """The requests of a catalogue. Any thread may call; every change is durable when its call returns.

    Parameters
    ----------
    room
        For those of one tenant; each requestor has half of it.
    """

    def __init__(self, database: Database, room: Room | None = None) -> None:
        self._database = database
        self._room = room or Room()

    def put(self, commitment: Commitment, due_at: datetime | None) -> None:
        """Keep a request; the same Transaction UID once more begins anew.

        Parameters
        ----------
        due_at
            When to report of it, None for who fetches the report.

        Raises
        ------
        Busy
            If there is no room, and each that there is waits for its report.
        """
        values = dict(zip(CommitmentKey._fields, commitment.key, strict=True)) | {
            "asked_at": microseconds(commitment.asked_at),
            "due_at": None if due_at is None else microseconds(due_at),
            "attempts": commitment.attempts,
            "asked": (document := dump(commitment.asked)),
        }
        with self._database.write() as connection:
            connection.execute(sa.delete(schema.commitment).where(*_is(commitment.key)))
            of_tenant = _row.tenant == commitment.key.tenant
            of_requestor = sa.and_(of_tenant, _row.requestor == commitment.key.requestor)
            for chosen, room in ((of_requestor, self._room.half), (of_tenant, self._room)):
                rows = Rows(schema.commitment, _row.asked, _row.asked_at, chosen, over=_row.due_at.is_(None))
                if not rows.make_room(connection, len(document), room):
                    raise Busy("too many requests for storage commitment wait for their reports")
            connection.execute(sa.insert(schema.commitment).values(values))

    def find(self, key: CommitmentKey) -> Commitment | None:
        """Return a request, None if there was none."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(schema.commitment).where(*_is(key))).first()
        return None if row is None else _commitment(row)

    def due(self, now: datetime, most: int) -> list[Commitment]:
        """Return requests whose report is due, the longest due first."""
        statement = sa.select(schema.commitment).where(_row.due_at <= microseconds(now))
        with self._database.read() as connection:
            return [_commitment(row) for row in connection.execute(statement.order_by(_row.due_at).limit(most))]

    def next_due(self) -> datetime | None:
        """Return when the next report is due."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(sa.func.min(_row.due_at))).scalar()
        return None if found is None else moment(found)

    def tried(self, commitment: Commitment, due_at: datetime | None) -> None:
        """Note that a report was sent: in vain if it is due again."""
        values: dict[str, Any] = {"attempts": commitment.attempts + 1, "due_at": due_at and microseconds(due_at)}
        with self._database.write() as connection:
            connection.execute(sa.update(schema.commitment).where(*_is(commitment.key)).values(values))

    def put_off(self, requestor: str, now: datetime, due_at: datetime) -> int:
        """Note that a requestor cannot be spoken to: every report that is due to it was in vain; return how many."""
        chosen = sa.and_(_row.requestor == requestor, _row.due_at <= microseconds(now))
        values = {"attempts": _row.attempts + 1, "due_at": microseconds(due_at)}
        with self._database.write() as connection:
            return connection.execute(sa.update(schema.commitment).where(chosen).values(values)).rowcount

    def forget(self, asked_before: datetime) -> int:
        """Drop requests of long ago that nothing is left to do about; return how many those were."""
        old = sa.and_(_row.due_at.is_(None), _row.asked_at < microseconds(asked_before))
        with self._database.write() as connection:
            return connection.execute(sa.delete(schema.commitment).where(old)).rowcount


def _is(key: CommitmentKey) -> Sequence[sa.ColumnElement[bool]]:
    return (
        _row.tenant == key.tenant,
        _row.requestor == key.requestor,
        _row.transaction_uid == key.transaction_uid,
    )


def _commitment(row: Any) -> Commitment:
    asked = tuple((str(sop_class), str(instance)) for sop_class, instance in json.loads(row.asked))
    key = CommitmentKey(row.tenant, row.requestor, row.transaction_uid)
    return Commitment(key, asked, moment(row.asked_at), row.attempts)
