"""Purging: what was taken out of view long enough ago is forgotten, and its contents let go of.

::

    1. purge     one transaction: versions go, and what only they referred to is noted
    2. let go    one transaction: the store drops the study's references to it
    3. erase     compaction takes the bytes out of the packs; then the notes go

A crash anywhere repeats what comes after 1. What a study refers to again meanwhile is not let
go of: each step compares with the versions that there are. Nothing of a study on legal hold
is purged.

Who records a version takes turns with the second step, whichever process either is in. Before it, the
version is there and keeps its contents. After it, the one that records finds that they went
(`ContentStore.confirm`), and nothing is recorded.

Instances that a correction withdrew leave their UID behind: sent again, they stay out of view.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import sqlalchemy as sa

from nearframe.ids import Digest
from nearframe.storage.catalogue import reading, schema
from nearframe.storage.catalogue.catalogue import SQLCatalogue
from nearframe.storage.catalogue.changes import Changes
from nearframe.storage.catalogue.correcting import correction_row
from nearframe.storage.catalogue.holding import KEPT
from nearframe.storage.catalogue.loading import chunks
from nearframe.storage.catalogue.values import microseconds
from nearframe.storage.ports import CorrectionRecord, InstanceRecord, NewCorrection, StudyRef

_correction, _corrected, _withdrawn = schema.correction.c, schema.corrected.c, schema.withdrawn.c
_study, _version, _instance = schema.study.c, schema.version.c, schema.instance.c
_letting_go, _rendition = schema.letting_go.c, schema.rendition.c

_DIGEST_BYTES: Final = 32
#: Instances looked for at a time: they are held in memory.
MAX_DUE: Final = 20_000

_BEFORE: sa.BindParameter[int] = sa.bindparam("before", type_=sa.BigInteger)
_TAKEN_OUT: Final = (
    sa.select(_corrected.instance_id)
    .join_from(schema.correction, schema.corrected, _corrected.correction_id == _correction.id)
    .where(_correction.made_at < _BEFORE, _corrected.after_id.is_(None))
    .union(
        sa.select(_withdrawn.instance_id)
        .join_from(schema.correction, schema.withdrawn, _withdrawn.correction_id == _correction.id)
        .where(_correction.made_at < _BEFORE)
    )
)
_CORRECTED_SINCE: Final = (
    sa.select(_corrected.correction_id)
    .join_from(schema.corrected, schema.correction, _correction.id == _corrected.correction_id)
    .where(_corrected.instance_id == _instance.id, _correction.made_at >= _BEFORE)
    .exists()
)
_OTHER: Final = schema.version.alias("other")
_RECEIVED_SINCE: Final = (
    sa.select(_OTHER.c.id).where(_OTHER.c.instance_id == _instance.id, _OTHER.c.received_at >= _BEFORE).exists()
)
_ON_HOLD: Final = (
    sa.select(_OTHER.c.id).where(_OTHER.c.instance_id == _instance.id, _OTHER.c.study_id.in_(KEPT)).exists()
)
_IS_STORED: Final = sa.select(_OTHER.c.id).where(_OTHER.c.instance_id == _instance.id).exists()
#: Instances out of view.
_DUE: Final = (
    sa.select(_instance.id)
    .where(_instance.current_id.is_(None), _instance.id.in_(_TAKEN_OUT))
    .where(_IS_STORED, ~_CORRECTED_SINCE, ~_RECEIVED_SINCE, ~_ON_HOLD)
    .order_by(_instance.id)
)
_OF_STUDY: Final = (
    sa.select(_version.instance_id)
    .join_from(schema.study, schema.version, _version.study_id == _study.id)
    .where(_study.tenant == sa.bindparam("tenant"), _study.study_instance_uid == sa.bindparam("study"))
)
_FILED: Final = (
    sa.select(_version.instance_id, _study.tenant, _study.study_instance_uid)
    .distinct()
    .join_from(schema.version, schema.study, _study.id == _version.study_id)
)


@dataclass(frozen=True, slots=True)
class Due:
    """Instances that are to be purged, and every study that versions of them are filed in."""

    tenant: str
    studies: frozenset[StudyRef]
    instances: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LettingGo:
    """Contents that no version of a study referred to any more when they were noted."""

    id: int
    study: StudyRef
    digests: tuple[Digest, ...]
    is_released: bool


class Drop(Protocol):
    """Has a store drop a study's references: `stores.Store.let_go`."""

    def __call__(
        self, connection: sa.Connection, study: StudyRef, digests: Sequence[Digest], *, is_empty: bool
    ) -> list[Digest]: ...


class Purging:
    """The purges of a catalogue. Any thread may call."""

    def __init__(self, catalogue: SQLCatalogue) -> None:
        self._catalogue = catalogue

    def due(self, before: datetime, study: StudyRef | None = None, limit: int = MAX_DUE) -> list[Due]:
        """Return what has been out of view since `before`, is not on hold, and nothing came of since.

        Parameters
        ----------
        study
            Only instances of which a version is filed here.
        limit
            Most instances.
        """
        statement = _DUE.limit(limit)
        values: dict[str, Any] = {"before": microseconds(before)}
        if study is not None:
            statement = statement.where(_instance.id.in_(_OF_STUDY))
            values |= {"tenant": study.tenant, "study": study.study_instance_uid}
        filed: dict[int, set[StudyRef]] = {}
        with self._catalogue.database.read() as connection:
            for some in chunks(list(connection.execute(statement, values).scalars())):
                for row in connection.execute(_FILED.where(_version.instance_id.in_(some))):
                    filed.setdefault(row.instance_id, set()).add(StudyRef(row.tenant, row.study_instance_uid))
        grouped: dict[frozenset[StudyRef], list[int]] = {}
        for instance_id, studies in filed.items():
            grouped.setdefault(frozenset(studies), []).append(instance_id)
        return [Due(next(iter(studies)).tenant, studies, tuple(ids)) for studies, ids in grouped.items()]

    def purge(self, due: Due, before: datetime, new: NewCorrection) -> CorrectionRecord | None:
        """Forget instances for good, and record who did; None if none of them is due any more."""
        with self._catalogue.changing() as changes:
            connection = changes.connection
            ids = _still_due(connection, due.instances, before)
            if not ids:
                return None
            gone = [
                version for some in chunks(ids) for version in _versions(connection, _version.instance_id.in_(some))
            ]
            _forget(connection, ids, due.studies)
            for study, digests in _referred(gone).items():
                _note(changes, study, digests | _made_of(connection, study.tenant, digests))
            correction_id = changes.new_id()
            changes.add(schema.correction, correction_row(correction_id, new, len(ids)))
            changes.write()
        return CorrectionRecord(
            correction_id, new.tenant, new.action, new.principal, new.reason, new.made_at, new.detail, len(ids)
        )

    # -- what is let go of -----------------------------------------------------------------

    def doubt(self, contents: Mapping[StudyRef, Collection[Digest]]) -> None:
        """Have it looked whether studies refer to contents: appended for versions that did not come about."""
        with self._catalogue.changing() as changes:
            for study, digests in contents.items():
                _note(changes, study, digests)
            changes.write()

    def letting_go(self) -> list[LettingGo]:
        """Return what was purged and may still be in the packs."""
        with self._catalogue.database.read() as connection:
            rows = connection.execute(sa.select(schema.letting_go).order_by(_letting_go.id))
            return [
                LettingGo(row.id, StudyRef(row.tenant, row.study_instance_uid), _split(row.digests), row.released)
                for row in rows
            ]

    def let_go(self, one: LettingGo, drop: Drop) -> None:
        """Have a store drop what no version of the study refers to now; renditions of what is gone are forgotten."""
        study, waits = one.study, sa.and_(_letting_go.id == one.id, ~_letting_go.released)
        with self._catalogue.database.write() as connection:
            if connection.execute(sa.select(_letting_go.id).where(waits)).first() is None:
                return  # another process was first
            here = sa.and_(_study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid)
            versions = _versions(connection, here)
            referred = _referred(versions).get(study, set())
            referred |= _made_of(connection, study.tenant, referred)
            digests = [digest for digest in one.digests if digest not in referred]
            for some in chunks(drop(connection, study, digests, is_empty=not versions)):
                lost = sa.or_(_rendition.source.in_(some), _rendition.digest.in_(some))
                connection.execute(sa.delete(schema.rendition).where(_rendition.tenant == study.tenant, lost))
            connection.execute(sa.update(schema.letting_go).where(waits).values(released=True))

    def erased(self, ids: Collection[int]) -> None:
        """The packs are rid of it."""
        with self._catalogue.database.write() as connection:
            for some in chunks(ids):
                connection.execute(sa.delete(schema.letting_go).where(_letting_go.id.in_(some)))


def _still_due(connection: sa.Connection, instance_ids: Sequence[int], before: datetime) -> list[int]:
    found: set[int] = set()
    for some in chunks(instance_ids):
        rows = connection.execute(_DUE.where(_instance.id.in_(some)), {"before": microseconds(before)})
        found.update(rows.scalars())
    return sorted(found)


def _versions(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[InstanceRecord]:
    return [reading.to_record(row) for row in connection.execute(reading.RECORDS.where(which))]


def _referred(records: Iterable[InstanceRecord]) -> dict[StudyRef, set[Digest]]:
    """Return what versions refer to, by the study that they are filed in."""
    found: dict[StudyRef, set[Digest]] = {}
    for record in records:
        found.setdefault(record.study, set()).update(record.contents)
    return found


def _made_of(connection: sa.Connection, tenant: str, sources: Collection[Digest]) -> set[Digest]:
    """Return the renditions of frames."""
    found: set[Digest] = set()
    for some in chunks(sources):
        statement = sa.select(_rendition.digest).where(_rendition.tenant == tenant, _rendition.source.in_(some))
        found.update(connection.execute(statement).scalars())
    return found


def _note(changes: Changes, study: StudyRef, digests: Collection[Digest]) -> None:
    row: dict[str, Any] = {
        "id": changes.new_id(),
        "tenant": study.tenant,
        "study_instance_uid": study.study_instance_uid,
        "released": False,
        "digests": b"".join(sorted(digests)),
    }
    changes.add(schema.letting_go, row)


def _forget(connection: sa.Connection, instance_ids: Sequence[int], studies: Collection[StudyRef]) -> None:
    for some in chunks(instance_ids):
        gone = sa.select(_version.id).where(_version.instance_id.in_(some))
        kept = sa.select(_withdrawn.instance_id).where(_withdrawn.instance_id.in_(some))
        for statement in (
            sa.delete(schema.perceptual).where(schema.perceptual.c.version_id.in_(gone)),
            sa.delete(schema.conflict).where(schema.conflict.c.version_id.in_(gone)),
            sa.delete(schema.corrected).where(_corrected.instance_id.in_(some)),
            sa.delete(schema.version).where(_version.instance_id.in_(some)),
            sa.delete(schema.instance).where(_instance.id.in_(some), ~_instance.id.in_(kept)),
        ):
            connection.execute(statement)
    # Earlier states, which showed what is gone, cannot be rebuilt.
    for study in studies:
        owner = sa.select(_study.id).where(
            _study.tenant == study.tenant, _study.study_instance_uid == study.study_instance_uid
        )
        connection.execute(sa.delete(schema.study_root).where(schema.study_root.c.study_id.in_(owner)))


def _split(digests: bytes) -> tuple[Digest, ...]:
    return tuple(digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES))
