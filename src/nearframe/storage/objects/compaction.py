"""Compaction: what is alive in sparse and in small objects moves to a new one, and they go.

Safe at every step, beside readers and writers of any origin::

    1. copy    survivors are read in runs and uploaded as one new object: nothing points there
    2. move    in some transactions: each content that still stands where it was read points to its copy.
               What is released from here on is dead in the copy. Then the sources are retired
    3. wait    readers that looked a content up before may still ask for the source
    4. remove  the sources, from the bucket and then from the index

If anything of the copy was released or moved before the index knew of it, the copy goes: what erases
later would not know that there are bytes in it of what had to go. So two origins that compact the same
objects move each content once. A crash after 1 leaves an object that nobody knows (`sweep` finds it),
after 2 a source that is removed later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from nearframe.clock import Clock
from nearframe.errors import IntegrityError, NotFound, Refused
from nearframe.log import logger
from nearframe.storage.catalogue.database import Database
from nearframe.storage.catalogue.values import microseconds
from nearframe.storage.objects.economy import groups_worth_rewriting
from nearframe.storage.objects.index import Found, ObjectIndex, ObjectUse, batches
from nearframe.storage.objects.reading import FOLDER, object_id_of, object_name
from nearframe.storage.objects.recording import (
    NewObject,
    Uses,
    insert_objects,
    new_object_id,
    next_generation,
    present,
)
from nearframe.storage.objects.schema import content, state, stored_object
from nearframe.storage.objects.writing import in_parts
from nearframe.storage.packs.record import FILE_HEADER_BYTES, HEADER_BYTES, Role, decode_header, encode_file_header
from nearframe.storage.s3 import Bucket
from nearframe.storage.upkeep import Compacted, rewrite_each
from nearframe.units import KIB, MIB

#: For so long after nothing points to an object readers may still ask for it.
RETIRED_FOR: Final = timedelta(minutes=15)
#: Objects and uploads that the index does not know are somebody's who is still at it, until they are as old as
#: this: longer than an upload may take (`recording.UPLOADED_WITHIN`).
ORPHAN_AFTER: Final = timedelta(days=1)
#: Between two listings of the whole bucket, which take a request for a thousand objects.
SWEEP_EVERY: Final = timedelta(days=1)
#: Dead bytes between two survivors that are read along rather than asked around.
_GAP_BYTES: Final = 64 * KIB
_RUN_BYTES: Final = 8 * MIB

_log = logger(__name__)


class _Move(NamedTuple):
    """A content, where it stands, and where its copy will."""

    content_id: bytes
    found: Found
    offset: int


class Compactor:
    """Compacts the objects of one bucket.

    Parameters
    ----------
    pace
        Called with the bytes of every piece copied; may sleep.
    """

    def __init__(
        self, bucket: Bucket, database: Database, index: ObjectIndex, clock: Clock, pace: Callable[[int], None]
    ) -> None:
        self._bucket = bucket
        self._database = database
        self._index = index
        self._clock = clock
        self._pace = pace

    def run(self, max_live_share: float) -> Compacted:
        """Rewrite what is worth it, and remove what nothing needs."""
        done = self._rewrite_all(groups_worth_rewriting(self._index.objects(), self._clock.now(), max_live_share))
        self._remove_retired(RETIRED_FOR)
        return done

    def erase(self) -> Compacted:
        """Rewrite every object that has anything dead in it, and remove what nothing needs, now."""
        objects = [one for one in self._index.objects() if one.length > FILE_HEADER_BYTES + one.live_bytes]
        free = [[one] for one in objects if not one.held]
        done = self._rewrite_all(free) + Compacted(skipped=len(objects) - len(free))
        # Who looked before and asks later finds the object gone, and looks again.
        self._remove_retired(timedelta())
        return done

    def _rewrite_all(self, groups: Sequence[Sequence[ObjectUse]]) -> Compacted:
        return rewrite_each(groups, self._rewrite, (IntegrityError, NotFound))

    def _remove_retired(self, grace: timedelta) -> None:
        """Remove the objects that nothing has needed for so long."""
        refused = 0
        for one in self._index.retired(microseconds(self._clock.now() - grace)):
            try:
                self._bucket.remove(object_name(one.id), one.version)
            except Refused:
                refused += 1  # a hold or retention that is not ours
                continue
            with self._database.write() as connection:
                connection.execute(sa.delete(stored_object).where(stored_object.c.id == one.id))
        if refused:
            _log.warning("objects_not_removed", objects=refused)

    def sweep(self) -> int:
        """Remove objects that were uploaded in vain, and uploads that never ended; return how many.

        Once a day, whichever origin is the first to ask.
        """
        now = self._clock.now()
        with self._database.write() as connection:
            is_due = state.c.swept_at <= microseconds(now - SWEEP_EVERY)
            if not connection.execute(sa.update(state).where(is_due).values(swept_at=microseconds(now))).rowcount:
                return 0
        before = now - ORPHAN_AFTER
        swept = self._bucket.abort_uploads(FOLDER, before)
        # Also what others put there, such as the empty object by which some tools mark a folder: that stays.
        old = (object_id_of(one.name) for one in self._bucket.list(FOLDER) if one.modified < before)
        for some in batches(object_id for object_id in old if object_id is not None):
            for object_id in set(some) - self._index.known(some):
                self._bucket.remove(object_name(object_id))
                swept += 1
        return swept

    def _rewrite(self, group: Sequence[ObjectUse]) -> Compacted:
        moves: list[_Move] = []
        length = FILE_HEADER_BYTES
        for one in group:
            for content_id, found in self._index.contents_in(one.id):
                if not found.entry.damaged:
                    moves.append(_Move(content_id, found, length))
                    length += found.entry.record_length
        copies: list[NewObject] = []
        if moves:
            object_id = new_object_id(self._clock)
            parts = in_parts(encode_file_header(Role.WHOLE, 0), self._survivors(moves))
            version = self._bucket.put_parts(object_name(object_id), parts)
            copies.append(NewObject(object_id, version, length, ()))
        if not self._enter(moves, copies):
            for copy in copies:
                self._bucket.remove(object_name(copy.id), copy.version)
            return Compacted(skipped=len(group))
        self._move(group, moves, copies)
        freed = sum(one.length for one in group) - sum(one.length for one in copies)
        return Compacted(removed=len(group), written=len(copies), freed_bytes=freed)

    def _survivors(self, moves: Sequence[_Move]) -> Iterator[bytes]:
        for run in _runs(moves):
            where = run[0].found.where
            start = run[0].found.entry.offset
            stop = run[-1].found.entry.offset + run[-1].found.entry.record_length
            data = self._bucket.get(object_name(where.id), start, stop, where.version)
            for move in run:
                at = move.found.entry.offset - start
                record = data[at : at + move.found.entry.record_length]
                _check(record, move)
                self._pace(len(record))
                yield record

    def _enter(self, moves: Sequence[_Move], copies: Sequence[NewObject]) -> bool:
        """Make copies known, if all of their contents stand where they were read; return whether they do."""
        with self._database.write() as connection:
            standing = present(connection, [move.content_id for move in moves])
            for move in moves:
                found, read = standing.get(move.content_id), move.found.entry
                if found is None or (found.entry.segment, found.entry.offset) != (read.segment, read.offset):
                    return False
            insert_objects(connection, copies, microseconds(self._clock.now()))
        return True

    def _move(self, group: Sequence[ObjectUse], moves: Sequence[_Move], copies: Sequence[NewObject]) -> None:
        now = microseconds(self._clock.now())
        for some in batches(moves):  # between two of them whoever stores has a turn
            self._move_some(some, copies[0].id)
        with self._database.write() as connection:
            # A damaged content stays where it is, and its object with it, until it is stored again.
            column = stored_object.c
            concerned = [one.id for one in group] + [one.id for one in copies]
            empty = (column.id.in_(concerned), column.contents <= 0, ~column.held)
            connection.execute(sa.update(stored_object).where(*empty).values(retired_at=now))
            next_generation(connection)

    def _move_some(self, moves: Sequence[_Move], object_id: int) -> None:
        uses = Uses()
        with self._database.write() as connection:
            # Another origin that erases may have taken the copy for an empty one. What is retired stays so.
            row = sa.select(stored_object.c.id).where(
                stored_object.c.id == object_id, stored_object.c.retired_at.is_(None)
            )
            if connection.execute(row).first() is None:
                raise NotFound("copy")
            for move in moves:
                old, column = move.found.entry, content.c
                here = (column.content_id == move.content_id, column.object_id == old.segment)
                place = {"object_id": object_id, "offset": move.offset}
                moved = sa.update(content).where(*here, column.offset == old.offset).values(place)
                if connection.execute(moved).rowcount:
                    uses.count(old.segment, old.record_length, old.plain_length, -1)
                    uses.count(object_id, old.record_length, old.plain_length, 1)
            uses.write(connection)


def _check(record: bytes, move: _Move) -> None:
    header = decode_header(record[:HEADER_BYTES])
    if (header.content_id, header.key_tag) != (move.content_id, move.found.entry.key_tag):
        raise IntegrityError("an object has another content where the index has this one: scrub it")


def _runs(moves: Sequence[_Move]) -> Iterator[list[_Move]]:
    """Yield moves in runs that are read by one request each."""
    run: list[_Move] = []
    for move in moves:
        if run and not _goes_on(run, move):
            yield run
            run = []
        run.append(move)
    if run:
        yield run


def _goes_on(run: Sequence[_Move], move: _Move) -> bool:
    first, last, entry = run[0].found.entry, run[-1].found.entry, move.found.entry
    stop = entry.offset + entry.record_length
    is_near = entry.offset - (last.offset + last.record_length) <= _GAP_BYTES
    return entry.segment == first.segment and is_near and stop - first.offset <= _RUN_BYTES
