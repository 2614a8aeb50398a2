"""The catalogue: one implementation over SQLAlchemy Core, for SQLite and PostgreSQL alike.

What an acknowledgement rests on: `record` returns after its transaction's commit, and that
returns after the database has synced its log (SQLite: `sqlite.py`; PostgreSQL: its
``synchronous_commit``, on unless somebody turned it off). Contents were synced before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from nearframe.clock import Clock, SystemClock
from nearframe.context import LOCAL_ADMIN
from nearframe.dicom.model import DICOMJSON
from nearframe.ids import Digest, Identity
from nearframe.storage.catalogue import (
    conflicts,
    derived,
    feed,
    reading,
    recording,
    rejecting,
    removal,
    schema,
    searching,
)
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.migrations import migrate, new_epoch, refuse_if_moved
from nearframe.storage.catalogue.postgres import open_postgres
from nearframe.storage.catalogue.replicating import Replication
from nearframe.storage.catalogue.searching import Result, Search
from nearframe.storage.catalogue.sqlite import open_sqlite
from nearframe.storage.catalogue.states import VersionState
from nearframe.storage.catalogue.values import microseconds
from nearframe.storage.catalogue.warm import Warm
from nearframe.storage.ports import (
    ConflictRecord,
    FeedCursor,
    FeedEntry,
    GivenUrgency,
    InstanceRecord,
    NewVersion,
    OutboxEvent,
    PerceptualRow,
    Recorded,
    Rendition,
    Settled,
    StudyRef,
    TakenIn,
    Totals,
    Undecided,
    nothing,
)
from nearframe.wire.frametable import FrameTable


def open_catalogue(
    where: Path | str, clock: Clock | None = None, *, may_create: bool = True, honours_notes: bool = True
) -> SQLCatalogue:
    """Open a catalogue, creating or bringing forward its tables.

    Parameters
    ----------
    where
        The file of an SQLite database, or a ``postgresql://`` URL.
    may_create
        False where there is something that a catalogue must know of.
    honours_notes
        False where rejection notes are for another node to honour: an edge shows what its upstream does.

    Raises
    ------
    ConfigurationError
        If the URL cannot be read, a driver is missing, or a newer release wrote the database.
    """
    clock = clock or SystemClock()
    database = open_database(where)
    try:
        migrate(database, clock.now(), may_create=may_create)
    except BaseException:
        database.close()
        raise
    # Several processes never have it carried away below them: only an embedded one is (`conversion`).
    return SQLCatalogue(database if database.is_shared else database.guarded(refuse_if_moved), clock, honours_notes)


def open_database(where: Path | str) -> Database:
    """Open the database of a catalogue as it is; see `open_catalogue`."""
    return open_postgres(where) if isinstance(where, str) and "://" in where else open_sqlite(Path(where))


class SQLCatalogue:
    """The `Catalogue` of `storage.ports`, in a database.

    Attributes
    ----------
    on_kept
        Called once a study is recorded that came to be kept by a hold. Must not block.
    """

    def __init__(self, database: Database, clock: Clock, honours_notes: bool = True) -> None:
        self.on_kept: Callable[[], object] = nothing
        self.database = database
        self._clock = clock
        self._honours_notes = honours_notes
        self._warm = Warm()

    def close(self) -> None:
        """Close every connection."""
        self.database.close()

    def guarded(self, guard: Callable[[sa.Connection], None]) -> SQLCatalogue:
        """Return this catalogue for one who may only write while `guard` raises nothing; not to be closed."""
        guarded = SQLCatalogue(self.database.guarded(guard), self._clock, self._honours_notes)
        guarded.on_kept = self.on_kept
        return guarded

    # -- writing ---------------------------------------------------------------------------

    def record(self, batch: Sequence[NewVersion], durable: Callable[[], object] = nothing) -> list[Recorded]:
        drafts = [recording.Draft(new) for new in batch]
        with self.changing() as changes:
            recording.load_for(changes, batch)
            recorded = [recording.record(changes, draft) for draft in drafts]
            self._honour_notes(changes, zip(batch, recorded, strict=True))
            changes.write()
            durable()
        return recorded

    def record_decided(
        self, batch: Sequence[NewVersion], durable: Callable[[], object] = nothing
    ) -> list[Recorded | Undecided]:
        drafts = [recording.Draft(new) for new in batch]
        with self.changing() as changes:
            recording.load_for(changes, batch)
            recorded = [recording.record_decided(changes, draft) for draft in drafts]
            self._honour_notes(changes, zip(batch, recorded, strict=True))
            changes.write()
            answer = [
                one if isinstance(one, Recorded) else Undecided(reading.record_of(changes.connection, one.id))
                for one in recorded
            ]
            durable()
        return answer

    def replicate(
        self,
        batch: Sequence[tuple[NewVersion, int, bool]],
        dropped: Sequence[tuple[StudyRef, str]],
        settled: Mapping[str, Settled] | None = None,
        kept: Mapping[tuple[str, str], Collection[Digest]] | None = None,
    ) -> int:
        drafts = [(recording.Draft(new), number, is_current) for new, number, is_current in batch]
        with self.changing() as changes:
            recording.load_for(changes, [new for new, _, _ in batch])
            replication = Replication(changes)
            for tenant, numbers in (settled or {}).items():
                changes.load(tenant, {uid for uid, _ in numbers}, [])
                replication.settle(tenant, numbers)
            for (tenant, sop_instance_uid), files in (kept or {}).items():
                changes.load(tenant, [sop_instance_uid], [])
                replication.keep(tenant, sop_instance_uid, files)
            for study, sop_instance_uid in dropped:
                changes.load(study.tenant, [sop_instance_uid], [])
                replication.drop(study, sop_instance_uid)
            for draft, number, is_current in drafts:
                replication.take(draft, number, is_current)
            changes.write()
            self._close_removed(changes)
            return changes.seq

    def set_pix(self, tenant: str, sop_instance_uid: str, version: int, frames: FrameTable) -> None:
        with self.database.write() as connection:
            derived.set_pix(connection, tenant, sop_instance_uid, version, frames)

    def delete(
        self,
        study: StudyRef,
        series_instance_uid: str | None,
        sop_instance_uid: str | None,
        principal: str = LOCAL_ADMIN,
    ) -> list[InstanceRecord]:
        now = self._clock.now()
        with self.changing() as changes:
            removed = removal.delete(
                changes, changes.connection, study, series_instance_uid, sop_instance_uid, principal, now
            )
            changes.write()
            self._close_removed(changes)
        return removed

    def resolve_conflict(self, conflict_id: int, keep: str, principal: str) -> ConflictRecord:
        with self.changing() as changes:
            conflicts.resolve(changes, changes.connection, conflict_id, keep)
            changes.write()
            this = schema.conflict.c.id == conflict_id
            conflicts.close(changes.connection, this, keep, principal, microseconds(self._clock.now()))
            return conflicts.conflict(changes.connection, conflict_id)

    def give_urgency(self, study: StudyRef, given: GivenUrgency | None) -> bool:
        if self.given_urgency(study) == given:  # what a feed repeats costs no transaction
            return False
        with self.database.write() as connection:
            self.database.tell(connection)
            return feed.give_urgency(connection, study, given)

    def start_epoch(self) -> FeedCursor:
        """Begin a new epoch, as a restore must: every follower of the feed resynchronises."""
        with self.database.write() as connection:
            connection.execute(sa.update(schema.head).values(epoch=new_epoch()))
            self.database.tell(connection)
            return feed.head(connection)

    # -- reading ---------------------------------------------------------------------------

    def find_instance(
        self,
        tenant: str,
        sop_instance_uid: str,
        *,
        study_instance_uid: str | None = None,
        series_instance_uid: str | None = None,
        version: int | None = None,
    ) -> InstanceRecord:
        with self.database.read() as connection:
            return reading.find_instance(
                connection,
                tenant,
                sop_instance_uid,
                study_instance_uid=study_instance_uid,
                series_instance_uid=series_instance_uid,
                version=version,
            )

    def list_instances(
        self, study: StudyRef, series_instance_uid: str | None = None, *, at_seq: int | None = None
    ) -> list[InstanceRecord]:
        with self.database.read() as connection:
            return reading.list_instances(connection, study, series_instance_uid, at_seq)

    def list_versions(self, tenant: str, sop_instance_uid: str) -> list[InstanceRecord]:
        with self.database.read() as connection:
            return reading.list_versions(connection, tenant, sop_instance_uid)

    def was_removed(self, tenant: str, sop_instance_uid: str) -> bool:
        with self.database.read() as connection:
            return reading.was_removed(connection, tenant, sop_instance_uid)

    def replica(self, study: StudyRef) -> list[tuple[InstanceRecord, bytes]] | None:
        with self.database.read() as connection:
            return reading.replica(connection, study) if reading.holds_local(connection, study) else None

    def holds_local(self, study: StudyRef) -> bool:
        with self.database.read() as connection:
            return reading.holds_local(connection, study)

    def taken_in(self, after: int, limit: int) -> list[TakenIn]:
        with self.database.read() as connection:
            return reading.taken_in(connection, after, limit)

    def every_version(self, after: int, limit: int) -> list[tuple[int, InstanceRecord]]:
        """Return stored versions of all tenants with an id beyond `after`, also those that were removed from view."""
        with self.database.read() as connection:
            return reading.every_version(connection, after, limit)

    def metadata(
        self,
        study: StudyRef,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
        *,
        version: int | None = None,
        at_seq: int | None = None,
    ) -> list[tuple[Identity, bytes]]:
        with self.database.read() as connection:
            return reading.metadata(
                connection, study, series_instance_uid, sop_instance_uid, version=version, at_seq=at_seq
            )

    def state(self, study: StudyRef, series_instance_uid: str | None = None) -> int:
        with self.database.read() as connection:
            return reading.state(connection, study, series_instance_uid)

    def search(self, search: Search) -> Result:
        """Return the matches of a search, in an order that does not change between its pages.

        Raises
        ------
        TooBroad
            If it takes longer than `searching.MAX_SEARCH_S`.
        """
        with self.database.read_within(searching.MAX_SEARCH_S) as connection:
            return searching.run(connection, search)

    def given_urgency(self, study: StudyRef) -> GivenUrgency | None:
        with self.database.read() as connection:
            return feed.given_urgency(connection, study)

    def totals(self) -> Totals:
        """Return how much is in view, of all tenants; costs the same for any size."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(schema.head.c.studies, schema.head.c.instances)).one()
        return Totals(row.studies, row.instances)

    def count_series(self) -> int:
        with self.database.read() as connection:
            counted = sa.select(sa.func.count()).select_from(schema.series).where(schema.series.c.listed)
            return int(connection.execute(counted).scalar_one())

    def count_open_conflicts(self) -> int:
        with self.database.read() as connection:
            return conflicts.count_open(connection)

    # -- feed and outbox -------------------------------------------------------------------

    def head(self) -> FeedCursor:
        with self.database.read() as connection:
            return feed.head(connection)

    def feed(self, after: FeedCursor | None, limit: int) -> list[FeedEntry]:
        with self.database.read() as connection:
            return feed.feed(connection, after, limit)

    def save_root(self, study: StudyRef, seq: int, root: Digest) -> None:
        with self.database.write() as connection:
            feed.save_root(connection, study, seq, root)

    def seq_of_root(self, study: StudyRef, root: Digest) -> int | None:
        with self.database.read() as connection:
            return feed.seq_of_root(connection, study, root)

    def root_at(self, study: StudyRef, seq: int) -> Digest | None:
        with self.database.read() as connection:
            return feed.root_at(connection, study, seq)

    def announce(self, kind: str, tenant: str, identity: Identity | None, detail: DICOMJSON) -> int:
        with self.changing() as changes:
            event_id = changes.event(kind, tenant, identity, 0, detail)
            changes.write()
        return event_id

    def outbox(self, consumer: str, limit: int, after: int = 0) -> list[OutboxEvent]:
        with self.database.read() as connection:
            if feed.is_known(connection, consumer):
                return feed.outbox(connection, consumer, limit, after)
        with self.database.write() as connection:
            feed.enrol(connection, consumer)
            return feed.outbox(connection, consumer, limit, after)

    def lag(self, consumer: str) -> int:
        with self.database.read() as connection:
            return feed.lag(connection, consumer)

    def acknowledge(self, consumer: str, event_id: int) -> None:
        with self.database.write() as connection:
            feed.acknowledge(connection, consumer, event_id)

    def passed(self, consumer: str) -> int:
        with self.database.read() as connection:
            return feed.passed(connection, consumer)

    # -- what is derived -------------------------------------------------------------------

    def conflicts(self, tenant: str, *, open_only: bool = True) -> list[ConflictRecord]:
        with self.database.read() as connection:
            return conflicts.conflicts(connection, tenant, open_only=open_only)

    def rendition(self, tenant: str, source: Digest, transfer_syntax_uid: str) -> Rendition | None:
        with self.database.read() as connection:
            return derived.rendition(connection, tenant, source, transfer_syntax_uid)

    def renditions(self, tenant: str, sources: Sequence[Digest], transfer_syntax_uid: str) -> dict[Digest, Rendition]:
        with self.database.read() as connection:
            return derived.renditions(connection, tenant, sources, transfer_syntax_uid)

    def add_renditions(self, tenant: str, renditions: Sequence[Rendition]) -> None:
        with self.database.write() as connection:
            derived.add_renditions(connection, tenant, renditions)

    def add_hashes(self, rows: Sequence[PerceptualRow]) -> None:
        with self.database.write() as connection:
            derived.add_hashes(connection, rows)

    def hashes(self, study: StudyRef) -> list[PerceptualRow]:
        with self.database.read() as connection:
            return derived.hashes(connection, study)

    def hashed_studies(self, tenant: str) -> list[StudyRef]:
        with self.database.read() as connection:
            return derived.hashed_studies(connection, tenant)

    def forget_hashes(self, study: StudyRef) -> None:
        with self.database.write() as connection:
            derived.forget_hashes(connection, study)

    def is_hashed(self, tenant: str, sop_instance_uid: str, version: int) -> bool:
        with self.database.read() as connection:
            return derived.is_hashed(connection, tenant, sop_instance_uid, version)

    def count_tenant_hashes(self, tenant: str) -> int:
        with self.database.read() as connection:
            return derived.count_tenant_hashes(connection, tenant)

    def tenant_hashes(self, tenant: str) -> tuple[list[PerceptualRow], dict[str, str]]:
        with self.database.read() as connection:
            return derived.tenant_hashes(connection, tenant), derived.patient_scopes(connection, tenant)

    # --------------------------------------------------------------------------------------

    @contextmanager
    def changing(self) -> Iterator[Changes]:
        """Open the write transaction with its changes; whoever makes some writes them."""
        with self.database.write() as connection:
            changes = Changes(connection, self._warm)
            yield changes
            self.database.tell(connection)
        changes.committed()
        if changes.keeps_more:
            self.on_kept()

    def _honour_notes(self, changes: Changes, stored: Iterable[tuple[NewVersion, Recorded | VersionState]]) -> None:
        if self._honours_notes:
            rejecting.honour(changes, [(new, one.outcome) for new, one in stored if isinstance(one, Recorded)])

    def _close_removed(self, changes: Changes) -> None:
        gone = [v.id for i in changes.instances.values() for v in i.versions.values() if v.is_removed]
        conflicts.close_removed(changes.connection, gone, microseconds(self._clock.now()))
