"""HL7 messages that were answered: by whom, of what, and how."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.values import microseconds, moment

_row = schema.hl7_message.c
#: Of one tenant. A busy hospital sends that many in a few days, and nobody sends one again after as long.
KEPT: Final = 100_000


@dataclass(frozen=True, slots=True)
class AnsweredMessage:
    """A message and its answer.

    Attributes
    ----------
    sender
        Application and facility.
    control_id
        What the sender calls the message (MSH-10).
    event
        Type and event, such as ``ADT^A40``.
    code, words
        Of the application acknowledgement.
    digest
        What tells it from another message of the same control id.
    """

    sender: str
    control_id: str
    event: str
    code: str
    words: str
    digest: bytes
    received_at: datetime


class HL7Messages:
    """The messages of a catalogue. Any thread may call; what is noted is durable when the call returns.

    Parameters
    ----------
    kept
        How many of one tenant are remembered, the latest ones.
    """

    def __init__(self, database: Database, kept: int = KEPT) -> None:
        self._database = database
        self._kept = kept

    def find(self, tenant: str, sender: str, control_id: str) -> AnsweredMessage | None:
        """Return what a sender sent last by a control id."""
        statement = sa.select(schema.hl7_message).where(*_is(tenant, sender, control_id))
        with self._database.read() as connection:
            row = connection.execute(statement).first()
        return None if row is None else _message(row)

    def note(self, tenant: str, message: AnsweredMessage) -> None:
        """Remember a message; one of the same sender and control id is forgotten for it."""
        with self._database.write() as connection:
            latest = connection.execute(sa.select(sa.func.max(_row.number)).where(_row.tenant == tenant)).scalar() or 0
            connection.execute(sa.delete(schema.hl7_message).where(*_is(tenant, message.sender, message.control_id)))
            too_old = sa.and_(_row.tenant == tenant, _row.number <= latest + 1 - self._kept)
            connection.execute(sa.delete(schema.hl7_message).where(too_old))
            values = {
                "tenant": tenant,
                "sender": message.sender,
                "control_id": message.control_id,
                "number": latest + 1,
                "received_at": microseconds(message.received_at),
                "event": message.event,
                "code": message.code,
                "words": message.words,
                "digest": message.digest,
            }
            connection.execute(sa.insert(schema.hl7_message).values(values))

    def latest(self, tenant: str, limit: int, *, failed_only: bool = False) -> list[AnsweredMessage]:
        """Return messages, the latest first."""
        statement = sa.select(schema.hl7_message).where(_row.tenant == tenant)
        if failed_only:
            statement = statement.where(_row.code != "AA")
        with self._database.read() as connection:
            return [_message(row) for row in connection.execute(statement.order_by(_row.number.desc()).limit(limit))]


def _is(tenant: str, sender: str, control_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _row.tenant == tenant, _row.sender == sender, _row.control_id == control_id


def _message(row: Any) -> AnsweredMessage:
    return AnsweredMessage(
        row.sender, row.control_id, row.event, row.code, row.words, row.digest, moment(row.received_at)
    )
