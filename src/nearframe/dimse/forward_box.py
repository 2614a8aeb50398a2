"""What waits to be forwarded to DICOM peers: a row for each instance and peer, durable until the peer has it.

::

    recording an instance     its event is in the same transaction                 (catalogue)
    absorb                    the rules make rows of it; then the event is passed
    the peer said success     the row goes

A crash between two steps repeats one: an event absorbed twice is one row, and an instance that is
sent twice is one to the peer, by its UID. What is refused stays, and is tried again ever more rarely.

The rows stand in a file of the node's own, which is proved when it is opened (`storage.ownfile`). If it
was lost, what came in within the last days is forwarded again: more than needed rather than less.
Where several processes share a catalogue they stand in its database: whoever forwards next goes on
from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from nearframe.clock import Clock
from nearframe.dimse.forward_rules import ForwardRule, destinations
from nearframe.errors import NotFound
from nearframe.metrics import Metrics
from nearframe.storage.catalogue.database import Database
from nearframe.storage.ownfile import open_own, proof_of_row, rows_of
from nearframe.storage.ports import Catalogue, FeedCursor, InstanceRecord, OutboxEvent, StudyRef

CONSUMER: Final = "forward-dicom"
SCHEMA: Final = 1
#: How far back is forwarded again after the file was lost: a long weekend, and a day to notice.
REFILLED: Final = timedelta(days=5)
_FILE_NAME: Final = "forward.sqlite"
_EVENTS: Final = 500  # absorbed in one transaction
_MAX_REASON_CHARS: Final = 500
#: Not what is kept beside the current version (a conflict is settled first) or out of view, nor what an upstream sent.
_NOT_FORWARDED: Final = frozenset({"conflicting", "withdrawn", "replicated"})

_metadata = sa.MetaData()
_ITEM = sa.Table(
    "item",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("study", sa.Text, nullable=False),
    sa.Column("instance", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    #: Seconds since 1970.
    sa.Column("since", sa.Float, nullable=False),
    #: How often the peer refused it, and why the last time.
    sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    #: Of what it names.
    sa.Column("proof", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("peer", "tenant", "instance", "version"),
    sa.Index("item_by_peer", "peer", "refusals", "id"),
)
#: One row: the last event of the catalogue that was absorbed.
_PROGRESS = sa.Table("progress", _metadata, sa.Column("absorbed", sa.BigInteger, nullable=False))

_shared = sa.MetaData()
_SHARED_ITEM = _ITEM.to_metadata(_shared, name="forward_item")
_SHARED_PROGRESS = _PROGRESS.to_metadata(_shared, name="forward_progress")


@dataclass(frozen=True, slots=True)
class Waiting:
    """An instance on its way to a peer."""

    id: int
    study: StudyRef
    sop_instance_uid: str
    version: int
    refusals: int


@dataclass(frozen=True, slots=True)
class Stock:
    """What waits for a peer: how much, since when the oldest, how much of it was refused, and why the last."""

    peer: str
    instances: int
    oldest_s: float
    refused: int
    reason: str


class ForwardBox:
    """The table. Any thread may call; every change is durable when its call returns.

    Parameters
    ----------
    shared
        Database to keep it in, instead of a file in `home`.

    Raises
    ------
    StorageError
        From every method, if the database cannot be read or written.
    """

    def __init__(
        self,
        home: Path,
        catalogue: Catalogue,
        rules: Sequence[ForwardRule],
        clock: Clock,
        metrics: Metrics,
        shared: Database | None = None,
    ) -> None:
        """Open the file, or begin a new one; see `ownfile.open_own` for what that raises."""
        self._catalogue = catalogue
        self._rules = rules
        self._clock = clock
        self._is_shared = shared is not None
        self._item, self._progress = (_SHARED_ITEM, _SHARED_PROGRESS) if self._is_shared else (_ITEM, _PROGRESS)
        if shared is not None:
            self._database, kept = shared, self._open_shared(shared)
        else:
            file = open_own(home / _FILE_NAME, SCHEMA, _metadata, _absorbed, metrics)
            self._database, kept = file.database, file.kept
        passed = catalogue.passed(CONSUMER)
        if kept is None and passed == 0:
            self._begin(self._skip())
        elif kept is None or kept < passed:
            self._refill()
            self._begin(passed)

    def close(self) -> None:
        if not self._is_shared:
            self._database.close()

    def _open_shared(self, database: Database) -> int | None:
        with database.write() as connection:
            _shared.create_all(connection)
            return connection.execute(sa.select(sa.func.max(self._progress.c.absorbed))).scalar()

    # -- coming in -------------------------------------------------------------------------

    def absorb(self) -> set[str]:
        """Take over what was recorded since the last time; return the peers that something is for."""
        peers: set[str] = set()
        while events := self._catalogue.outbox(CONSUMER, _EVENTS):
            found = [(event, to) for event in events for to in self._destinations(event)]
            with self._database.write() as connection:
                for event, to in found:
                    assert event.identity is not None  # noqa: S101 - `_destinations` looked
                    identity = event.identity
                    names = (to, event.tenant, identity.study_instance_uid, identity.sop_instance_uid, event.version)
                    self._insert(connection, *names)
                connection.execute(sa.update(self._progress).values(absorbed=events[-1].id))
            self._catalogue.acknowledge(CONSUMER, events[-1].id)
            peers.update(to for _, to in found)
        return peers

    def _skip(self) -> int:
        """Pass what was recorded before there were rules: they are for what comes."""
        passed = 0
        while events := self._catalogue.outbox(CONSUMER, _EVENTS):
            passed = events[-1].id
            self._catalogue.acknowledge(CONSUMER, passed)
        return passed

    def _begin(self, absorbed: int) -> None:
        with self._database.write() as connection:
            if connection.execute(sa.update(self._progress).values(absorbed=absorbed)).rowcount == 0:
                connection.execute(sa.insert(self._progress).values(absorbed=absorbed))

    def _refill(self) -> None:
        oldest = self._clock.now() - REFILLED
        with self._database.write() as connection:
            for record in self._records():
                if record.received_at >= oldest:
                    uid = record.identity.sop_instance_uid
                    for to in self._matching(record.study, uid, record.version):
                        names = (to, record.study.tenant, record.study.study_instance_uid, uid, record.version)
                        self._insert(connection, *names)

    def _records(self) -> Iterator[InstanceRecord]:
        after = None
        while page := self._catalogue.feed(after, _EVENTS):
            for entry in page:
                yield from self._catalogue.list_instances(StudyRef(entry.tenant, entry.study_instance_uid))
            after = FeedCursor(self._catalogue.head().epoch, page[-1].seq)

    def _destinations(self, event: OutboxEvent) -> list[str]:
        if (
            not self._rules
            or event.kind != "durable"
            or event.identity is None
            or event.detail.get("outcome") in _NOT_FORWARDED
        ):
            return []
        study = StudyRef(event.tenant, event.identity.study_instance_uid)
        return self._matching(study, event.identity.sop_instance_uid, event.version)

    def _matching(self, study: StudyRef, sop_instance_uid: str, version: int) -> list[str]:
        if not self._rules:
            return []
        with suppress(NotFound):  # deleted meanwhile
            for _, document in self._catalogue.metadata(study, None, sop_instance_uid, version=version):
                return destinations(self._rules, json.loads(document))
        return []

    def _insert(
        self, connection: sa.Connection, peer: str, tenant: str, study: str, instance: str, version: int
    ) -> None:
        values = {"peer": peer, "tenant": tenant, "study": study, "instance": instance, "version": version}
        more = {"since": self._clock.now().timestamp(), "proof": proof_of_row(peer, tenant, study, instance, version)}
        insert = postgresql.insert if self._is_shared else sqlite.insert
        connection.execute(insert(self._item).values({**values, **more}).on_conflict_do_nothing())

    # -- going out -------------------------------------------------------------------------

    def batch(self, peer: str, most: int) -> list[Waiting]:
        """Return what to send next to a peer: what was refused least often first, and of that the oldest."""
        item = self._item.c
        statement = sa.select(self._item).where(item.peer == peer).order_by(item.refusals, item.id).limit(most)
        with self._database.read() as connection:
            return [
                Waiting(row.id, StudyRef(row.tenant, row.study), row.instance, row.version, row.refusals)
                for row in connection.execute(statement)
            ]

    def done(self, waiting: Waiting) -> None:
        """Note that the peer has it, or that there is nothing to send any more."""
        with self._database.write() as connection:
            connection.execute(sa.delete(self._item).where(self._item.c.id == waiting.id))

    def refused(self, waiting: Waiting, reason: str) -> None:
        """Note that the peer does not take it, this time."""
        item = self._item.c
        chosen = sa.update(self._item).where(item.id == waiting.id)
        with self._database.write() as connection:
            connection.execute(chosen.values(refusals=item.refusals + 1, reason=reason[:_MAX_REASON_CHARS]))

    def stock(self) -> list[Stock]:
        """Return what waits, by peer."""
        item = self._item.c
        refused = sa.func.sum(sa.case((item.refusals > 0, 1), else_=0))
        statement = sa.select(
            item.peer,
            sa.func.count().label("instances"),
            sa.func.min(item.since).label("since"),
            refused.label("refused"),
            sa.func.max(item.reason).label("reason"),
        ).group_by(item.peer)
        now = self._clock.now().timestamp()
        with self._database.read() as connection:
            return [
                Stock(row.peer, row.instances, max(0.0, now - row.since), row.refused, row.reason)
                for row in connection.execute(statement)
            ]


def _absorbed(connection: sa.Connection) -> int | None:
    """Prove every row; return the last event that was absorbed, None if the file was never filled."""
    for row in rows_of(connection, _ITEM):
        if row["proof"] != proof_of_row(row["peer"], row["tenant"], row["study"], row["instance"], row["version"]):
            raise ValueError("an instance to be forwarded is not the one that was put in")
    return max((row["absorbed"] for row in rows_of(connection, _PROGRESS)), default=None)
