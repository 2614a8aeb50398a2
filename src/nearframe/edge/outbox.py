"""What this edge has taken in and its upstream does not have for certain yet, one row for each.

::

    recording an instance     its event is in the same transaction as the instance      (catalogue)
    absorb                    events become rows, durable; then the events are passed   (spooled)
    contents sent             the upstream holds every content of it                    (sent)
    recorded upstream         it is durable in the archive, under the same digest       (verified)
    pulled after that         what is shown here is what is shown there: the row goes

An upstream that is an edge itself says of an instance that it is recorded, but not yet in the
archive: it stays *sent*, and is offered again until it is. Which upstream verified it is noted: what
another one shows says nothing of it.

A crash between two steps repeats one: an event absorbed twice is one row, an instance
offered twice is recorded once. What an upstream refuses stays, with the reason, until
somebody has it tried again.

The catalogue knows every version that is still local, so the file can be lost, damaged, or
be older than it was (SQLite drops the end of a log that is damaged, silently). It is proved
when it is opened: each row by a digest of what it names, the whole by the last event that it
absorbed, which must be the last that was passed. Whatever is amiss, what is local goes in again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from nearframe import log
from nearframe.clock import Clock
from nearframe.errors import NoSpace
from nearframe.ids import Digest
from nearframe.metrics import Metrics
from nearframe.storage.ownfile import open_own, proof_of_row, rows_of
from nearframe.storage.ports import UPSTREAM, Catalogue, OutboxEvent, Settled, StudyRef, TakenIn

CONSUMER: Final = "forward"
SCHEMA: Final = 2
_FILE_NAME: Final = "outbox.sqlite"
_EVENTS: Final = 500  # absorbed in one transaction
_MAX_REASON_CHARS: Final = 500


class State(Enum):
    """How far an instance is on its way."""

    SPOOLED = "spooled"
    SENT = "sent"
    VERIFIED = "verified"
    REFUSED = "refused"


_metadata = sa.MetaData()
_ITEM = sa.Table(
    "item",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("study", sa.Text, nullable=False),
    sa.Column("instance", sa.Text, nullable=False),
    sa.Column("file", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    #: Seconds since 1970.
    sa.Column("since", sa.Float, nullable=False),
    #: Its number upstream, and the upstream that has verified it.
    sa.Column("version", sa.Integer),
    sa.Column("verified_by", sa.Text, nullable=False, server_default=""),
    #: Why it was refused, or the upstream's warning.
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    #: Of tenant, study, instance and file: a flipped bit would name something that nobody has.
    sa.Column("proof", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("tenant", "instance", "file"),
    sa.Index("item_by_study", "tenant", "study", "state"),
    sa.Index("item_by_state", "state", "since"),
)
#: One row.
_PROGRESS = sa.Table(
    "progress",
    _metadata,
    #: How many were forwarded, and left.
    sa.Column("done", sa.Integer, nullable=False),
    #: The last event of the catalogue that became a row, or needed none.
    sa.Column("absorbed", sa.Integer, nullable=False),
)

_log = log.logger(__name__)

_item = _ITEM.c
_WAITING: Final = (State.SPOOLED.value, State.SENT.value)


@dataclass(frozen=True, slots=True)
class Item:
    """An instance on its way."""

    id: int
    tenant: str
    sop_instance_uid: str
    file: Digest


@dataclass(frozen=True, slots=True)
class WaitingStudy:
    """A study of which something waits: to be offered, or (`unsent` is 0) to be compared with the upstream."""

    study: StudyRef
    unsent: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """How many instances of a study are in a state, and since when the oldest is."""

    study: StudyRef
    state: State
    instances: int
    oldest_s: float
    reason: str


class Outbox:
    """The table. Any thread may call; every change is durable when its call returns.

    Raises
    ------
    StorageError
        From every method, if the database cannot be read or written.
    """

    def __init__(self, home: Path, catalogue: Catalogue, clock: Clock, metrics: Metrics) -> None:
        """Open the file, or begin a new one; see `ownfile.open_own` for what that raises."""
        self._catalogue = catalogue
        self._clock = clock
        file = open_own(home / _FILE_NAME, SCHEMA, _metadata, _absorbed, metrics)
        self._database = file.database
        self._is_filled = file.kept == catalogue.passed(CONSUMER)
        try:
            if not self._is_filled:
                self._fill()
        except NoSpace as error:
            # Reading goes on: until there is room to say what waits, all that is local does.
            _log.warning("outbox_not_filled", error=error)
        self._waiting = self._studies()

    def close(self) -> None:
        self._database.close()

    # -- coming in -------------------------------------------------------------------------

    def absorb(self) -> set[StudyRef]:
        """Take over what was recorded since the last time; return the studies of it."""
        taken: set[StudyRef] = set()
        if not self._is_filled:
            self._fill()
            self._waiting = self._studies()
        while events := self._catalogue.outbox(CONSUMER, _EVENTS):
            local = [event for event in events if _is_taken_in(event)]
            with self._database.write() as connection:
                for event in local:
                    self._take(connection, event)
                connection.execute(sa.update(_PROGRESS).values(absorbed=events[-1].id))
            studies = {StudyRef(event.tenant, event.identity.study_instance_uid) for event in local if event.identity}
            self._waiting |= studies
            taken |= studies
            self._catalogue.acknowledge(CONSUMER, events[-1].id)
        return taken

    def is_waiting(self, study: StudyRef) -> bool:
        """Return whether anything of a study is known to wait. Touches no disk."""
        return study in self._waiting

    def _fill(self) -> None:
        """Put in whatever is still local; what is upstream by now is found out by offering it again."""
        passed = self._catalogue.passed(CONSUMER)
        with self._database.write() as connection:
            if connection.execute(sa.update(_PROGRESS).values(absorbed=passed)).rowcount == 0:
                connection.execute(sa.insert(_PROGRESS).values(done=0, absorbed=passed))
            for version in self._local_versions():
                identity = version.identity
                _insert(
                    connection,
                    version.tenant,
                    identity.study_instance_uid,
                    identity.sop_instance_uid,
                    version.file,
                    version.received_at,
                )
        self._is_filled = True

    def _studies(self) -> set[StudyRef]:
        with self._database.read() as connection:
            rows = connection.execute(sa.select(_item.tenant, _item.study).distinct())
            found = {StudyRef(row.tenant, row.study) for row in rows}
        if not self._is_filled:
            found |= {StudyRef(one.tenant, one.identity.study_instance_uid) for one in self._local_versions()}
        return found

    def _local_versions(self) -> Iterator[TakenIn]:
        after = 0
        while page := self._catalogue.taken_in(after, _EVENTS):
            yield from page
            after = page[-1].id

    def _take(self, connection: sa.Connection, event: OutboxEvent) -> None:
        identity = event.identity
        if identity is None:
            return
        file = bytes.fromhex(str(event.detail["file"]))
        study, instance = identity.study_instance_uid, identity.sop_instance_uid
        if event.kind == "durable":
            _insert(connection, event.tenant, study, instance, file, self._clock.now())
        # Sent here again after it was refused: somebody did something about it.
        chosen = (_item.tenant == event.tenant, _item.instance == instance, _item.file == file)
        refused = sa.update(_ITEM).where(*chosen, _item.state == State.REFUSED.value)
        connection.execute(refused.values(state=State.SPOOLED.value, reason=""))

    # -- on the way ------------------------------------------------------------------------

    def waiting(self, upstream: str) -> list[WaitingStudy]:
        """Return the studies that something is to be done about, the one that waits longest first.

        What another upstream has verified is offered to this one too: it is to show it.
        """
        unsent = sa.func.sum(sa.case((_is_unsent(upstream), 1), else_=0))
        statement = (
            sa.select(_item.tenant, _item.study, unsent.label("unsent"), sa.func.min(_item.since).label("since"))
            .where(_is_open())
            .group_by(_item.tenant, _item.study)
            .order_by(sa.func.min(_item.since))
        )
        now = self._clock.now().timestamp()
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        return [WaitingStudy(StudyRef(row.tenant, row.study), int(row.unsent), now - row.since) for row in rows]

    def batch(self, study: StudyRef, most: int, upstream: str) -> list[Item]:
        """Return instances of a study to offer next, oldest first; of one instance the oldest version alone."""
        oldest = (
            sa.select(sa.func.min(_item.id).label("id"))
            .where(*_of(study), _is_unsent(upstream))
            .group_by(_item.instance)
            .order_by(sa.func.min(_item.id))
            .limit(most)
        )
        statement = sa.select(_ITEM).where(_item.id.in_(oldest)).order_by(_item.id)
        with self._database.read() as connection:
            return [Item(row.id, row.tenant, row.instance, row.file) for row in connection.execute(statement)]

    def sent(self, items: Sequence[Item]) -> None:
        """Note that the upstream holds every content of these."""
        self._update(items, state=State.SENT.value)

    def verified(self, item: Item, version: int, warning: str, upstream: str) -> None:
        """Note that an instance is durable in the archive, as an upstream says, which has it under a number."""
        values = {"version": version, "verified_by": upstream, "reason": _short(warning)}
        self._update([item], state=State.VERIFIED.value, **values)

    def refused(self, item: Item, reason: str) -> None:
        """Note that an instance cannot be forwarded."""
        self._update([item], state=State.REFUSED.value, reason=_short(reason))

    def retry(self, study: StudyRef | None = None) -> int:
        """Have what was refused offered again; return how many instances that are."""
        statement = sa.update(_ITEM).where(_item.state == State.REFUSED.value)
        if study is not None:
            statement = statement.where(*_of(study))
        with self._database.write() as connection:
            return connection.execute(statement.values(state=State.SPOOLED.value, reason="")).rowcount

    # -- handing over ----------------------------------------------------------------------

    def settled(self, study: StudyRef, upstream: str) -> Settled:
        """See `handover.Handover`."""
        statement = sa.select(_item.instance, _item.file, _item.version).where(
            *_of(study), _item.state == State.VERIFIED.value, _item.verified_by == upstream
        )
        with self._database.read() as connection:
            return {(row.instance, row.file): row.version for row in connection.execute(statement)}

    def handed_over(self, study: StudyRef, settled: Settled) -> None:
        """See `handover.Handover`."""
        with self._database.write() as connection:
            done = 0
            for instance, file in settled:
                this = (*_of(study), _item.instance == instance, _item.file == file)
                verified = sa.delete(_ITEM).where(*this, _item.state == State.VERIFIED.value)
                done += connection.execute(verified).rowcount
            connection.execute(sa.update(_PROGRESS).values(done=_PROGRESS.c.done + done))
            left = connection.execute(sa.select(_item.id).where(*_of(study)).limit(1)).first()
        if left is None:
            self._waiting.discard(study)
        self._waiting &= self._studies() | {one for one in self._waiting if one != study}

    def doubt(self, upstream: str) -> None:
        """See `handover.Handover`."""
        statement = sa.update(_ITEM).where(_item.state == State.VERIFIED.value, _item.verified_by == upstream)
        with self._database.write() as connection:
            connection.execute(statement.values(state=State.SPOOLED.value, version=None, verified_by="", reason=""))

    # -- for people ------------------------------------------------------------------------

    def counts(self) -> dict[State, int]:
        """Return how many instances are in each state; of those verified, all that ever were."""
        statement = sa.select(_item.state, sa.func.count()).group_by(_item.state)
        with self._database.read() as connection:
            found = {State(state): int(number) for state, number in connection.execute(statement)}
            done = int(connection.execute(sa.select(_PROGRESS.c.done)).scalar() or 0)  # no row before it was filled
        counts = {state: found.get(state, 0) for state in State}
        return counts | {State.VERIFIED: counts[State.VERIFIED] + done}

    def stock(self) -> list[Line]:
        """Return what is in the box, of all tenants, by study and state; reasons are left out."""
        grouped = (_item.tenant, _item.study, _item.state)
        statement = sa.select(*grouped, sa.func.count().label("instances"), sa.func.min(_item.since).label("since"))
        now = self._clock.now().timestamp()
        with self._database.read() as connection:
            rows = connection.execute(statement.group_by(*grouped)).all()
        return [
            Line(StudyRef(row.tenant, row.study), State(row.state), row.instances, max(0.0, now - row.since), "")
            for row in rows
        ]

    def oldest_s(self) -> float | None:
        """Return how long the oldest instance has waited that is not upstream, those refused included."""
        statement = sa.select(sa.func.min(_item.since)).where(_item.state != State.VERIFIED.value)
        with self._database.read() as connection:
            since: float | None = connection.execute(statement).scalar()
        return None if since is None else max(0.0, self._clock.now().timestamp() - since)

    def lines(self, tenant: str, most: int) -> list[Line]:
        """Return what waits, by study, state and reason, oldest first."""
        since = sa.func.min(_item.since)
        statement = (
            sa.select(_item.study, _item.state, _item.reason, sa.func.count().label("instances"), since.label("since"))
            .where(_item.tenant == tenant)
            .group_by(_item.study, _item.state, _item.reason)
            .order_by(since)
            .limit(most)
        )
        now = self._clock.now().timestamp()
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        return [
            Line(StudyRef(tenant, row.study), State(row.state), row.instances, max(0.0, now - row.since), row.reason)
            for row in rows
        ]

    def _update(self, items: Sequence[Item], **values: Any) -> None:
        with self._database.write() as connection:
            chosen = sa.update(_ITEM).where(_item.id.in_([item.id for item in items]))
            connection.execute(chosen.values(**values))


def _absorbed(connection: sa.Connection) -> int:
    """Prove every row; return the last event that was absorbed, -1 if the file was never filled."""
    for row in rows_of(connection, _ITEM):
        State(row["state"])
        if row["proof"] != proof_of_row(row["tenant"], row["study"], row["instance"], content=row["file"]):
            raise ValueError("an instance of the outbox is not the one that was put in")
    return max((row["absorbed"] for row in rows_of(connection, _PROGRESS)), default=-1)


def _insert(connection: sa.Connection, tenant: str, study: str, instance: str, file: Digest, since: datetime) -> None:
    row = {"tenant": tenant, "study": study, "instance": instance, "file": file}
    values = row | {"state": State.SPOOLED.value, "since": since.timestamp()}
    values["proof"] = proof_of_row(tenant, study, instance, content=file)
    connection.execute(sa.insert(_ITEM).prefix_with("OR IGNORE").values(values))


def _is_taken_in(event: OutboxEvent) -> bool:
    return "file" in event.detail and event.detail.get("source") != UPSTREAM


def _is_open() -> sa.ColumnElement[bool]:
    return _item.state != State.REFUSED.value


def _is_unsent(upstream: str) -> sa.ColumnElement[bool]:
    elsewhere = sa.and_(_item.state == State.VERIFIED.value, _item.verified_by != upstream)
    return sa.or_(_item.state.in_(_WAITING), elsewhere)


def _of(study: StudyRef) -> tuple[sa.ColumnElement[bool], ...]:
    return _item.tenant == study.tenant, _item.study == study.study_instance_uid


def _short(reason: str) -> str:
    return reason[:_MAX_REASON_CHARS]
