"""Compaction: what is alive in sparse packs moves to a new one, and the packs go.

Safe at every step, and beside readers and writers::

    1. copy    survivors go into a draft, sealed as they are; nobody sees it
    2. revise  under the lock: what ended while copying is voided in the draft
    3. publish the draft is synced and renamed: from here it, and not its sources, counts.
               Its first record names the sources; recovery removes them
    4. retire  still under the lock: the index points to the copies, and to nothing in the sources
    5. remove  once LMDB says so, the sources are unlinked

A crash before 3 leaves the sources, after it the copies. Readers that hold a source's file
read on; those that come late find it gone and ask the index again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nearframe.errors import BackendFailed
from nearframe.log import logger
from nearframe.storage.packs.files import StoredFile, disk_errors
from nearframe.storage.packs.ledger import Ledger
from nearframe.storage.packs.record import (
    FILE_HEADER_BYTES,
    HEADER_BYTES,
    RecordHeader,
    RecordType,
    Role,
    encode_replaces,
)
from nearframe.storage.packs.scan import read_records
from nearframe.storage.packs.segments import DraftSegment, Segments
from nearframe.storage.packs.tables import SegmentUse
from nearframe.storage.packs.writer import Writer
from nearframe.storage.upkeep import Compacted, rewrite_each

_COPY_BYTES: Final = 1 << 20
#: Sources of one draft: bounds what is held under the lock, together with the pack size.
_MAX_SOURCES: Final = 64

_log = logger(__name__)


@dataclass(slots=True)
class _Copy:
    """A record of a source, and what the draft has of it: None for nothing."""

    original: RecordHeader
    segment: int
    offset: int
    kept: RecordHeader | None
    kept_offset: int = 0


class Compactor:
    """Compacts the packs of one store. One thread at a time.

    Parameters
    ----------
    pace
        Called with the bytes of every piece copied; may sleep.
    """

    def __init__(
        self, segments: Segments, ledger: Ledger, writer: Writer, segment_bytes: int, pace: Callable[[int], None]
    ) -> None:
        self._segments = segments
        self._ledger = ledger
        self._writer = writer
        self._segment_bytes = segment_bytes
        self._pace = pace

    def run(self, max_live_share: float) -> Compacted:
        """Compact the packs of which at most that share is alive.

        Raises
        ------
        NoSpace
            If the disk has no room for the survivors of one group.
        """
        return self._run(lambda number, use: use.live_bytes <= max_live_share * use.covered_bytes)

    def erase(self) -> Compacted:
        """Compact every pack in which a body stands that nothing holds, however much of the pack is alive.

        Raises
        ------
        NoSpace
            As of `run`.
        """
        with self._writer.lock:
            self._writer.roll()  # the log, too, is a pack then
        return self._run(self._has_dead_body)

    def _run(self, is_chosen: Callable[[int, SegmentUse], bool]) -> Compacted:
        self._remove_retired()
        return rewrite_each(self._choose(is_chosen), self._compact, BackendFailed)

    def _choose(self, is_chosen: Callable[[int, SegmentUse], bool]) -> list[list[int]]:
        """Return groups of packs, the survivors of each of which fit one pack."""
        with self._writer.lock:
            packs = self._ledger.segments()
            packs.pop(self._writer.log_number or 0, None)
        groups: list[list[int]] = []
        room = 0
        for number, use in sorted(packs.items()):
            if not is_chosen(number, use):
                continue
            if not groups or use.live_bytes > room or len(groups[-1]) == _MAX_SOURCES:
                groups.append([])
                room = self._segment_bytes
            groups[-1].append(number)
            room -= use.live_bytes
        return groups

    def _has_dead_body(self, number: int, use: SegmentUse) -> bool:
        if use.role == Role.RETIRED or use.live_bytes + FILE_HEADER_BYTES >= use.covered_bytes:
            return False
        file = self._segments.reader(number)
        for offset, header in read_records(file, FILE_HEADER_BYTES, file.size()):
            is_body = header.type is RecordType.CONTENT or (header.type is RecordType.VOID and header.stored_length)
            if is_body and self._ledger.entry_at(header, number, offset) is None:
                return True
        return False

    def _compact(self, sources: Sequence[int]) -> Compacted:
        # The disk's reserve may be used: more is freed right after.
        with disk_errors(self._segment_bytes):
            draft = self._segments.draft(self._writer.reserve_number())
            try:
                draft.append(_buffers(*encode_replaces(sources)))
                copies = self._copy(draft, sources)
                draft.sync()
                with self._writer.lock:
                    uses = self._uses(sources)
                    if not self._adds_up(copies, uses):
                        return Compacted(skipped=len(sources))
                    self._revise(draft, copies, sources)
                    if is_needed := _is_needed(copies):
                        self._writer.roll()
                        kept = [(copy.kept, copy.kept_offset) for copy in copies if copy.kept is not None]
                        self._writer.publish(draft, kept)
                    else:
                        self._writer.settle()
                    self._retire(copies, sources)
            finally:
                draft.discard()
        self._remove_retired()
        before = sum(use.covered_bytes for use in uses.values())
        return Compacted(len(sources), int(is_needed), before - (draft.length if is_needed else 0))

    def _copy(self, draft: DraftSegment, sources: Sequence[int]) -> list[_Copy]:
        copies: list[_Copy] = []
        for segment in sources:
            file = self._segments.reader(segment)
            for offset, header in read_records(file, FILE_HEADER_BYTES, file.size()):
                kept = self._ledger.survivor(header, segment, offset, sources)
                copy = _Copy(header, segment, offset, kept)
                if kept is not None:
                    copy.kept_offset = draft.append([kept.encode()])
                    self._copy_body(draft, file, offset + HEADER_BYTES, kept.stored_length)
                copies.append(copy)
        return copies

    def _copy_body(self, draft: DraftSegment, file: StoredFile, offset: int, length: int) -> None:
        buffer = memoryview(bytearray(min(length, _COPY_BYTES)))
        for at in range(0, length, _COPY_BYTES):
            piece = buffer[: min(length - at, _COPY_BYTES)]
            file.read_into(offset + at, piece)
            draft.append([piece])
            self._pace(len(piece))

    # -- the lock is held ------------------------------------------------------------------

    def _uses(self, sources: Sequence[int]) -> dict[int, SegmentUse]:
        return {number: use for number in sources if (use := self._ledger.segment(number)) is not None}

    def _adds_up(self, copies: list[_Copy], uses: dict[int, SegmentUse]) -> bool:
        """True if every content that the index has in the sources was found there.

        A header that does not read any more is not found; removing its pack would lose the content.
        """
        found = {
            (copy.segment, copy.offset)
            for copy in copies
            if self._ledger.entry_at(copy.original, copy.segment, copy.offset) is not None
        }
        expected = sum(use.contents for use in uses.values())
        if len(found) != expected:
            _log.error("compaction_skipped", segments=len(uses), contents=expected, found=len(found))
        return len(found) == expected

    def _revise(self, draft: DraftSegment, copies: list[_Copy], sources: Sequence[int]) -> None:
        """Bring the draft up to what happened while it was written."""
        for copy in copies:
            if copy.kept is None:
                continue
            kept = self._ledger.survivor(copy.original, copy.segment, copy.offset, sources)
            if kept != copy.kept:
                # The body stays where it is, so the record keeps its length.
                revised = copy.kept.voided() if kept is None else kept._replace(stored_length=copy.kept.stored_length)
                draft.rewrite(copy.kept_offset, revised.encode())
                copy.kept = revised

    def _retire(self, copies: list[_Copy], sources: Sequence[int]) -> None:
        for copy in copies:
            self._ledger.displace(copy.original, copy.segment, copy.offset)
        self._ledger.retire(sources)
        self._writer.settle_index()

    # -- the lock is not held --------------------------------------------------------------

    def _remove_retired(self) -> None:
        """Remove the files of packs that LMDB no longer points to."""
        self._writer.flush()
        with self._writer.lock:
            retired = [number for number, use in self._ledger.segments().items() if use.role == Role.RETIRED]
        if not retired:
            return
        with disk_errors(0):
            self._segments.remove(retired)
        with self._writer.lock:
            for number in retired:
                self._ledger.forget_segment(number)


def _is_needed(copies: list[_Copy]) -> bool:
    """True if the draft must be published: for its survivors, or because drops end together with what they ended."""
    return any(copy.kept is not None or copy.original.type is RecordType.DROP for copy in copies)


def _buffers(header: RecordHeader, body: bytes) -> list[bytes]:
    return [header.encode(), body]
