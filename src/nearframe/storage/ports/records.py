"""What a catalogue is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Final, TypeAlias

from nearframe.context import Urgency
from nearframe.dicom.model import DICOMJSON, Attributes, PixelDescription
from nearframe.ids import Digest, Identity
from nearframe.storage.ports.contents import ContentKind, StudyRef
from nearframe.wire.frametable import FrameTable


class Outcome(IntEnum):
    """What a stored instance became."""

    CREATED = 1
    #: The same bytes were held already: nothing changed.
    REPEATED = 2
    #: Same UID, same pixels, other header: the new current version.
    REVISED = 3
    #: Same UID, other pixels: stored and flagged, not current.
    CONFLICTING = 4
    #: Taken out of view by a correction or a rejection note: kept, and not shown.
    WITHDRAWN = 5


@dataclass(frozen=True, slots=True)
class BulkEntry:
    """A piece that is not a frame."""

    kind: ContentKind
    tag: int
    digest: Digest
    length: int


#: The source of a version that was taken over from an upstream. Any other was taken in here: it is *local*.
UPSTREAM: Final = "upstream"
#: The source of one that was the upstream's until that was restored without it: it is local, and offered again.
AGAIN: Final = "again"

#: By SOP Instance UID and digest of the file: the number that the upstream gave a version it was sent.
Settled: TypeAlias = Mapping[tuple[str, Digest], int]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """One instance as ingest hands it to the catalogue; its contents are in the store by then.

    Attributes
    ----------
    hdr, header_bytes
        Digest and size of the encoded header blob.
    file, file_bytes
        Digest that identifies the whole file as received (`wire.header.file_digest`), and its size.
    pieces
        For each piece of the file, in order: index into frames (>= 0) or, for the bulk entry
        k, ``-1 - k``.
    metadata
        DICOM JSON of the instance (see `dicom.model.SplitInstance.metadata`).
    """

    tenant: str
    identity: Identity
    transfer_syntax_uid: str
    hdr: Digest
    header_bytes: int
    file: Digest
    file_bytes: int
    frames: FrameTable
    bulk: tuple[BulkEntry, ...]
    pieces: tuple[int, ...]
    pixel: PixelDescription | None
    metadata: DICOMJSON
    attributes: Attributes
    source: str
    received_at: datetime
    notes: tuple[str, ...] = ()

    @property
    def study(self) -> StudyRef:
        return StudyRef(self.tenant, self.identity.study_instance_uid)

    @property
    def contents(self) -> set[Digest]:
        """The contents that it refers to: its header, frames and values."""
        return _referred(self.hdr, self.frames, self.bulk)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the catalogue made of a `NewVersion`.

    Attributes
    ----------
    version
        One-based number of the version among those of its SOP Instance UID.
    seq
        Feed sequence of the transaction, 0 if nothing changed.
    """

    outcome: Outcome
    version: int
    seq: int


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """One stored version, as retrieval needs it. Small, immutable, cached."""

    study: StudyRef
    identity: Identity
    version: int
    is_current: bool
    transfer_syntax_uid: str
    hdr: Digest
    file: Digest
    file_bytes: int
    frames: FrameTable
    bulk: tuple[BulkEntry, ...]
    pieces: tuple[int, ...]
    pixel: PixelDescription | None
    received_at: datetime
    notes: tuple[str, ...] = ()
    source: str = field(default="", compare=False)

    @property
    def contents(self) -> set[Digest]:
        """The contents that it refers to: its header, frames and values."""
        return _referred(self.hdr, self.frames, self.bulk)


def _referred(hdr: Digest, frames: FrameTable, bulk: Iterable[BulkEntry]) -> set[Digest]:
    return {hdr, *(enc for enc, _ in frames), *(entry.digest for entry in bulk)}


@dataclass(frozen=True, slots=True)
class TakenIn:
    """A version that was taken in here; `id` grows in the order they came."""

    id: int
    tenant: str
    identity: Identity
    file: Digest
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Undecided:
    """An instance that digests cannot compare with the current version, and that was not recorded.

    Its frames are encoded differently and at least one side lacks `pix`: decoding both decides.
    """

    current: InstanceRecord


@dataclass(frozen=True, slots=True)
class Totals:
    """How much a catalogue shows, of all tenants."""

    studies: int
    instances: int


@dataclass(frozen=True, slots=True)
class GivenUrgency:
    """A class of urgency given to a study: why, and until when (None: until another is given)."""

    urgency: Urgency
    reason: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A study's latest change. A study appears once, at its last sequence."""

    seq: int
    tenant: str
    study_instance_uid: str
    #: Current instances. As many as before tells a follower that nothing but headers changed.
    instances: int
    given: GivenUrgency | None = None

    @property
    def deleted(self) -> bool:
        """True if nothing of it is in view any more."""
        return self.instances == 0


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """A place in the change feed. A restore starts a new epoch; then cursors are `Gone`."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> FeedCursor:
        """Read what `str` wrote.

        Raises
        ------
        ValueError
            If `text` is anything else.
        """
        epoch, colon, seq = text.rpartition(":")
        if not (colon and epoch and seq.isascii() and seq.isdigit() and len(seq) < 20):
            raise ValueError("a cursor is an epoch and a number, joined by a colon")
        return cls(epoch, int(seq))


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """A fact that consumers act on, written in the transaction that stored it.

    `kind` is ``durable`` (a version was stored; `detail` has its ``outcome``, ``source`` and, unless it was
    taken over from an upstream, ``file``, and its `dicom.place.Place`), ``received`` (it was held already),
    ``series_end`` (see `intake.serieswatch`), ``procedure_step`` or ``commitment`` (somebody listed what there
    is to be, see `intake.serieswatch.Lists`); `detail` is small JSON.
    """

    id: int
    kind: str
    tenant: str
    identity: Identity | None
    version: int
    detail: DICOMJSON


@dataclass(frozen=True, slots=True)
class Rendition:
    """Another encoding of a frame, made from it and proved equal in pixels."""

    source: Digest
    transfer_syntax_uid: str
    digest: Digest
    length: int
    #: Byte offsets at which each lower resolution is complete, smallest first.
    resolution_offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ConflictRecord:
    """A version that was stored but is not current because its pixels differ."""

    id: int
    study: StudyRef
    identity: Identity
    version: int
    current_version: int
    source: str
    received_at: datetime
    resolved_at: datetime | None
    resolution: str | None


@dataclass(frozen=True, slots=True)
class PerceptualRow:
    """The perceptual hash of one frame, within one patient. PHI: never leaves a trusted node."""

    study: StudyRef
    identity: Identity
    version: int
    frame_index: int
    enc: Digest
    pix: Digest | None
    hash: bytes
    quality: int
    modality: str
    length: int
