"""Loading the rows a write transaction works on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.catalogue.states import InstanceState, SeriesState, StudyState, VersionState
from nearframe.storage.catalogue.terms import study_terms

_T = TypeVar("_T")
_CHUNK = 500  # parameters of one IN list: a statement stays small and its plan cached

_study, _series, _instance, _version = schema.study.c, schema.series.c, schema.instance.c, schema.version.c
_VERSION_COLUMNS: Final = (
    "id",
    "instance_id",
    "number",
    "study_id",
    "series_id",
    "current_from_seq",
    "current_to_seq",
    "removed",
    "instance_number",
    "sop_class_uid",
    "transfer_syntax_uid",
    "source",
    "file",
    "bulk",
    "frames",
)


class _ByKeys:
    """A query by a list of keys. For one key, the usual case, its SQL is written once for all."""

    def __init__(self, statement: sa.Select[Any], key: sa.Column[Any]) -> None:
        self._one = Prepared(statement.where(key == sa.bindparam("key")))
        self._many = statement.where(key.in_(sa.bindparam("keys", expanding=True)))

    def rows(self, connection: sa.Connection, keys: Collection[Any], **parameters: str) -> list[dict[str, Any]]:
        if len(keys) == 1:
            (key,) = keys
            return self._one.rows(connection, key=key, **parameters)
        rows: list[dict[str, Any]] = []
        for chunk in chunks(keys):
            found = connection.execute(self._many, {"keys": chunk} | parameters)
            rows += [dict(row) for row in found.mappings()]
        return rows


# Built once: a transaction is short beside the making of its statements.
_TENANT: sa.BindParameter[Any] = sa.bindparam("tenant")
_INSTANCES = _ByKeys(sa.select(schema.instance).where(_instance.tenant == _TENANT), _instance.sop_instance_uid)
_STUDIES = _ByKeys(sa.select(schema.study).where(_study.tenant == _TENANT), _study.study_instance_uid)
_STUDIES_BY_ID = _ByKeys(sa.select(schema.study), _study.id)
_SERIES = _ByKeys(sa.select(schema.series), _series.study_id)
_VERSIONS = _ByKeys(sa.select(*(_version[name] for name in _VERSION_COLUMNS)), _version.instance_id)


class Loaded:
    """The studies, series and instances a transaction has loaded, by UID.

    Parameters
    ----------
    known
        Studies that are held as the database has them, to be taken instead of their rows.
    """

    def __init__(self, connection: sa.Connection, known: Mapping[tuple[str, str], StudyState]) -> None:
        self.connection = connection
        self._known = dict(known)
        self._known_by_id = {study.id: key for key, study in known.items()}
        self.studies: dict[tuple[str, str], StudyState] = {}
        self.instances: dict[tuple[str, str], InstanceState] = {}
        self._study_by_id: dict[int, StudyState] = {}
        self._series_by_id: dict[int, SeriesState] = {}

    def load(self, tenant: str, sop_instance_uids: Collection[str], study_instance_uids: Collection[str]) -> None:
        """Load instances with their versions, the studies these are filed in, and further studies."""
        instances = self._load_instances(tenant, sop_instance_uids)
        rows = _VERSIONS.rows(self.connection, list(instances))
        self._load_studies(tenant, study_instance_uids, {row["study_id"] for row in rows})
        for row in sorted(rows, key=lambda row: int(row["number"])):
            instance = instances[row["instance_id"]]
            series = self._series_by_id[row["series_id"]]
            version = VersionState(row["id"], row["number"], series, row, is_new=False)
            instance.versions[version.number] = version
            if instance.row["current_id"] == version.id:
                instance.current = version

    def _load_instances(self, tenant: str, uids: Collection[str]) -> dict[int, InstanceState]:
        wanted = [uid for uid in uids if (tenant, uid) not in self.instances]
        found: dict[int, InstanceState] = {}
        for row in _INSTANCES.rows(self.connection, wanted, tenant=tenant):
            state = InstanceState(
                row["id"], tenant, row["sop_instance_uid"], False, last_number=row["last_number"], row=row
            )
            found[state.id] = state
            self.instances[tenant, state.uid] = state
        return found

    def _load_studies(self, tenant: str, uids: Collection[str], ids: Collection[int]) -> None:
        for key in [*((tenant, uid) for uid in uids), *(self._known_by_id.get(study_id, ("", "")) for study_id in ids)]:
            self._adopt(key)
        new_uids = [uid for uid in uids if (tenant, uid) not in self.studies]
        loaded = self._add_studies(_STUDIES.rows(self.connection, new_uids, tenant=tenant))
        new_ids = [study_id for study_id in ids if study_id not in self._study_by_id]
        loaded += self._add_studies(_STUDIES_BY_ID.rows(self.connection, new_ids))
        for row in _SERIES.rows(self.connection, loaded):
            self._add_series(row)
        for study_id in loaded:
            study = self._study_by_id[study_id]
            counts = study.counts()
            study.indexed = counts.modalities, counts.sop_classes
            study.terms = set(study_terms(study.attributes, *study.indexed))

    def _adopt(self, key: tuple[str, str]) -> None:
        """Take a study that is held, if it is."""
        study = self._known.pop(key, None)
        if study is not None:
            self.studies[key] = self._study_by_id[study.id] = study
            self._series_by_id |= {series.id: series for series in study.series.values()}

    def _add_studies(self, rows: Sequence[dict[str, Any]]) -> list[int]:
        for row in rows:
            study = StudyState(
                id=row["id"],
                tenant=row["tenant"],
                uid=row["study_instance_uid"],
                seq=row["seq"],
                source_id=row["source_version_id"],
                attributes=json.loads(row["attributes"]),
                is_new=False,
                instances_before=row["instance_count"],
            )
            self.studies[study.tenant, study.uid] = study
            self._study_by_id[study.id] = study
        return [row["id"] for row in rows]

    def _add_series(self, row: dict[str, Any]) -> None:
        study = self._study_by_id[row["study_id"]]
        series = SeriesState(
            id=row["id"],
            study=study,
            uid=row["series_instance_uid"],
            seq=row["seq"],
            source_id=row["source_version_id"],
            attributes=json.loads(row["attributes"]),
            sop_classes=Counter(json.loads(row["sop_classes"])),
            is_new=False,
        )
        study.series[series.uid] = series
        self._series_by_id[series.id] = series


def chunks(values: Collection[_T]) -> Iterator[list[_T]]:
    """Yield `values` in lists that fit one statement."""
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
