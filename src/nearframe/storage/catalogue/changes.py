"""A write transaction: what it changes, in memory first, and its rows at the end.

Every way of changing the catalogue (taking in, replicating, deleting, resolving) is put in
terms of three moves: file a version, make it current, withdraw an instance from view. Feed
sequences, counts, prepared answers and the search index follow from these alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import sqlalchemy as sa

from nearframe.dicom.attributes import attributes_of
from nearframe.dicom.model import DICOMJSON, Attributes
from nearframe.ids import Identity
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.answers import StudyCounts, instance_answer
from nearframe.storage.catalogue.attributes import dump
from nearframe.storage.catalogue.columns import NOTHING_CURRENT, own, series_columns, study_columns
from nearframe.storage.catalogue.holding import Holding, patient_of
from nearframe.storage.catalogue.loading import Loaded
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.catalogue.states import InstanceState, SeriesState, StudyState, VersionState
from nearframe.storage.catalogue.terms import study_terms
from nearframe.storage.catalogue.values import unpack_metadata
from nearframe.storage.catalogue.warm import Warm

_HEAD = Prepared(sa.select(schema.head.c.seq, schema.head.c.next_id))
_SAVE_HEAD = Prepared(
    sa.update(schema.head).values(
        seq=sa.bindparam("seq_"),
        next_id=sa.bindparam("next_id_"),
        studies=schema.head.c.studies + sa.bindparam("new_studies"),
        instances=schema.head.c.instances + sa.bindparam("new_instances"),
    )
)
_UPDATE_VERSION = Prepared(
    sa.update(schema.version)
    .where(schema.version.c.id == sa.bindparam("id_"))
    .values(
        current_from_seq=sa.bindparam("current_from_seq"),
        current_to_seq=sa.bindparam("current_to_seq"),
        removed=sa.bindparam("removed"),
    )
)


class Changes(Loaded):
    """The changes of one transaction.

    Attributes
    ----------
    keeps_more
        Once written: whether a study came to name a patient on hold.
    """

    def __init__(self, connection: sa.Connection, warm: Warm) -> None:
        (head,) = _HEAD.rows(connection)
        self.seq: int = head["seq"]
        self._next_id: int = head["next_id"]
        self.holding = Holding(connection)
        self.keeps_more = False
        self._warm = warm
        super().__init__(connection, warm.take((self.seq, self._next_id)))
        self._events: list[dict[str, Any]] = []
        self._conflicts: list[dict[str, Any]] = []
        self._terms: list[dict[str, Any]] = []
        self._added: dict[sa.Table, list[dict[str, Any]]] = {}

    # -- moves -----------------------------------------------------------------------------

    def instance(self, tenant: str, sop_instance_uid: str) -> InstanceState:
        """Return an instance, loaded or new."""
        key = tenant, sop_instance_uid
        if key not in self.instances:
            state = InstanceState(self.new_id(), tenant, sop_instance_uid, is_new=True, row=dict(NOTHING_CURRENT))
            self.instances[key] = state
        return self.instances[key]

    def place(self, tenant: str, identity: Identity) -> SeriesState:
        """Return the series an instance is to be filed in, loaded or new."""
        key = tenant, identity.study_instance_uid
        study = self.studies.get(key)
        if study is None:
            study = StudyState(self.new_id(), tenant, identity.study_instance_uid, 0, None, {}, is_new=True)
            self.studies[key] = study
        series = study.series.get(identity.series_instance_uid)
        if series is None:
            uid = identity.series_instance_uid
            series = SeriesState(self.new_id(), study, uid, 0, None, {}, Counter(), is_new=True)
            study.series[uid] = series
        return series

    def file(
        self, instance: InstanceState, series: SeriesState, columns: dict[str, Any], number: int | None = None
    ) -> VersionState:
        """Add a version, not current; with the next number if none is given."""
        version = VersionState(self.new_id(), number or instance.last_number + 1, series, {}, is_new=True)
        version.row = columns | {
            "id": version.id,
            "instance_id": instance.id,
            "number": version.number,
            "study_id": series.study.id,
            "series_id": series.id,
            "current_from_seq": None,
            "current_to_seq": None,
            "removed": False,
        }
        # Every study has a place in the feed, also one that holds nothing but a conflict.
        if series.study.is_new:
            self.touch(series)
        instance.versions[version.number] = version
        instance.last_number = max(instance.last_number, version.number)
        instance.is_changed = True
        return version

    def replace(
        self, instance: InstanceState, version: VersionState, series: SeriesState, columns: dict[str, Any]
    ) -> None:
        """Overwrite a version, not current: only for a replica whose upstream gave the number to something else."""
        if instance.current is version:
            self.withdraw(instance)
        if series.study.is_new:
            self.touch(series)
        version.series = series
        version.row |= columns | {"study_id": series.study.id, "series_id": series.id, "removed": False}
        version.is_replaced = instance.is_changed = True

    def make_current(self, instance: InstanceState, version: VersionState, attributes: Attributes) -> int:
        """Show `version` as the instance; return the feed sequence of its study.

        Raises
        ------
        OnHold
            If that takes the instance out of a study on hold, or gives it to another patient.
        """
        series = version.series
        study = series.study
        leaves = instance.current
        if leaves is not None and not self.may_become(instance, study, attributes):
            self.holding.keep(leaves.series.study)
        # Where it comes to stand first in the feed, where it leaves after: a follower never lacks it.
        self.touch(series)
        self._withdraw(instance)
        version.change(current_from_seq=study.seq, current_to_seq=None, removed=False)
        series.add(version.sop_class_uid)
        study.source_id = series.source_id = version.id
        study.show(own(attributes.study))
        series.show(own(attributes.series))
        identity = Identity(version.sop_class_uid, instance.uid, series.uid, study.uid)
        instance.current = version
        instance.row |= {
            "series_id": series.id,
            "current_id": version.id,
            "instance_number": version.row["instance_number"],
            "sop_class_uid": version.sop_class_uid,
            "answer": instance_answer(own(attributes.instance), identity, version.row["transfer_syntax_uid"]),
        }
        instance.is_changed = True
        return study.seq

    def withdraw(self, instance: InstanceState) -> None:
        """Take the current version, if there is one, out of view; raises `OnHold` if it has to stay."""
        if instance.current is not None:
            self.holding.keep(instance.current.series.study)
        self._withdraw(instance)

    def may_become(self, instance: InstanceState, study: StudyState, attributes: Attributes) -> bool:
        """Return whether no hold is in the way of an instance's becoming one of this study, with these attributes."""
        leaves = instance.current
        if leaves is None or not self.holding.on(leaves.series.study):
            return True
        # Its own patient, not its study's: a study may name two.
        is_theirs = patient_of(attributes.study) == patient_of(self._metadata_of(leaves))
        return study is leaves.series.study and is_theirs

    def _metadata_of(self, version: VersionState) -> DICOMJSON:
        packed = version.row.get("metadata")
        if packed is None:
            statement = sa.select(schema.version.c.metadata).where(schema.version.c.id == version.id)
            packed = self.connection.execute(statement).scalar_one()
        document: DICOMJSON = json.loads(unpack_metadata(packed))
        return document

    def _withdraw(self, instance: InstanceState) -> None:
        version = instance.current
        if version is None:
            return
        series = version.series
        study = series.study
        self.touch(series)
        version.change(current_to_seq=study.seq)
        series.remove(version.sop_class_uid)
        if series.source_id == version.id:
            series.source_id = None
        if study.source_id == version.id:
            study.source_id = None
        instance.current = None
        instance.row |= NOTHING_CURRENT
        instance.is_changed = True

    def touch(self, series: SeriesState) -> None:
        """Give the series' study a new place in the feed, the same for the whole transaction."""
        study = series.study
        if not study.is_touched:
            self.seq += 1
            study.seq = self.seq
            study.is_touched = True
        series.seq = study.seq
        series.is_touched = True

    def conflict(self, instance: InstanceState, version: VersionState, current: VersionState) -> None:
        """Flag a version whose pixels differ from the current one's."""
        self._conflicts.append(
            {
                "id": self.new_id(),
                "tenant": instance.tenant,
                "version_id": version.id,
                "current_number": current.number,
                "resolved_at": None,
            }
        )

    def event(self, kind: str, tenant: str, identity: Identity | None, version: int, detail: DICOMJSON) -> int:
        """Write an event to the outbox; return its id."""
        event_id = self.new_id()
        self._events.append(
            {
                "id": event_id,
                "kind": kind,
                "tenant": tenant,
                "sop_class_uid": identity and identity.sop_class_uid,
                "sop_instance_uid": identity and identity.sop_instance_uid,
                "series_instance_uid": identity and identity.series_instance_uid,
                "study_instance_uid": identity and identity.study_instance_uid,
                "version": version,
                "detail": dump(detail).decode(),
            }
        )
        return event_id

    def add(self, table: sa.Table, row: dict[str, Any]) -> None:
        """Write a row of a table that no move is about, together with the rest."""
        self._added.setdefault(table, []).append(row)

    def new_id(self) -> int:
        """Draw an id: it names one row of the whole catalogue."""
        self._next_id += 1
        return self._next_id - 1

    # -- rows ------------------------------------------------------------------------------

    def write(self) -> None:
        """Write every row that changed. Call once, last."""
        instances = [instance for instance in self.instances.values() if instance.is_changed]
        self._put(schema.instance, [(i.is_new, _instance_row(i)) for i in instances])
        versions = [version for instance in instances for version in instance.versions.values()]
        self._insert(schema.version, [version.row for version in versions if version.is_new])
        stored = [version for version in versions if not version.is_new]
        self._put(schema.version, [(False, version.row) for version in stored if version.is_replaced])
        self._update_versions(version for version in stored if version.is_changed)
        studies = [study for study in self.studies.values() if study.is_touched]
        every_series = (series for study in self.studies.values() for series in study.series.values())
        series = [one for one in every_series if one.is_touched or one.is_new]
        for one in series:
            self._find_source(one)
        for study in studies:
            self._find_source(study)
        newly_kept = list(self.holding.newly_kept(studies))
        self.keeps_more = bool(newly_kept)
        self._insert(schema.held, newly_kept)
        counts = {study.id: study.counts() for study in studies}
        self._put(schema.series, [(one.is_new, series_columns(one)) for one in series])
        self._put(schema.study, [(study.is_new, study_columns(study, counts[study.id])) for study in studies])
        for study in studies:
            self._index(study, counts[study.id])
        self._insert(schema.term, self._terms)
        self._insert(schema.conflict, self._conflicts)
        self._insert(schema.outbox, self._events)
        for table, rows in self._added.items():
            self._insert(table, rows)
        self._save_head(studies, counts)

    def committed(self) -> None:
        """Leave what is known of the studies to the next transaction. Call once this one is committed."""
        self._warm.put((self.seq, self._next_id), self._known | self.studies)

    def _save_head(self, studies: list[StudyState], counts: dict[int, StudyCounts]) -> None:
        now = [(counts[study.id].instances, study.instances_before) for study in studies]
        parameters = {
            "seq_": self.seq,
            "next_id_": self._next_id,
            "new_studies": sum((after > 0) - (before > 0) for after, before in now),
            "new_instances": sum(after - before for after, before in now),
        }
        _SAVE_HEAD.run(self.connection, [parameters])

    def _find_source(self, state: StudyState | SeriesState) -> None:
        """Give a study or series whose source was withdrawn the attributes of the latest version left."""
        if state.source_id is not None:
            return
        table = schema.version.c
        key = table.study_id if isinstance(state, StudyState) else table.series_id
        study_id = state.id if isinstance(state, StudyState) else state.study.id
        statement = (
            sa.select(table.id, table.metadata)
            .where(table.study_id == study_id, key == state.id)
            .where(table.current_from_seq.is_not(None), table.current_to_seq.is_(None))
            .order_by(table.current_from_seq.desc(), table.id.desc())
            .limit(1)
        )
        row = self.connection.execute(statement).first()
        if row is None:
            state.show({})
            return
        found = attributes_of(json.loads(unpack_metadata(row.metadata)))
        state.source_id = row.id
        state.show(own(found.study if isinstance(state, StudyState) else found.series))

    def _update_versions(self, versions: Iterable[VersionState]) -> None:
        names = ("current_from_seq", "current_to_seq", "removed")
        rows = [{"id_": v.id} | {name: v.row[name] for name in names} for v in versions]
        if rows:
            _UPDATE_VERSION.run(self.connection, rows)

    def _index(self, study: StudyState, counts: StudyCounts) -> None:
        indexed = counts.modalities, counts.sop_classes
        if indexed == study.indexed and not study.is_other:
            return
        table = schema.term.c
        terms: set[tuple[int, str]] = set(study_terms(study.attributes, *indexed))
        for field, value in study.terms - terms:
            self.connection.execute(
                sa.delete(schema.term).where(
                    table.tenant == study.tenant,
                    table.field == int(field),
                    table.value == value,
                    table.study_id == study.id,
                )
            )
        self._terms += [
            {"tenant": study.tenant, "field": int(field), "value": value, "study_id": study.id}
            for field, value in terms - study.terms
        ]
        study.terms, study.indexed = terms, indexed

    def _put(self, table: sa.Table, rows: list[tuple[bool, dict[str, Any]]]) -> None:
        self._insert(table, [row for is_new, row in rows if is_new])
        changed: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for is_new, row in rows:
            if not is_new:
                changed.setdefault(tuple(row), []).append({f"{name}_": value for name, value in row.items()})
        for names, values in changed.items():
            _update_of(table, names).run(self.connection, values)

    def _insert(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        if rows:
            _insert_into(table, tuple(rows[0])).run(self.connection, rows)


@cache
def _insert_into(table: sa.Table, names: tuple[str, ...]) -> Prepared:
    return Prepared(sa.insert(table), names)


@cache
def _update_of(table: sa.Table, names: tuple[str, ...]) -> Prepared:
    values: dict[str, Any] = {name: sa.bindparam(f"{name}_") for name in names if name != "id"}
    return Prepared(sa.update(table).where(table.c.id == sa.bindparam("id_")).values(values))


def _instance_row(instance: InstanceState) -> dict[str, Any]:
    return instance.row | {
        "id": instance.id,
        "tenant": instance.tenant,
        "sop_instance_uid": instance.uid,
        "last_number": instance.last_number,
    }
