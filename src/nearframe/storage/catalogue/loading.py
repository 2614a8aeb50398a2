"""Loading the rows a write transaction works on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa

from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.states import InstanceState, SeriesState, StudyState, VersionState
from nearframe.storage.catalogue.terms import study_terms

_T = TypeVar("_T")
_CHUNK = 500  # parameters of one IN list: a statement stays small and its plan cached

_study, _series, _instance, _version = schema.study.c, schema.series.c, schema.instance.c, schema.version.c
_KEYS: sa.BindParameter[Any] = sa.bindparam("keys", expanding=True)
_TENANT: sa.BindParameter[Any] = sa.bindparam("tenant")

# Built once: a transaction is short beside the making of its statements.
_INSTANCES = sa.select(schema.instance).where(_instance.tenant == _TENANT, _instance.sop_instance_uid.in_(_KEYS))
_STUDIES = sa.select(schema.study).where(_study.tenant == _TENANT, _study.study_instance_uid.in_(_KEYS))
_STUDIES_BY_ID = sa.select(schema.study).where(_study.id.in_(_KEYS))
_SERIES = sa.select(schema.series).where(_series.study_id.in_(_KEYS))
_VERSIONS = sa.select(
    *(
        _version[name]
        for name in (
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
            "file",
            "bulk",
            "frames",
        )
    )
).where(_version.instance_id.in_(_KEYS))


class Loaded:
    """The studies, series and instances a transaction has loaded, by UID."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.studies: dict[tuple[str, str], StudyState] = {}
        self.instances: dict[tuple[str, str], InstanceState] = {}
        self._study_by_id: dict[int, StudyState] = {}
        self._series_by_id: dict[int, SeriesState] = {}

    def load(self, tenant: str, sop_instance_uids: Collection[str], study_instance_uids: Collection[str]) -> None:
        """Load instances with their versions, the studies these are filed in, and further studies."""
        instances = self._load_instances(tenant, sop_instance_uids)
        rows = self._select(_VERSIONS, list(instances))
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
        for row in self._select(_INSTANCES, wanted, tenant=tenant):
            state = InstanceState(
                row["id"], tenant, row["sop_instance_uid"], False, last_number=row["last_number"], row=row
            )
            found[state.id] = state
            self.instances[tenant, state.uid] = state
        return found

    def _load_studies(self, tenant: str, uids: Collection[str], ids: Collection[int]) -> None:
        new_uids = [uid for uid in uids if (tenant, uid) not in self.studies]
        loaded = self._add_studies(self._select(_STUDIES, new_uids, tenant=tenant))
        new_ids = [study_id for study_id in ids if study_id not in self._study_by_id]
        loaded += self._add_studies(self._select(_STUDIES_BY_ID, new_ids))
        for row in self._select(_SERIES, loaded):
            self._add_series(row)
        for study_id in loaded:
            study = self._study_by_id[study_id]
            counts = study.counts()
            study.terms = set(study_terms(study.attributes, counts.modalities, counts.sop_classes))

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

    def _select(self, statement: sa.Select[Any], keys: Sequence[Any], **parameters: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for chunk in chunks(keys):
            found = self._connection.execute(statement, {"keys": chunk} | parameters)
            rows += [dict(row) for row in found.mappings()]
        return rows


def chunks(values: Sequence[_T]) -> Iterator[list[_T]]:
    """Yield `values` in lists that fit one statement."""
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
