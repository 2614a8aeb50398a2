"""Whole synthetic catalogues, row for row as they come to stand: in SQLite, or by COPY in PostgreSQL.

A frame has what background work makes of it: the row of a rendition and that of a perceptual hash.
Metadata differ between the instances of a series by UID alone, and are as long as a CT slice's.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import sqlalchemy as sa

from bench.synthetic import CT_IMAGE, EXPLICIT_LE, ROOT, Shape, identity, series_attributes, study_attributes, version
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.ids import sha256
from nearframe.storage.catalogue import open_catalogue, schema
from nearframe.storage.catalogue.answers import instance_answer
from nearframe.storage.catalogue.catalogue import open_database
from nearframe.storage.catalogue.columns import series_columns, study_columns, version_columns
from nearframe.storage.catalogue.states import SeriesState, StudyState
from nearframe.storage.catalogue.terms import study_terms
from nearframe.storage.catalogue.values import pack_metadata, unpack_metadata
from nearframe.storage.objects import schema as objects
from nearframe.storage.ports import NewVersion
from nearframe.wire.frametable import FrameTable

Row: TypeAlias = dict[str, Any]
Insert: TypeAlias = Callable[[sa.Table, list[Row]], None]
#: Told how many instances of how many are in.
Progress: TypeAlias = Callable[[int, int], None]

_FRAME_BYTES: Final = 524_288
_OFFSETS: Final = json.dumps([4_000, 15_000, 58_000, 225_000])
#: Rows are handed over by so many studies: COPY is a statement, and each costs a round trip.
_STUDIES_AT_ONCE: Final = 10
#: By these columns a table tells what came after it was filled.
_ID_COLUMNS: Final = (
    (schema.perceptual, schema.perceptual.c.version_id),
    (schema.term, schema.term.c.study_id),
    (schema.version, schema.version.c.id),
    (schema.instance, schema.instance.c.id),
    (schema.series, schema.series.c.id),
    (schema.study, schema.study.c.id),
)


def fill(where: Path | str, shape: Shape, progress: Progress = lambda done, total: None) -> None:
    """Fill an empty catalogue, a file or a ``postgresql://`` URL, with what `shape` says; all of it or nothing."""
    open_catalogue(where).close()
    with _inserting(where) as insert:
        ids = itertools.count(1)
        for start in range(0, shape.studies, _STUDIES_AT_ONCE):
            rows: dict[sa.Table, list[Row]] = defaultdict(list)
            numbers = range(start, min(start + _STUDIES_AT_ONCE, shape.studies))
            for number in numbers:
                _add_study(rows, shape, number, ids)
            for table, of_table in rows.items():
                insert(table, of_table)
            progress(numbers.stop * shape.instances_per_study, shape.instances)
    trim(where, shape)


def trim(where: Path | str, shape: Shape) -> None:
    """Take out whatever was stored since the catalogue was filled."""
    next_id = 1 + shape.studies * (1 + shape.series_per_study * (1 + 2 * shape.instances_per_series))
    with closing(open_database(where)) as database, database.write() as connection:
        for table, column in _ID_COLUMNS:
            connection.execute(sa.delete(table).where(column >= next_id))
        for table in (schema.outbox, schema.conflict, schema.lease):
            connection.execute(sa.delete(table))
        connection.execute(sa.delete(schema.study_root).where(schema.study_root.c.seq > shape.studies))
        counts = {"studies": shape.studies, "instances": shape.studies * shape.instances_per_study}
        connection.execute(sa.update(schema.head).values(seq=shape.studies, next_id=next_id, **counts))
        objects.metadata.drop_all(connection)  # of the bucket that origins had meanwhile


def is_filled(where: Path | str, shape: Shape) -> bool:
    """Return whether a catalogue was filled to its end."""
    with closing(open_catalogue(where)) as catalogue:
        return catalogue.totals().instances >= shape.studies * shape.instances_per_study


# -- rows --------------------------------------------------------------------------------------


def _add_study(rows: dict[sa.Table, list[Row]], shape: Shape, number: int, ids: Iterator[int]) -> None:
    found = study_attributes(number)
    study = StudyState(next(ids), "main", f"{ROOT}.{number}", number + 1, None, found, is_new=True)
    for index in range(1, shape.series_per_study + 1):
        sop_classes = Counter({CT_IMAGE: shape.instances_per_series})
        uid, attributes = f"{study.uid}.{index}", series_attributes(number, index)
        series = SeriesState(next(ids), study, uid, study.seq, None, attributes, sop_classes, True)
        study.series[uid] = series
        _add_instances(rows, series, version(identity(number, index, 1), found | attributes), ids)
        rows[schema.series].append(series_columns(series))
    counts = study.counts()
    rows[schema.study].append(study_columns(study, counts))
    for field, value in study_terms(found, counts.modalities, counts.sop_classes):
        rows[schema.term].append({"tenant": "main", "field": int(field), "value": value, "study_id": study.id})
    rows[schema.study_root].append({"study_id": study.id, "root": sha256(study.uid.encode()), "seq": study.seq})


def _add_instances(rows: dict[sa.Table, list[Row]], series: SeriesState, first: NewVersion, ids: Iterator[int]) -> None:
    """Add the instances of a series, each the first one's like."""
    columns = version_columns(first)
    metadata = unpack_metadata(columns["metadata"])
    answer = instance_answer(first.attributes.instance, first.identity, EXPLICIT_LE)
    first_uid = first.identity.sop_instance_uid.encode() + b'"'
    for place in range(1, series.instance_count + 1):
        instance_id, version_id = next(ids), next(ids)
        sop = f"{series.uid}.{place}"
        key, uid = sop.encode(), sop.encode() + b'"'
        enc, pix = sha256(b"enc" + key), sha256(b"pix" + key)
        rows[schema.instance].append(
            {
                "id": instance_id,
                "tenant": "main",
                "sop_instance_uid": sop,
                "series_id": series.id,
                "current_id": version_id,
                "last_number": 1,
                "instance_number": place,
                "sop_class_uid": CT_IMAGE,
                "answer": answer.replace(first_uid, uid),
            }
        )
        rows[schema.version].append(
            columns
            | {
                "id": version_id,
                "instance_id": instance_id,
                "number": 1,
                "study_id": series.study.id,
                "series_id": series.id,
                "current_from_seq": series.seq,
                "current_to_seq": None,
                "removed": False,
                "instance_number": place,
                "hdr": sha256(b"header" + key),
                "file": sha256(b"file" + key),
                "frames": FrameTable.of([(enc, pix, _FRAME_BYTES)]).encode(),
                "metadata": pack_metadata(metadata.replace(first_uid, uid)),
            }
        )
        rows[schema.rendition].append(
            {
                "tenant": "main",
                "source": enc,
                "transfer_syntax_uid": HTJ2KLosslessRPCL,
                "digest": sha256(b"rendition" + key),
                "length": 225_000,
                "resolution_offsets": _OFFSETS,
            }
        )
        rows[schema.perceptual].append(
            {
                "version_id": version_id,
                "frame_index": 0,
                "enc": enc,
                "pix": pix,
                "hash": sha256(b"hash" + key),
                "quality": 60,
                "modality": series.modality,
                "length": _FRAME_BYTES,
            }
        )
    series.source_id = series.study.source_id = version_id


# -- databases ---------------------------------------------------------------------------------


@contextmanager
def _inserting(where: Path | str) -> Iterator[Insert]:
    """Yield what inserts rows: straight to the driver, since SQLAlchemy's own work would be half the time."""
    with _copying(where) if isinstance(where, str) else _executing(where) as insert:
        yield insert


@contextmanager
def _executing(path: Path) -> Iterator[Insert]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")

        def insert(table: sa.Table, rows: list[Row]) -> None:
            values = ",".join("?" * len(rows[0]))
            statement = f"INSERT INTO {table.name} ({','.join(rows[0])}) VALUES ({values})"  # noqa: S608
            connection.executemany(statement, [tuple(row.values()) for row in rows])

        yield insert
        connection.execute("COMMIT")


@contextmanager
def _copying(url: str) -> Iterator[Insert]:
    import psycopg

    with psycopg.connect(url) as connection, connection.cursor() as cursor:

        def insert(table: sa.Table, rows: list[Row]) -> None:
            statement = f"COPY {table.name} ({','.join(rows[0])}) FROM STDIN"
            with cursor.copy(statement.encode()) as copy:
                for row in rows:
                    copy.write_row(tuple(row.values()))

        yield insert
        connection.commit()
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")
