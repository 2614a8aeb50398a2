"""Where a content belongs: which frame of which series it is, and what follows it.

A reader asks for a digest. To fetch it, an edge wants to know its kind and length; to read
ahead, which frames a viewer will want next. Both come from the catalogue, built when a
study is first missed in, and remembered while the study stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby, zip_longest

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.ids import Digest
from nearframe.query.freshness import Freshness, Stamp
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, ContentKind, InstanceRecord, StudyRef

_STUDIES_KEPT = 16
_FRAMES_KEPT = 200_000  # some 200 bytes each


@dataclass(frozen=True, slots=True)
class Content:
    """A content of a study: what it is, and how long."""

    digest: Digest
    kind: ContentKind
    length: int


@dataclass(frozen=True, slots=True)
class _Place:
    content: Content
    row: int
    column: int


class StudyIndex:
    """The contents of one state of a study."""

    def __init__(self, records: list[InstanceRecord], catalogue: Catalogue) -> None:
        self._rows: list[list[Content]] = []
        self._places: dict[Digest, _Place] = {}
        for _, series in groupby(records, key=lambda record: record.identity.series_instance_uid):
            members = list(series)
            frames = [Content(enc, ContentKind.FRAME, length) for record in members for enc, length in record.frames]
            self._add_row(frames)
            self._add_row(_renditions(members, catalogue))
            for bulk in chain.from_iterable(record.bulk for record in members):
                self._places.setdefault(bulk.digest, _Place(Content(bulk.digest, bulk.kind, bulk.length), -1, 0))

    def __len__(self) -> int:
        return len(self._places)

    def find(self, digest: Digest) -> Content | None:
        """Return a content, or None if the study has no such one now."""
        place = self._places.get(digest)
        return None if place is None else place.content

    def neighbours(self, digest: Digest) -> Iterator[Content]:
        """Yield the other frames of a frame's series from it outwards: the next, the one before, the next but one …"""
        place = self._places.get(digest)
        if place is None or place.row < 0:
            return
        row = self._rows[place.row]
        after, before = row[place.column + 1 :], row[: place.column][::-1]
        for pair in zip_longest(after, before):
            yield from (content for content in pair if content is not None)

    def stored(self) -> list[list[Content]]:
        """Return the frames of each series as they are stored, in the catalogue's order."""
        # Rows alternate: the frames of a series, then their renditions.
        return self._rows[::2]

    def series_of(self, digest: Digest) -> int | None:
        """Return a number for the series, and form, that a frame belongs to, or None."""
        place = self._places.get(digest)
        return None if place is None or place.row < 0 else place.row

    def _add_row(self, row: list[Content]) -> None:
        self._rows.append(row)
        for column, content in enumerate(row):
            self._places.setdefault(content.digest, _Place(content, len(self._rows) - 1, column))


class StudyIndexes:
    """The indexes of studies that are being read. For one event loop."""

    def __init__(self, catalogue: Catalogue, freshness: Freshness, workers: Workers) -> None:
        self._catalogue = catalogue
        self._freshness = freshness
        self._workers = workers
        self._kept: SizedLRU[StudyRef, tuple[Stamp, StudyIndex]] = SizedLRU(_FRAMES_KEPT)
        self._builds: SingleFlight[tuple[StudyRef, Stamp], StudyIndex] = SingleFlight("study index")

    async def of(self, study: StudyRef) -> StudyIndex:
        """Return the index of a study as it is now; empty if there is no such study."""
        stamp = self._freshness.stamp(study)
        kept = self._kept.get(study)
        if kept is not None and kept[0].valid:
            return kept[1]
        index = await self._builds.run((study, stamp), lambda: self._workers.run(self._build, study))
        self._kept.put(study, (stamp, index), max(len(index), _FRAMES_KEPT // _STUDIES_KEPT // 10))
        return index

    def _build(self, study: StudyRef) -> StudyIndex:
        return StudyIndex(self._catalogue.list_instances(study), self._catalogue)


def _renditions(members: list[InstanceRecord], catalogue: Catalogue) -> list[Content]:
    frames = [enc for record in members for enc, _ in record.frames]
    made = catalogue.renditions(members[0].study.tenant, frames, HTJ2KLosslessRPCL)
    found = [made[enc] for enc in frames if enc in made]
    return [Content(rendition.digest, ContentKind.DERIVED, rendition.length) for rendition in found]
