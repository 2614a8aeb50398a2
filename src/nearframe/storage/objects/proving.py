"""Scrub: read every object and prove every content that is held, before someone needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from nearframe.errors import IntegrityError, NotFound
from nearframe.log import logger
from nearframe.storage.catalogue.database import Database
from nearframe.storage.objects.blocks import BlockCache
from nearframe.storage.objects.index import Found, ObjectIndex, ObjectUse, StudyWrap
from nearframe.storage.objects.keyring import TableKeyRing
from nearframe.storage.objects.reading import ObjectReader
from nearframe.storage.objects.recording import mark_damaged
from nearframe.storage.packs.keys import StudyKeys
from nearframe.storage.packs.opening import check_content
from nearframe.storage.ports import ContentKind
from nearframe.storage.s3 import Bucket
from nearframe.storage.upkeep import LostContent, ScrubReport
from nearframe.units import MIB

#: For what is read in order: enough for a request and what it brings along.
_AHEAD_BYTES: Final = 16 * MIB

_log = logger(__name__)


class Scrubber:
    """Proves what a bucket holds, past every cache.

    Parameters
    ----------
    progress
        Called after each object with the report so far.
    pace
        Called with the bytes of every record read; may sleep.
    """

    def __init__(
        self,
        bucket: Bucket,
        database: Database,
        index: ObjectIndex,
        keys: TableKeyRing,
        scratch: Path,
        *,
        progress: Callable[[ScrubReport], None],
        pace: Callable[[int], None],
    ) -> None:
        self._reader = ObjectReader(bucket, BlockCache(scratch, _AHEAD_BYTES))
        self._database = database
        self._index = index
        self._keys = keys
        self._progress = progress
        self._pace = pace
        self._report = ScrubReport()

    def run(self) -> ScrubReport:
        """Prove every object there is now."""
        objects = self._index.objects()
        self._report.total_segments = len(objects)
        for one in objects:
            self._scrub(one)
            self._report.segments += 1
            self._progress(self._report)
        return self._report

    def _scrub(self, one: ObjectUse) -> None:
        self._report.unreferenced_bytes += one.length - one.live_bytes
        for content_id, found in self._index.contents_in(one.id):
            self._report.records += 1
            if found.entry.damaged:
                self._report.quarantined += 1
                continue
            try:
                self._prove(content_id, found)
                self._report.contents += 1
            except (IntegrityError, NotFound) as error:
                self._quarantine(content_id, found, error)
            self._report.read_bytes += found.entry.record_length
            self._pace(found.entry.record_length)

    def _prove(self, content_id: bytes, found: Found) -> None:
        for keys, wrap in holders(self._index, self._keys, content_id, found):
            content_key, _ = keys.unwrap(content_id, wrap)
            form, file = found.entry.form(content_id), self._reader.open(found.where)
            check_content(keys, content_key, form, file, found.entry.offset)
            return

    def _quarantine(self, content_id: bytes, found: Found, reason: Exception) -> None:
        entry = found.entry
        with self._database.write() as connection:
            marked = mark_damaged(connection, content_id, entry.segment, entry.offset)
        if marked:  # else it was moved or stored again since
            self._report.damaged += 1
            _log.error("content_damaged", segment=entry.segment, offset=entry.offset, error=reason)


def holders(
    index: ObjectIndex, keys: TableKeyRing, content_id: bytes, found: Found
) -> Iterator[tuple[StudyKeys, StudyWrap]]:
    """Yield the keys of the studies that hold a content, with their wraps."""
    for wrap in index.holders_of(found, content_id):
        of_study = keys.by_id(wrap.study_key_id)
        if of_study is not None:
            yield of_study, wrap


def lost_contents(index: ObjectIndex, keys: TableKeyRing) -> Iterator[LostContent]:
    """Yield what studies hold and cannot read."""
    for content_id, found in index.damaged():
        for of_study, wrap in holders(index, keys, content_id, found):
            study = keys.study_of(wrap.study_key_id)
            with suppress(IntegrityError):
                digest = of_study.unwrap(content_id, wrap)[1]
                if study is not None:
                    yield LostContent(study, digest, ContentKind(found.entry.kind))
