"""Where a content belongs: which frame of which series it is, and what follows it.

A reader asks for a digest. To fetch it, an edge wants to know its kind and length; to read
ahead, which frames a viewer will want next. Both come from the catalogue, built when a
study is first missed in, and remembered while the study stays as it is.

A native frame and its rendition are *twins*: each is made from the other, bit for bit
(ADR 10). One of them is held, and the shorter one crosses the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, zip_longest
from typing import TYPE_CHECKING

from nearframe.cache.singleflight import SingleFlight
from nearframe.cache.sizedlru import SizedLRU
from nearframe.dicom.targets import wants_rendition
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.ids import Digest
from nearframe.query.freshness import Freshness, Stamp
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue, ContentKind, ContentStore, InstanceRecord, Rendition, StudyRef

if TYPE_CHECKING:
    from nearframe.delta.frame import FrameForm

_STUDIES_KEPT = 16
_FRAMES_KEPT = 200_000  # some 200 bytes each


@dataclass(frozen=True, slots=True)
class Content:
    """A content of a study: what it is, and how long.

    Attributes
    ----------
    twin
        The same frame's other form, if it has one: whoever holds that makes this.
    """

    digest: Digest
    kind: ContentKind
    length: int
    twin: Digest | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Twins:
    """A native frame and its rendition; `form` describes the frame."""

    stored: Content
    rendition: Content
    form: FrameForm


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
        self._twins: dict[Digest, Twins] = {}
        self._forms: dict[Digest, FrameForm] = {}
        #: Native frames whose rendition is still to be made.
        self.unmade: set[Digest] = set()
        for _, series in groupby(records, key=lambda record: record.identity.series_instance_uid):
            members = list(series)
            encs = [enc for record in members for enc, _ in record.frames]
            made = catalogue.renditions(members[0].study.tenant, encs, HTJ2KLosslessRPCL)
            for record in members:
                self._pair(record, made)
            self._add_row([self._frame(enc, length) for record in members for enc, length in record.frames])
            self._add_row([self._rendition(made[enc]) for enc in encs if enc in made])
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
            yield from (self._carried(content) for content in pair if content is not None)

    def following(self, digest: Digest) -> list[Content]:
        """Return the frames after a frame in its series, in its order."""
        place = self._places.get(digest)
        if place is None or place.row < 0:
            return []
        return [self._carried(content) for content in self._rows[place.row][place.column + 1 :]]

    def twins(self, digest: Digest) -> Twins | None:
        """Return both forms of a frame, given one of them; None if it has one form alone."""
        return self._twins.get(digest)

    def form(self, enc: Digest) -> FrameForm | None:
        """Return how a frame is stored, if it is a picture."""
        return self._forms.get(enc)

    def carried(self) -> list[list[Content]]:
        """Return the frames of each series in the form that crosses the line, in the catalogue's order."""
        # Rows alternate: the frames of a series, then their renditions.
        return [[self._carried(content) for content in row] for row in self._rows[::2]]

    def series_of(self, digest: Digest) -> int | None:
        """Return a number for the series, and form, that a frame belongs to, or None."""
        place = self._places.get(digest)
        return None if place is None or place.row < 0 else place.row

    def _carried(self, content: Content) -> Content:
        twins = self._twins.get(content.digest)
        return content if twins is None else twins.rendition

    def _pair(self, record: InstanceRecord, made: Mapping[Digest, Rendition]) -> None:
        """Note which frames of an instance have a twin, and which will have one."""
        # Imported when something is missing: an edge shows what it holds before it has the codecs.
        from nearframe.delta.frame import FrameForm, can_rebuild

        if record.pixel is None:
            return
        is_wanted = wants_rendition(record.transfer_syntax_uid, record.pixel)
        for enc, length in record.frames:
            form = self._forms[enc] = FrameForm(enc, length, record.transfer_syntax_uid, record.pixel)
            if not form.is_native or not can_rebuild(form):
                continue
            rendition = made.get(enc)
            if rendition is None:
                if is_wanted:
                    self.unmade.add(enc)
            elif rendition.length < length:
                stored = Content(enc, ContentKind.FRAME, length, rendition.digest)
                derived = Content(rendition.digest, ContentKind.DERIVED, rendition.length, enc)
                self._twins[enc] = self._twins[rendition.digest] = Twins(stored, derived, form)

    def _frame(self, enc: Digest, length: int) -> Content:
        twins = self._twins.get(enc)
        return Content(enc, ContentKind.FRAME, length) if twins is None else twins.stored

    def _rendition(self, made: Rendition) -> Content:
        twins = self._twins.get(made.digest)
        return Content(made.digest, ContentKind.DERIVED, made.length) if twins is None else twins.rendition

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

    def known(self, study: StudyRef) -> StudyIndex | None:
        """Return the index of a study as it is now, if it was built."""
        kept = self._kept.get(study)
        return kept[1] if kept is not None and kept[0].valid else None

    async def of(self, study: StudyRef) -> StudyIndex:
        """Return the index of a study as it is now; empty if there is no such study."""
        known = self.known(study)
        if known is not None:
            return known
        stamp = self._freshness.stamp(study)
        index = await self._builds.run((study, stamp), lambda: self._workers.run(self._build, study))
        self._kept.put(study, (stamp, index), max(len(index), _FRAMES_KEPT // _STUDIES_KEPT // 10))
        return index

    def _build(self, study: StudyRef) -> StudyIndex:
        return StudyIndex(self._catalogue.list_instances(study), self._catalogue)


def lacking(store: ContentStore, study: StudyRef, contents: Sequence[Content]) -> set[Digest]:
    """Return the contents that have to cross the line: neither they nor their twins are held, nor by the tenant."""
    digests = [digest for one in contents for digest in (one.digest, one.twin) if digest is not None]
    absent = set(store.adopt(study, digests))
    return {one.digest for one in contents if one.digest in absent and (one.twin is None or one.twin in absent)}
