"""Synthetic catalogues of several sizes, kept between runs: a file each, and a schema each of one PostgreSQL server."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from bench.filling import fill, is_filled, trim
from bench.synthetic import Shape
from nearframe.cli._progress import rows_bar
from nearframe.storage.catalogue import schema
from tests.postgres import Server, create_schema, server_binaries

#: As a hospital runs it, on a small machine: an acknowledgement rests on the first two.
_SERVER: Final = (
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=256MB",
    "max_wal_size=1GB",
    "max_connections=100",
)


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a table takes: rows, their bytes, and those of its indexes."""

    table: str
    rows: int
    row_bytes: int
    index_bytes: int

    @property
    def all_bytes(self) -> int:
        return self.row_bytes + self.index_bytes


@dataclass(slots=True)
class Made:
    """How a catalogue was made: CPU of this process alone, and what its tables took when it was done."""

    seconds: float
    cpu_seconds: float
    tables: list[TableSize] = field(default_factory=list)


class Engine(Protocol):
    """A kind of database, and the catalogues of it that are kept."""

    @property
    def name(self) -> str: ...

    @property
    def server_pid(self) -> int | None:
        """Process whose children do the work of the database; None where it is done here."""
        ...

    def place(self, shape: Shape) -> Path | str:
        """Return where the catalogue of a size is, or is to be."""
        ...

    def discard(self, shape: Shape) -> None:
        """Take away what may be there of it."""
        ...

    def tables(self, shape: Shape) -> list[TableSize]:
        """Return what each table takes that takes anything."""
        ...


class SQLite:
    """Files."""

    name = "SQLite"
    server_pid = None

    def __init__(self, home: Path) -> None:
        self._home = home

    def place(self, shape: Shape) -> Path:
        return self._home / f"{shape.instances}.sqlite"

    def discard(self, shape: Shape) -> None:
        for end in ("", "-wal", "-shm"):
            Path(f"{self.place(shape)}{end}").unlink(missing_ok=True)

    def tables(self, shape: Shape) -> list[TableSize]:
        statement = """
            SELECT s.tbl_name, s.type, sum(d.pgsize) FROM dbstat AS d JOIN sqlite_schema AS s ON s.name = d.name
            WHERE d.aggregate = TRUE GROUP BY 1, 2
        """
        with closing(sqlite3.connect(self.place(shape))) as connection:
            taken = {(table, kind): size for table, kind, size in connection.execute(statement)}
            return _with_rows(
                {
                    table.name: (taken.get((table.name, "table"), 0), taken.get((table.name, "index"), 0), count)
                    for table in schema.metadata.sorted_tables
                    for (count,) in connection.execute(f"SELECT count(*) FROM {table.name}")  # noqa: S608
                }
            )


class PostgreSQL:
    """Schemas of one server, which is running."""

    name = "PostgreSQL"

    def __init__(self, server: Server) -> None:
        self._server = server
        self.server_pid = server.pid

    def place(self, shape: Shape) -> str:
        return create_schema(self._server.socket_folder, self._schema(shape))

    def discard(self, shape: Shape) -> None:
        import psycopg

        with psycopg.connect(self.place(shape)) as connection:
            connection.execute(f"DROP SCHEMA {self._schema(shape)} CASCADE".encode())

    def tables(self, shape: Shape) -> list[TableSize]:
        import psycopg

        statement = """
            SELECT relname, pg_table_size(c.oid), pg_indexes_size(c.oid), greatest(reltuples, 0)::bigint
            FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
            WHERE nspname = current_schema() AND relkind = 'r'
        """
        with psycopg.connect(self.place(shape)) as connection:
            return _with_rows(
                {name: (rows, index, count) for name, rows, index, count in connection.execute(statement)}
            )

    @staticmethod
    def _schema(shape: Shape) -> str:
        return f"instances{shape.instances}"


def _with_rows(found: dict[str, tuple[int, int, int]]) -> list[TableSize]:
    """Return the tables that hold something, the largest first."""
    sizes = [TableSize(name, count, rows, index) for name, (rows, index, count) in found.items() if count]
    return sorted(sizes, key=lambda size: -size.all_bytes)


def prepare(engine: Engine, home: Path, shape: Shape) -> Made:
    """Have the catalogue of a size as it was made, and make it if it is not there; return how that was."""
    record = home / f"{engine.name}-{shape.instances}.json"
    place = engine.place(shape)
    if record.exists() and is_filled(place, shape):
        trim(place, shape)
        found = json.loads(record.read_text())
        return Made(found["seconds"], found["cpu_seconds"], [TableSize(**table) for table in found["tables"]])
    engine.discard(shape)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    with rows_bar(hidden=False) as told:
        fill(engine.place(shape), shape, partial(told, f"{engine.name}, instances"))
    made = Made(time.perf_counter() - wall_s, time.process_time() - cpu_s)
    made.tables = engine.tables(shape)
    record.write_text(json.dumps(asdict(made)))
    return made


@contextmanager
def engines(home: Path) -> Iterator[list[Engine]]:
    """Yield the databases that can be had on this machine: PostgreSQL only where it is installed."""
    binaries = server_binaries()
    if binaries is None:
        yield [SQLite(home)]
        return
    server = Server(binaries, *_SERVER, data=home / "postgresql")
    try:
        server.start()
        yield [SQLite(home), PostgreSQL(server)]
    finally:
        server.stop()
        server.remove()
