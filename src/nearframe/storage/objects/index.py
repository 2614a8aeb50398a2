"""The index: which object a content is in, and who holds it. Look-ups; `recording` has the changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import sqlalchemy as sa

from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.catalogue.values import moment
from nearframe.storage.objects.schema import content, hold, state, stored_object, wrap
from nearframe.storage.objects.schema import moment as moments
from nearframe.storage.packs.record import HEADER_BYTES
from nearframe.storage.packs.tables import Entry
from nearframe.storage.ports import ContentKind

#: Values of one statement: below what either database takes.
_BATCH: Final = 500

T = TypeVar("T")


class StoredObject(NamedTuple):
    """An object, as readers need it."""

    id: int
    version: str
    length: int


class StudyWrap(NamedTuple):
    """A content key under the data key of a study."""

    study_key_id: bytes
    key_tag: bytes
    wrap_nonce: bytes
    wrapped: bytes


class Found(NamedTuple):
    """A content, a study that holds it, and its object."""

    entry: Entry
    wrap: StudyWrap
    where: StoredObject


class ObjectUse(NamedTuple):
    """How much of an object is alive."""

    id: int
    version: str
    length: int
    live_bytes: int
    contents: int
    plain_bytes: int
    written_at: int
    held: bool


class Totals(NamedTuple):
    """What all objects hold."""

    objects: int
    length: int
    live_bytes: int
    contents: int
    plain_bytes: int


_WHERE = (content, stored_object.c.version, stored_object.c.length)
_JOINED = content.join(stored_object, stored_object.c.id == content.c.object_id)
_FIND = Prepared(
    sa.select(*_WHERE, wrap.c.wrap_nonce.label("own_nonce"), wrap.c.wrapped.label("own_wrapped"))
    .select_from(
        _JOINED.outerjoin(
            wrap, (wrap.c.content_id == content.c.content_id) & (wrap.c.study_key_id == sa.bindparam("study"))
        )
    )
    .where(content.c.content_id == sa.bindparam("content"))
)
_WRAPS = Prepared(sa.select(wrap).where(wrap.c.content_id == sa.bindparam("content")))
_GENERATION = Prepared(sa.select(state.c.generation))


class ObjectIndex:
    """Look-ups in the index. Usable from several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def generation(self) -> int:
        """Return a number that is another one when what was looked up before may be wrong."""
        with self._database.read() as connection:
            row = _GENERATION.first(connection)
        return int(row[0]) if row else 0

    def find(self, study_key_id: bytes, content_id: bytes) -> tuple[Found | None, bool]:
        """Return a content, with the study's wrap if it holds it, else that of any study; and whether it holds it."""
        with self._database.read() as connection:
            rows = _FIND.rows(connection, study=study_key_id, content=content_id)
        if not rows:
            return None, False
        row = rows[0]
        if row["own_nonce"] is not None:
            row |= {"holder": study_key_id, "wrap_nonce": row["own_nonce"], "wrapped": row["own_wrapped"]}
        return found_of(row), row["holder"] == study_key_id

    def holders_of(self, found: Found, content_id: bytes) -> Iterator[StudyWrap]:
        """Yield the wraps of every study that holds a content; `found` has one of them."""
        yield found.wrap
        with self._database.read() as connection:
            rows = _WRAPS.rows(connection, content=content_id)
        for row in rows:
            yield StudyWrap(row["study_key_id"], found.entry.key_tag, row["wrap_nonce"], row["wrapped"])

    def present(self, content_ids: Iterable[bytes]) -> set[bytes]:
        """Return those of `content_ids` that any study holds."""
        with self._database.read() as connection:
            return {
                content_id
                for some in batches(content_ids)
                for content_id in connection.execute(
                    sa.select(content.c.content_id).where(content.c.content_id.in_(some))
                ).scalars()
            }

    def readable(self, study_key_id: bytes, content_ids: Iterable[bytes]) -> set[bytes]:
        """Return those of `content_ids` that a study holds and that are not damaged."""
        held: set[bytes] = set()
        with self._database.read() as connection:
            for some in batches(content_ids):
                sound = sa.select(content.c.content_id).where(content.c.content_id.in_(some), ~content.c.damaged)
                held.update(connection.execute(sound.where(content.c.holder == study_key_id)).scalars())
                others = sound.join(wrap, wrap.c.content_id == content.c.content_id)
                held.update(connection.execute(others.where(wrap.c.study_key_id == study_key_id)).scalars())
        return held

    def objects(self) -> list[ObjectUse]:
        """Return every object that is in use, oldest first."""
        wanted = sa.select(stored_object).where(stored_object.c.retired_at.is_(None)).order_by(stored_object.c.id)
        with self._database.read() as connection:
            return [_use_of(row) for row in connection.execute(wanted).mappings()]

    def known(self, object_ids: Iterable[int]) -> set[int]:
        """Return those of `object_ids` that there are, retired ones included."""
        with self._database.read() as connection:
            wanted = sa.select(stored_object.c.id).where(stored_object.c.id.in_(list(object_ids)))
            return set(connection.execute(wanted).scalars())

    def retired(self, since: int) -> set[StoredObject]:
        """Return the objects that nothing has needed since a moment, or longer."""
        return self._where((stored_object.c.retired_at <= since) & ~stored_object.c.held)

    def contents_in(self, object_id: int) -> list[tuple[bytes, Found]]:
        """Return the contents that stand in an object, with their ids, in order."""
        wanted = sa.select(*_WHERE).select_from(_JOINED).where(content.c.object_id == object_id)
        with self._database.read() as connection:
            rows = connection.execute(wanted.order_by(content.c.offset)).mappings().all()
        return [(row["content_id"], found_of(row)) for row in rows]

    def damaged(self) -> list[tuple[bytes, Found]]:
        """Return the contents that are kept out of use, with their ids."""
        wanted = sa.select(*_WHERE).select_from(_JOINED).where(content.c.damaged)
        with self._database.read() as connection:
            rows = connection.execute(wanted).mappings().all()
        return [(row["content_id"], found_of(row)) for row in rows]

    def totals(self) -> Totals:
        """Return the sums over all objects."""
        columns = [stored_object.c[name] for name in ("length", "live_bytes", "contents", "plain_bytes")]
        wanted = sa.select(
            sa.func.count(stored_object.c.id), *(sa.func.coalesce(sa.func.sum(column), 0) for column in columns)
        )
        with self._database.read() as connection:
            count, length, live_bytes, contents, plain_bytes = map(int, connection.execute(wanted).one())
        return Totals(count, length, live_bytes, contents, plain_bytes)

    def kinds(self) -> dict[ContentKind, tuple[int, int]]:
        """Return contents and the bytes of their records, by kind."""
        counted = sa.func.count(), sa.func.coalesce(sa.func.sum(content.c.stored_length), 0)
        with self._database.read() as connection:
            rows = connection.execute(sa.select(content.c.kind, *counted).group_by(content.c.kind)).all()
        return {ContentKind(kind): (int(n), int(size) + int(n) * HEADER_BYTES) for kind, n, size in rows}

    def objects_of(self, study_key_id: bytes) -> set[StoredObject]:
        """Return the objects that hold a study's contents."""
        first = sa.select(content.c.object_id).where(content.c.holder == study_key_id)
        further = sa.select(content.c.object_id).join(wrap, wrap.c.content_id == content.c.content_id)
        ids = sa.union(first, further.where(wrap.c.study_key_id == study_key_id)).scalar_subquery()
        return self._where(stored_object.c.id.in_(ids))

    def held(self) -> set[StoredObject]:
        """Return the objects under a legal hold."""
        return self._where(stored_object.c.held)

    def _where(self, condition: sa.ColumnElement[bool]) -> set[StoredObject]:
        columns = (stored_object.c.id, stored_object.c.version, stored_object.c.length)
        with self._database.read() as connection:
            return {StoredObject(*row) for row in connection.execute(sa.select(*columns).where(condition))}

    def moment(self, name: str) -> datetime | None:
        """Return when something was done last, by any origin."""
        with self._database.read() as connection:
            at = connection.execute(sa.select(moments.c.at).where(moments.c.name == name)).scalar()
        return None if at is None else moment(at)

    def held_studies(self) -> set[bytes]:
        """Return the key ids of the studies under a legal hold."""
        with self._database.read() as connection:
            return set(connection.execute(sa.select(hold.c.study_key_id)).scalars())


def found_of(row: Any) -> Found:
    """Return what a row of the contents, joined with its object, says."""
    entry = Entry(
        key_tag=row["key_tag"],
        nonce_prefix=row["nonce_prefix"],
        segment=row["object_id"],
        offset=row["offset"],
        plain_length=row["plain_length"],
        stored_length=row["stored_length"],
        holder=row["holder"],
        kind=row["kind"],
        coding=row["coding"],
        chunk_log2=row["chunk_log2"],
        damaged=bool(row["damaged"]),
    )
    own = StudyWrap(row["holder"], row["key_tag"], row["wrap_nonce"], row["wrapped"])
    return Found(entry, own, StoredObject(row["object_id"], row["version"], row["length"]))


def batches(values: Iterable[T]) -> Iterator[Sequence[T]]:
    """Yield values in lists that one statement takes."""
    rest = iter(values)
    while some := list(islice(rest, _BATCH)):
        yield some


def _use_of(row: Any) -> ObjectUse:
    return ObjectUse(**{name: row[name] for name in ObjectUse._fields} | {"held": bool(row["held"])})
