"""Opening a store: what the packs say that the index does not know yet.

The index covers each pack up to some byte. After a clean stop that is its end; after a crash
the ends are read again; without an index, everything is. Only the newest log can hold bytes
that were never synced, so only its records are opened to see whether they are whole. A torn
record is a miss: it is voided, so that no later start takes it for more, and what follows
the last whole one is cut off.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.errors import IntegrityError, NoSpace
from nearframe.log import logger
from nearframe.storage.packs.files import StoredFile
from nearframe.storage.packs.index import Index, Table
from nearframe.storage.packs.keys import KeyRing
from nearframe.storage.packs.ledger import Ledger
from nearframe.storage.packs.opening import form_of, read_range
from nearframe.storage.packs.record import (
    FILE_HEADER_BYTES,
    HEADER_BYTES,
    RecordHeader,
    RecordType,
    Role,
    decode_file_header,
    decode_replaces,
)
from nearframe.storage.packs.scan import read_records
from nearframe.storage.packs.segments import LogSegment, Segments
from nearframe.storage.packs.tables import SegmentUse

_REBUILDING: Final = b"rebuilding"
#: Entries read again between two transactions: bounds memory while everything is.
_BATCH_ENTRIES: Final = 100_000

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """What opening found.

    Attributes
    ----------
    log
        The log to go on with, if there is one.
    records
        Records that the index did not know.
    torn_bytes
        Bytes cut off the end of the newest log.
    """

    log: LogSegment | None
    next_number: int
    records: int
    torn_bytes: int


def recover(segments: Segments, index: Index, ledger: Ledger, keys: KeyRing) -> Recovered:
    """Bring the index up to the packs. Nothing else uses any of them meanwhile."""
    return _Recovery(segments, index, ledger, keys).run()


class _Recovery:
    def __init__(self, segments: Segments, index: Index, ledger: Ledger, keys: KeyRing) -> None:
        self._segments = segments
        self._index = index
        self._ledger = ledger
        self._keys = keys
        self._records = 0
        self._torn_bytes = 0

    def run(self) -> Recovered:
        self._segments.discard_unpublished()
        if self._index.get(Table.META, _REBUILDING) is not None:
            self._index.clear()  # a rebuild was cut short
        present, known = self._segments.numbers(), self._ledger.segments()
        next_number = max([0, *present, *known]) + 1
        roles = self._roles(present, known)
        self._finish_compactions(roles, known)
        self._ledger.begin_replay()
        last_log = self._take_in(roles, known)
        self._ledger.forget_shredded()
        self._ledger.finish_replay()
        self._index.delete(Table.META, _REBUILDING)
        try:
            self._flush()
        except NoSpace as error:
            # What was read stays in memory, and is looked up there: a full disk keeps nobody from reading.
            _log.warning("index_not_written", error=error)
        if self._records or self._torn_bytes:
            _log.info("packs_recovered", records=self._records, torn_bytes=self._torn_bytes)
        return Recovered(last_log, next_number, self._records, self._torn_bytes)

    def _roles(self, present: list[int], known: dict[int, SegmentUse]) -> dict[int, int]:
        """Return the role of every pack there is, in order of number."""
        roles: dict[int, int] = {}
        for number in present:
            if number in known:
                roles[number] = known[number].role
            elif (role := self._role_of(number)) is not None:
                roles[number] = role
        return roles

    def _role_of(self, number: int) -> Role | None:
        file = self._segments.reader(number)
        if file.size() <= FILE_HEADER_BYTES:
            # A power cut while a log was started: there is nothing in it, perhaps not even its header.
            self._segments.remove([number])
            return None
        data = bytearray(FILE_HEADER_BYTES)
        file.read_into(0, memoryview(data))
        try:
            role, stated = decode_file_header(bytes(data))
            if stated != number:
                raise IntegrityError("a pack file has the name of another")
        except IntegrityError as error:
            _log.error("pack_header_damaged", segment=number, error=error)
            return Role.WHOLE  # its records speak for themselves
        return role

    def _finish_compactions(self, roles: dict[int, int], known: dict[int, SegmentUse]) -> None:
        """Remove packs whose survivors stand in another pack, which was published just before a crash."""
        replaced = {number for number, use in known.items() if use.role == Role.RETIRED}
        for number, role in roles.items():
            if number not in known and role == Role.WHOLE:
                replaced |= replaced_by(self._segments.reader(number))
        self._segments.remove(sorted(replaced & roles.keys()))
        for number in replaced:
            roles.pop(number, None)
            if known.pop(number, None) is not None:
                self._ledger.forget_segment(number)

    def _take_in(self, roles: dict[int, int], known: dict[int, SegmentUse]) -> LogSegment | None:
        logs = [number for number, role in roles.items() if role == Role.LOG]
        newest_log = max(logs, default=None)
        last_log = None
        # The newest log comes last: a wrap there is whole only if its content is anywhere.
        for number, role in sorted(roles.items(), key=lambda item: (item[0] == newest_log, item[0])):
            use = known.get(number)
            if use is None:
                self._ledger.register(number, role)
            covered = FILE_HEADER_BYTES if use is None else use.covered_bytes
            if number == newest_log:
                last_log = self._replay_newest(number, covered)
            else:
                self._replay(number, covered)
            self._index.settle()
            if self._index.waiting >= _BATCH_ENTRIES:
                self._index.put(Table.META, _REBUILDING, b"")
                self._flush()
        return last_log

    def _replay(self, number: int, covered: int) -> None:
        """Take in the records of a pack beyond `covered`."""
        file = self._segments.reader(number)
        size = file.size()
        for offset, header in read_records(file, covered, size):
            self._apply(header, number, offset)
        self._ledger.cover(number, size)

    def _replay_newest(self, number: int, covered: int) -> LogSegment:
        """Take in the whole records of the newest log, and make it fit to go on with."""
        file = self._segments.reader(number)
        size = file.size()
        end = covered
        torn: list[tuple[int, RecordHeader]] = []
        for offset, header in read_records(file, covered, size):
            if self._is_whole(file, offset, header):
                self._apply(header, number, offset)
                end = offset + header.length
            else:
                torn.append((offset, header))
        self._torn_bytes = max(size - end, 0)
        self._ledger.cover(number, end)
        return self._segments.reopen_log(number, end, [record for record in torn if record[0] < end])

    def _apply(self, header: RecordHeader, number: int, offset: int) -> None:
        self._ledger.apply(header, number, offset)
        self._records += 1

    def _is_whole(self, file: StoredFile, offset: int, header: RecordHeader) -> bool:
        if header.type is RecordType.WRAP:
            return self._ledger.has_content(header)
        if header.type is not RecordType.CONTENT:
            return True  # the CRC of the header covers all that counts
        keys = self._keys.by_id(header.study_key_id)
        if keys is None:
            return True  # shredded: dead, whole or not
        try:
            content_key, _ = keys.unwrap(header.content_id, header)
            for _ in read_range(AESGCM(content_key), form_of(header), file, offset):
                pass
        except IntegrityError:
            return False
        return True

    def _flush(self) -> None:
        self._index.settle()
        self._index.flush(threading.RLock())


def replaced_by(file: StoredFile) -> set[int]:
    """Return the packs whose survivors a pack holds, from its first record.

    Raises
    ------
    IntegrityError
        If the list is damaged.
    """
    first = next(iter(read_records(file, FILE_HEADER_BYTES, file.size())), None)
    if first is None or first[1].type is not RecordType.REPLACES:
        return set()
    offset, header = first
    body = bytearray(header.stored_length)
    file.read_into(offset + HEADER_BYTES, memoryview(body))
    return decode_replaces(header, bytes(body))
