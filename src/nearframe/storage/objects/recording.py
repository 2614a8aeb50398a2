"""Changes of the index, each within a transaction that is alone while it runs."""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from nearframe.clock import Clock
from nearframe.errors import Busy
from nearframe.ids import Digest
from nearframe.storage.objects.index import Found, StudyWrap, batches, found_of
from nearframe.storage.objects.schema import content, key, moment, state, stored_object, wrap
from nearframe.storage.packs.keys import StudyKeys
from nearframe.storage.packs.record import HEADER_BYTES, RecordHeader
from nearframe.storage.packs.slots import HANDLE_BYTES, Slot


class NewContent(NamedTuple):
    """A content that stands in a new object, and the study that it came for."""

    keys: StudyKeys
    digest: Digest
    header: RecordHeader
    offset: int


class NewObject(NamedTuple):
    """An object that was uploaded, and what stands in it."""

    id: int
    version: str
    length: int
    contents: Sequence[NewContent]


class Reference(NamedTuple):
    """A study that is to hold a content which is there."""

    content_id: bytes
    wrap: StudyWrap


#: Of an id, below the milliseconds since 1970, which the other 43 bits count for 278 years.
_RANDOM_BITS: Final = 20
#: From an object's first byte to its place in the index.
UPLOADED_WITHIN: Final = timedelta(hours=12)

#: Returns a study's wrap of the key that a content has already; `Busy` if that cannot be had.
Rewrap = Callable[[bytes, Found, NewContent], StudyWrap]


class Uses:
    """What changes in how much of each object is alive; written out once, at the end."""

    def __init__(self) -> None:
        self._bytes: Counter[int] = Counter()
        self._contents: Counter[int] = Counter()
        self._plain: Counter[int] = Counter()

    def count(self, object_id: int, record_length: int, plain_length: int, sign: int) -> None:
        """Say that a content stands in an object, or no more."""
        self._bytes[object_id] += sign * record_length
        self._contents[object_id] += sign
        self._plain[object_id] += sign * plain_length

    def write(self, connection: sa.Connection) -> None:
        """Bring the objects up to date."""
        columns = stored_object.c
        for object_id in self._contents:
            connection.execute(
                sa.update(stored_object)
                .where(columns.id == object_id)
                .values(
                    live_bytes=columns.live_bytes + self._bytes[object_id],
                    contents=columns.contents + self._contents[object_id],
                    plain_bytes=columns.plain_bytes + self._plain[object_id],
                )
            )


def record(
    connection: sa.Connection,
    objects: Sequence[NewObject],
    references: Sequence[Reference],
    rewrap: Rewrap,
    written_at: int,
) -> None:
    """Take in new objects and references, together or not at all.

    Raises
    ------
    Busy
        If a study was shredded meanwhile, or a content that a reference counts on went.
    """
    contents = [new for one in objects for new in one.contents]
    _check_keys(connection, {new.keys.key_id for new in contents} | {new.wrap.study_key_id for new in references})
    ids = {new.header.content_id for new in contents} | {new.content_id for new in references}
    found_before, holders = present(connection, ids), _holders(connection, ids)
    uses, rows, wraps = Uses(), [], []
    for one in objects:
        for new in one.contents:
            content_id = new.header.content_id
            found = found_before.get(content_id)
            if found is None:
                rows.append(_row(one.id, new))
                uses.count(one.id, new.header.length, new.header.plain_length, 1)
            elif found.entry.damaged:
                found_before[content_id] = _replace(connection, one.id, new, found, uses)
                holders[content_id].add(new.keys.key_id)
            elif new.keys.key_id not in {found.entry.holder, *holders[content_id]}:
                # Another origin stored it since we looked: its bytes stay, ours are dead where they are.
                references = [*references, Reference(content_id, rewrap(content_id, found, new))]
    stored = {row["content_id"]: row for row in rows}
    for reference in references:
        wraps += _wrap_of(reference, found_before.get(reference.content_id), stored, holders)
    insert_objects(connection, objects, written_at)
    _insert(connection, content, rows)
    _insert(connection, wrap, wraps)
    uses.write(connection)


def release(connection: sa.Connection, study_key_id: bytes, content_ids: Iterable[bytes]) -> None:
    """End a study's references; contents that no study holds any more go."""
    uses = Uses()
    for some in batches(content_ids):
        own = sa.select(content).where(content.c.content_id.in_(some), content.c.holder == study_key_id)
        _drop_holder(connection, connection.execute(own).mappings().all(), uses)
        connection.execute(sa.delete(wrap).where(wrap.c.content_id.in_(some), wrap.c.study_key_id == study_key_id))
    uses.write(connection)
    next_generation(connection)


def forget_study(connection: sa.Connection, study_key_id: bytes) -> None:
    """End every reference of a study."""
    uses = Uses()
    connection.execute(sa.delete(wrap).where(wrap.c.study_key_id == study_key_id))
    own = connection.execute(sa.select(content).where(content.c.holder == study_key_id)).mappings().all()
    for some in batches(own):
        _drop_holder(connection, some, uses)
    uses.write(connection)
    next_generation(connection)


def mark_damaged(connection: sa.Connection, content_id: bytes, object_id: int, offset: int) -> bool:
    """Keep a content out of use, if it still stands there; return whether this changed anything."""
    here = (content.c.content_id == content_id, content.c.object_id == object_id, content.c.offset == offset)
    marked = connection.execute(sa.update(content).where(*here, ~content.c.damaged).values(damaged=True))
    next_generation(connection)
    return bool(marked.rowcount)


def next_generation(connection: sa.Connection) -> None:
    """Say to every origin that what it looked up before may be wrong."""
    connection.execute(sa.update(state).values(generation=state.c.generation + 1))


def note_moment(connection: sa.Connection, name: str, at: int) -> None:
    """Remember, for every origin, when something was done."""
    connection.execute(sa.delete(moment).where(moment.c.name == name))
    connection.execute(sa.insert(moment).values(name=name, at=at))


def new_object_id(clock: Clock) -> int:
    """Return the id of a new object: later ones are higher, and no origin asks another for it."""
    milliseconds = int(clock.now().timestamp() * 1000)
    return milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)


def insert_objects(connection: sa.Connection, objects: Sequence[NewObject], written_at: int) -> None:
    """Enter objects of which nothing is alive yet.

    Raises
    ------
    Busy
        If one was begun so long ago that it may have been swept up: whoever uploaded it stood still.
    """
    oldest = written_at // 1000 - int(UPLOADED_WITHIN.total_seconds() * 1000)
    if any(one.id >> _RANDOM_BITS < oldest for one in objects):
        raise Busy("an upload took longer than half a day; send it again")
    empty: dict[str, Any] = {"live_bytes": 0, "contents": 0, "plain_bytes": 0, "retired_at": None, "held": False}
    rows = [
        {"id": one.id, "version": one.version, "length": one.length, "written_at": written_at, **empty}
        for one in objects
    ]
    _insert(connection, stored_object, rows)


def _check_keys(connection: sa.Connection, key_ids: set[bytes]) -> None:
    known: set[bytes] = set()
    for some in batches(key_ids):
        handles = [key_id[:HANDLE_BYTES] for key_id in some]
        for slot in connection.execute(sa.select(key.c.slot).where(key.c.handle.in_(handles))).scalars():
            decoded = Slot.decode(slot)
            if decoded is not None:
                known.add(decoded.key_id)
    if not key_ids <= known:
        raise Busy("a study was shredded while its contents were taken in; send them again")


def present(connection: sa.Connection, content_ids: Iterable[bytes]) -> dict[bytes, Found]:
    """Return those of some contents that any study holds."""
    joined = content.join(stored_object, stored_object.c.id == content.c.object_id)
    wanted = sa.select(content, stored_object.c.version, stored_object.c.length).select_from(joined)
    found: dict[bytes, Found] = {}
    for some in batches(content_ids):
        for row in connection.execute(wanted.where(content.c.content_id.in_(some))).mappings():
            found[row["content_id"]] = found_of(row)
    return found


def _holders(connection: sa.Connection, content_ids: Iterable[bytes]) -> dict[bytes, set[bytes]]:
    holders: dict[bytes, set[bytes]] = defaultdict(set)
    for some in batches(content_ids):
        wanted = sa.select(wrap.c.content_id, wrap.c.study_key_id).where(wrap.c.content_id.in_(some))
        for content_id, study_key_id in connection.execute(wanted):
            holders[content_id].add(study_key_id)
    return holders


def _wrap_of(
    reference: Reference, found: Found | None, stored: dict[bytes, Any], holders: dict[bytes, set[bytes]]
) -> list[dict[str, Any]]:
    """Return the row that a reference needs, if it needs one."""
    own, content_id = reference.wrap, reference.content_id
    new = stored.get(content_id)
    key_tag = new["key_tag"] if new else found.entry.key_tag if found and not found.entry.damaged else None
    if key_tag != own.key_tag:
        raise Busy("a content that was held went meanwhile; send it again")
    first = new["holder"] if new else found.entry.holder if found else None
    if own.study_key_id == first or own.study_key_id in holders[content_id]:
        return []
    holders[content_id].add(own.study_key_id)
    return [
        {
            "content_id": content_id,
            "study_key_id": own.study_key_id,
            "wrap_nonce": own.wrap_nonce,
            "wrapped": own.wrapped,
        }
    ]


def _row(object_id: int, new: NewContent) -> dict[str, Any]:
    header = new.header
    return {
        "content_id": header.content_id,
        "key_tag": header.key_tag,
        "nonce_prefix": header.nonce_prefix,
        "object_id": object_id,
        "offset": new.offset,
        "plain_length": header.plain_length,
        "stored_length": header.stored_length,
        "kind": int(header.kind),
        "coding": int(header.coding),
        "chunk_log2": header.chunk_log2,
        "damaged": False,
        "holder": header.study_key_id,
        "wrap_nonce": header.wrap_nonce,
        "wrapped": header.wrapped,
    }


def _replace(connection: sa.Connection, object_id: int, new: NewContent, found: Found, uses: Uses) -> Found:
    """Have a damaged content stand where it was stored again, for every study that holds it; return it."""
    row, content_id = _row(object_id, new), new.header.content_id
    entry = found.entry._replace(key_tag=new.header.key_tag, damaged=False)
    if new.header.key_tag == found.entry.key_tag:
        # Its key stays, so the wraps that there are open it; ours is another one.
        del row["holder"]
        own = {name: row.pop(name) for name in ("wrap_nonce", "wrapped")}
        if new.keys.key_id != entry.holder:
            here = (wrap.c.content_id == content_id, wrap.c.study_key_id == new.keys.key_id)
            connection.execute(sa.delete(wrap).where(*here))
            _insert(connection, wrap, [{"content_id": content_id, "study_key_id": new.keys.key_id, **own}])
    else:
        entry = entry._replace(holder=new.keys.key_id)
        connection.execute(sa.delete(wrap).where(wrap.c.content_id == content_id))
    connection.execute(sa.update(content).where(content.c.content_id == content_id).values(row))
    uses.count(found.entry.segment, found.entry.record_length, found.entry.plain_length, -1)
    uses.count(object_id, new.header.length, new.header.plain_length, 1)
    next_generation(connection)
    return found._replace(entry=entry)


def _drop_holder(connection: sa.Connection, rows: Sequence[Any], uses: Uses) -> None:
    """Give contents another first holder, or remove them."""
    others: dict[bytes, Any] = {}
    for some in batches(row["content_id"] for row in rows):
        for row in connection.execute(sa.select(wrap).where(wrap.c.content_id.in_(some))).mappings():
            others.setdefault(row["content_id"], row)
    gone = []
    for row in rows:
        heir = others.get(row["content_id"])
        if heir is None:
            gone.append(row["content_id"])
            uses.count(row["object_id"], HEADER_BYTES + row["stored_length"], row["plain_length"], -1)
            continue
        own = {"holder": heir["study_key_id"], "wrap_nonce": heir["wrap_nonce"], "wrapped": heir["wrapped"]}
        connection.execute(sa.update(content).where(content.c.content_id == row["content_id"]).values(own))
        taken = (wrap.c.content_id == row["content_id"], wrap.c.study_key_id == heir["study_key_id"])
        connection.execute(sa.delete(wrap).where(*taken))
    for some in batches(gone):
        connection.execute(sa.delete(content).where(content.c.content_id.in_(some)))


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(sa.insert(table), list(rows))
