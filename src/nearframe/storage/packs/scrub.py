"""Scrub: read every pack and prove every record, before someone needs it.

For a content that is held: the header's CRC, the tag of each chunk, and the SHA-256 of the
whole against the id it is stored under. What fails is kept out of use: it reads as missing,
so that it is fetched and stored again. What nothing holds is counted and left to compaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nearframe.errors import IntegrityError
from nearframe.log import logger
from nearframe.storage.packs.files import StoredFile
from nearframe.storage.packs.keys import KeyRing
from nearframe.storage.packs.ledger import Ledger
from nearframe.storage.packs.opening import check_content
from nearframe.storage.packs.record import FILE_HEADER_BYTES, RecordHeader, RecordType, Role
from nearframe.storage.packs.scan import read_records
from nearframe.storage.packs.segments import Segments
from nearframe.storage.packs.tables import Entry
from nearframe.storage.packs.writer import Writer
from nearframe.storage.upkeep import ScrubReport

_PROGRESS_BYTES: Final = 64 << 20

_log = logger(__name__)


class Scrubber:
    """Scrubs the packs of one store, beside its readers and writers.

    Parameters
    ----------
    progress
        Called from time to time with the report so far.
    pace
        Called with the bytes of every record read; may sleep.
    """

    def __init__(
        self,
        segments: Segments,
        ledger: Ledger,
        keys: KeyRing,
        writer: Writer,
        *,
        progress: Callable[[ScrubReport], None],
        pace: Callable[[int], None],
    ) -> None:
        self._segments = segments
        self._ledger = ledger
        self._keys = keys
        self._writer = writer
        self._progress = progress
        self._pace = pace
        self._report = ScrubReport()

    def run(self) -> ScrubReport:
        """Scrub every pack there is now."""
        report = self._report
        with self._writer.lock:
            packs = {n: use for n, use in self._ledger.segments().items() if use.role != Role.RETIRED}
        report.total_segments = len(packs)
        for number, use in sorted(packs.items()):
            # Writers may append beyond: what stands there was just written, the next scrub reads it.
            self._scrub_segment(number, use.covered_bytes)
            report.segments += 1
            self._progress(report)
        self._find_lost(set(packs))
        return report

    def _scrub_segment(self, number: int, end: int) -> None:
        try:
            file = self._segments.reader(number)
        except OSError as error:
            # Compacted meanwhile, or gone: in the latter case its contents are found lost at the end.
            _log.info("scrub_pack_gone", segment=number, error=error)
            return
        at = FILE_HEADER_BYTES
        since_progress = 0
        for offset, header in read_records(file, FILE_HEADER_BYTES, end):
            self._report.unreadable_bytes += offset - at
            at = offset + header.length
            self._scrub_record(file, number, offset, header)
            since_progress += header.length
            if since_progress >= _PROGRESS_BYTES:
                self._progress(self._report)
                since_progress = 0
        self._report.unreadable_bytes += end - at

    def _scrub_record(self, file: StoredFile, number: int, offset: int, header: RecordHeader) -> None:
        self._report.records += 1
        self._report.read_bytes += header.length
        if header.type is not RecordType.CONTENT:
            return
        entry = self._ledger.entry_at(header, number, offset)
        if entry is None:
            self._report.unreferenced += 1
            self._report.unreferenced_bytes += header.length
        elif entry.damaged:
            self._report.quarantined += 1
        else:
            self._prove(file, header.content_id, entry)
            self._pace(header.length)

    def _prove(self, file: StoredFile, content_id: bytes, entry: Entry) -> None:
        try:
            for key_id in self._ledger.holders_of(content_id, entry):
                keys, wrap = self._keys.by_id(key_id), self._ledger.wrap(key_id, content_id)
                if keys is not None and wrap is not None:
                    content_key, _ = keys.unwrap(content_id, wrap)
                    check_content(keys, content_key, entry.form(content_id), file, entry.offset)
                    self._report.contents += 1
                    return
        except (IntegrityError, OSError) as error:
            self._quarantine(content_id, entry, error)

    def _quarantine(self, content_id: bytes, entry: Entry, reason: Exception) -> None:
        with self._writer.lock:
            marked = self._ledger.mark_damaged(content_id, entry.key_tag, entry.segment, entry.offset)
        if marked:
            self._report.damaged += 1
            _log.error("content_damaged", segment=entry.segment, offset=entry.offset, error=reason)

    def _find_lost(self, scrubbed: set[int]) -> None:
        """Find held contents whose header does not read any more, or whose pack is gone."""
        for content_id, entry in self._ledger.entries():
            if entry.segment in scrubbed and not entry.damaged and not self._stands(content_id, entry):
                self._quarantine(content_id, entry, IntegrityError("its record is gone"))

    def _stands(self, content_id: bytes, entry: Entry) -> bool:
        try:
            file = self._segments.reader(entry.segment)
        except OSError:
            return False
        found = next(iter(read_records(file, entry.offset, entry.offset + entry.record_length)), None)
        return found is not None and found[0] == entry.offset and found[1].content_id == content_id
