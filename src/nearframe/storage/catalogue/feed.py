"""The change feed, after CouchDB's: a study appears once, at its last sequence; and the outbox."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from nearframe.context import Urgency
from nearframe.errors import Gone, NotFound
from nearframe.ids import Digest, Identity
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.catalogue.values import microseconds, moment
from nearframe.storage.ports import FeedCursor, FeedEntry, GivenUrgency, OutboxEvent, StudyRef

_study, _root, _outbox, _consumer = schema.study.c, schema.study_root.c, schema.outbox.c, schema.consumer.c
_given = schema.given_urgency.c


_HEAD = sa.select(schema.head.c.epoch, schema.head.c.seq)
_AFTER = (
    sa.select(
        _study.seq,
        _study.tenant,
        _study.study_instance_uid,
        _study.instance_count,
        _given.urgency,
        _given.reason,
        _given.until,
    )
    .outerjoin_from(schema.study, schema.given_urgency, _given.study_id == _study.id)
    .where(_study.seq > sa.bindparam("seq"))
    .order_by(_study.seq)
    .limit(sa.bindparam("count"))
)
_CURSOR = sa.select(_consumer.event_id).where(_consumer.name == sa.bindparam("consumer"))
_IS_AFTER = _outbox.id > sa.func.coalesce(_CURSOR.scalar_subquery(), 0)
# Asked for twenty times a second and more while instances come in.
_FIND_CURSOR = Prepared(_CURSOR)
_EVENTS = Prepared(
    sa.select(schema.outbox)
    .where(_IS_AFTER, _outbox.id > sa.bindparam("after"))
    .order_by(_outbox.id)
    .limit(sa.bindparam("count"))
)


def head(connection: sa.Connection) -> FeedCursor:
    """Return the end of the feed."""
    row = connection.execute(_HEAD).one()
    return FeedCursor(row.epoch, row.seq)


def feed(connection: sa.Connection, after: FeedCursor | None, limit: int) -> list[FeedEntry]:
    """Return entries after a cursor, in order."""
    end = head(connection)
    if after is not None and (after.epoch != end.epoch or after.seq > end.seq):
        raise Gone("the cursor is of another life of this catalogue: list its studies again and start from its head")
    rows = connection.execute(_AFTER, {"seq": 0 if after is None else after.seq, "count": limit})
    return [FeedEntry(row.seq, row.tenant, row.study_instance_uid, row.instance_count, _given_of(row)) for row in rows]


def given_urgency(connection: sa.Connection, study: StudyRef) -> GivenUrgency | None:
    """Return the class that was given to a study."""
    statement = sa.select(schema.given_urgency).where(_given.study_id == _study_id(connection, study))
    row = connection.execute(statement).first()
    return None if row is None else _given_of(row)


def give_urgency(connection: sa.Connection, study: StudyRef, given: GivenUrgency | None) -> bool:
    """Give a study a class and a new place in the feed, unless it has that class already."""
    study_id = _study_id(connection, study)
    if study_id is None:
        raise NotFound("study")
    if given_urgency(connection, study) == given:
        return False
    connection.execute(sa.delete(schema.given_urgency).where(_given.study_id == study_id))
    if given is not None:
        until = None if given.until is None else microseconds(given.until)
        values = {"study_id": study_id, "urgency": int(given.urgency), "reason": given.reason, "until": until}
        connection.execute(sa.insert(schema.given_urgency).values(values))
    before = connection.execute(sa.select(_study.seq).where(_study.id == study_id)).scalar_one()
    seq = head(connection).seq + 1
    connection.execute(sa.update(schema.head).values(seq=seq))
    connection.execute(sa.update(schema.study).where(_study.id == study_id).values(seq=seq))
    # What the study consists of stays as it is, and so does its root.
    same = sa.and_(_root.study_id == study_id, _root.seq == before)
    connection.execute(sa.update(schema.study_root).where(same).values(seq=seq))
    return True


def _given_of(row: Any) -> GivenUrgency | None:
    if row.urgency is None:
        return None
    return GivenUrgency(Urgency(row.urgency), row.reason, None if row.until is None else moment(row.until))


def save_root(connection: sa.Connection, study: StudyRef, seq: int, root: Digest) -> None:
    """Remember that a study had `root` at `seq`."""
    study_id = _study_id(connection, study)
    if study_id is None:
        return
    known = connection.execute(sa.select(_root.seq).where(_root.study_id == study_id, _root.root == root)).scalar()
    if known is None:
        connection.execute(sa.insert(schema.study_root).values(study_id=study_id, root=root, seq=seq))
    elif known < seq:
        statement = sa.update(schema.study_root).where(_root.study_id == study_id, _root.root == root)
        connection.execute(statement.values(seq=seq))


def seq_of_root(connection: sa.Connection, study: StudyRef, root: Digest) -> int | None:
    """Return the latest sequence at which a study had `root`."""
    statement = (
        sa.select(_root.seq)
        .join_from(schema.study, schema.study_root, _root.study_id == _study.id)
        .where(_study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid)
        .where(_root.root == root)
    )
    return connection.execute(statement).scalar()


def root_at(connection: sa.Connection, study: StudyRef, seq: int) -> Digest | None:
    """Return the root saved for a study's `seq`."""
    statement = (
        sa.select(_root.root)
        .join_from(schema.study, schema.study_root, _root.study_id == _study.id)
        .where(_study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid)
        .where(_root.seq == seq)
    )
    return connection.execute(statement).scalar()


def is_known(connection: sa.Connection, consumer: str) -> bool:
    """Return whether a consumer of the outbox has a cursor."""
    return _FIND_CURSOR.first(connection, consumer=consumer) is not None


def enrol(connection: sa.Connection, consumer: str) -> None:
    """Give a consumer a cursor before the oldest event."""
    if not is_known(connection, consumer):
        connection.execute(sa.insert(schema.consumer).values(name=consumer, event_id=0))


def outbox(connection: sa.Connection, consumer: str, limit: int, after: int = 0) -> list[OutboxEvent]:
    """Return the events after a consumer's cursor, and after `after`, oldest first."""
    return [_event(row) for row in _EVENTS.rows(connection, consumer=consumer, after=after, count=limit)]


def lag(connection: sa.Connection, consumer: str) -> int:
    """Return how many events are after a consumer's cursor."""
    count = sa.select(sa.func.count()).select_from(schema.outbox).where(_IS_AFTER)
    return int(connection.execute(count, {"consumer": consumer}).scalar_one())


def passed(connection: sa.Connection, consumer: str) -> int:
    """Return a consumer's cursor."""
    found = _FIND_CURSOR.first(connection, consumer=consumer)
    return int(found[0]) if found else 0


def acknowledge(connection: sa.Connection, consumer: str, event_id: int) -> None:
    """Move a consumer's cursor forward and drop the events every consumer has passed."""
    enrol(connection, consumer)
    statement = sa.update(schema.consumer).where(_consumer.name == consumer, _consumer.event_id < event_id)
    connection.execute(statement.values(event_id=event_id))
    passed = connection.execute(sa.select(sa.func.min(_consumer.event_id))).scalar_one()
    connection.execute(sa.delete(schema.outbox).where(_outbox.id <= passed))


def _study_id(connection: sa.Connection, study: StudyRef) -> int | None:
    statement = sa.select(_study.id).where(
        _study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid
    )
    return connection.execute(statement).scalar()


def _event(row: dict[str, Any]) -> OutboxEvent:
    identity = None
    if row["sop_instance_uid"] is not None:
        identity = Identity(
            sop_class_uid=row["sop_class_uid"],
            sop_instance_uid=row["sop_instance_uid"],
            series_instance_uid=row["series_instance_uid"],
            study_instance_uid=row["study_instance_uid"],
        )
    return OutboxEvent(row["id"], row["kind"], row["tenant"], identity, row["version"], json.loads(row["detail"]))
