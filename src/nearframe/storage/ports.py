"""What the services need of storage: sealed contents by digest, and the catalogue.

Two ports, because their guarantees differ. Contents are immutable, addressed by digest
and may be read without any database. The catalogue is the only place where something
changes, in transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, Protocol, TypeAlias

from nearframe.context import Urgency
from nearframe.dicom.model import DICOMJSON, Attributes, PixelDescription
from nearframe.ids import Digest, Identity
from nearframe.wire.frametable import FrameTable

Buffer: TypeAlias = bytes | bytearray | memoryview


class ContentKind(IntEnum):
    """What a stored content is. The numbers are on disk: never renumber."""

    FRAME = 1
    BULK = 2
    OPAQUE = 3
    HEADER = 4  # compressed by the store; addressed by the digest of the plain bytes
    DERIVED = 5  # a rendition or a prepared answer: may be dropped and made again


@dataclass(frozen=True, slots=True)
class StudyRef:
    """A study within a tenant: the scope of keys and of every presence answer."""

    tenant: str
    study_instance_uid: str


class ContentStore(Protocol):
    """Sealed, immutable contents addressed by the digest of their plain bytes.

    Every call names the study on whose behalf it is made: contents are deduplicated within
    a tenant, readable only through a study that references them, and gone for good with
    the last of those. All methods may be called from several threads.
    """

    def mark(self) -> int:
        """Return a value for `sync`. Take it before the first `append` of a batch."""
        ...

    def append(self, study: StudyRef, kind: ContentKind, digest: Digest, size: int, chunks: Iterable[Buffer]) -> bool:
        """Add a content, or only a reference if the tenant already holds it.

        Not durable before `sync`. Safe to call twice. Returns True if bytes were written,
        False if they were held already (then `chunks` is not consumed).

        Raises
        ------
        IntegrityError
            If `chunks` do not add up to `size`; digests are the caller's proof and checked by scrub.
        NoSpace
            If the disk reserve would be touched; nothing is kept.
        Busy
            If the study was shredded meanwhile.
        """
        ...

    def sync(self, since: int) -> None:
        """Make every earlier `append`, `adopt` and `release` durable (fdatasync); concurrent callers share one.

        Parameters
        ----------
        since
            The `mark` taken before the first of them. A failed fdatasync takes everybody's unsynced
            contents with it, also those of callers that were not waiting: the mark tells them.

        Raises
        ------
        BackendFailed
            If an fdatasync failed since then: nothing of the batch may be acknowledged; send it again.
        """
        ...

    def read(self, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None) -> bytes:
        """Return the content, or bytes ``start:stop`` of it.

        Raises
        ------
        NotFound
            If this study references no such content.
        IntegrityError
            If the record does not open under its key: counted, never served. From then on the
            content reads as missing to `missing` and `size_of`, and `append` stores it again.
        """
        ...

    def read_nowait(self, study: StudyRef, digest: Digest) -> bytes | None:
        """Return the content if that takes no disk read and no more than one chunk, else None."""
        ...

    def read_framed(self, study: StudyRef, digest: Digest, head: bytes, tail: bytes) -> bytes | bytearray | None:
        """Return the content between `head` and `tail` on the terms of `read_nowait`, opened where it is sent from."""
        ...

    def stream(self, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the content, or a range of it, in chunks of bounded size."""
        ...

    def size_of(self, study: StudyRef, digest: Digest) -> int | None:
        """Return the plain size of a content that this study references, else None."""
        ...

    def missing(self, study: StudyRef, digests: Iterable[Digest]) -> list[Digest]:
        """Return those of `digests` that this study does not reference, in order."""
        ...

    def adopt(self, study: StudyRef, digests: Iterable[Digest]) -> list[Digest]:
        """Reference contents that the tenant already holds; return those that it does not."""
        ...

    def release(self, study: StudyRef, digests: Iterable[Digest]) -> None:
        """Drop this study's references; unreferenced bytes go at the next compaction."""
        ...

    def shred(self, study: StudyRef) -> None:
        """Delete the study's data key and all its references: unreadable at once and for good."""
        ...


class Outcome(IntEnum):
    """What a stored instance became."""

    CREATED = 1
    #: The same bytes were held already: nothing changed.
    REPEATED = 2
    #: Same UID, same pixels, other header: the new current version.
    REVISED = 3
    #: Same UID, other pixels: stored and flagged, not current.
    CONFLICTING = 4


@dataclass(frozen=True, slots=True)
class BulkEntry:
    """A piece that is not a frame."""

    kind: ContentKind
    tag: int
    digest: Digest
    length: int


#: The source of a version that was taken over from an upstream. Any other was taken in here: it is *local*.
UPSTREAM: Final = "upstream"

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


def nothing() -> None:
    """Wait for nothing."""


class Catalogue(Protocol):
    """What is stored, in transactions. Sync; callers bring threads.

    Every method is one transaction and may be called from several threads. What `record`
    returned is durable. Sequences are taken under one lock at commit, so a reader of the
    feed never sees a later one before an earlier one.
    """

    # -- writing ---------------------------------------------------------------------------

    def record(self, batch: Sequence[NewVersion], durable: Callable[[], object] = nothing) -> list[Recorded]:
        """Store instances: decide each one's outcome, write the outbox, advance the feed.

        One transaction for the batch. The same SOP Instance UID may occur several times in it.
        What is undecided is CONFLICTING.

        Parameters
        ----------
        durable
            Called before the commit; returns once what the versions refer to is durable. If it
            raises, nothing is recorded.
        """
        ...

    def record_decided(
        self, batch: Sequence[NewVersion], durable: Callable[[], object] = nothing
    ) -> list[Recorded | Undecided]:
        """Store instances as `record` does, except those for which it takes decoding to decide."""
        ...

    def replicate(
        self,
        batch: Sequence[tuple[NewVersion, int, bool]],
        dropped: Sequence[tuple[StudyRef, str]],
        settled: Mapping[str, Settled] | None = None,
    ) -> int:
        """Take over what an upstream decided; returns the local feed sequence.

        What was taken in here and is not settled stays: in view, unless the upstream shows other
        pixels under its UID. If it stands at a number that the upstream gave to something else,
        it gets another.

        Parameters
        ----------
        batch
            ``(version, number, is_current)``.
        dropped
            Instances that are no longer in a study.
        settled
            By tenant: local versions that the upstream has recorded. They take its numbers, and from
            now on they are the upstream's.
        """
        ...

    def set_pix(self, tenant: str, sop_instance_uid: str, version: int, frames: FrameTable) -> None:
        """Fill in `pix` digests found by decoding; not a change that the feed reports."""
        ...

    def delete(
        self, study: StudyRef, series_instance_uid: str | None, sop_instance_uid: str | None
    ) -> list[InstanceRecord]:
        """Remove from view; rows stay for `list_instances` at an earlier sequence until `purge`.

        Returns every version removed, also those that were not current: their contents are
        the caller's to release.

        Raises
        ------
        NotFound
            If nothing of the kind is in view.
        """
        ...

    def purge(self, study: StudyRef) -> None:
        """Forget what was deleted from a study, for good: its versions, their metadata, its earlier roots."""
        ...

    def resolve_conflict(self, conflict_id: int, keep: str, principal: str) -> ConflictRecord:
        """Close a conflict: ``keep="current"`` or ``keep="incoming"`` (which becomes the new current version)."""
        ...

    def give_urgency(self, study: StudyRef, given: GivenUrgency | None) -> bool:
        """Give a study a class of urgency, or take it back; a change gets the study a new place in the feed.

        Returns False if that is what it has already.

        Raises
        ------
        NotFound
            If there is no such study.
        """
        ...

    # -- reading ---------------------------------------------------------------------------

    def given_urgency(self, study: StudyRef) -> GivenUrgency | None:
        """Return the class that was given to a study, or None."""
        ...

    def find_instance(
        self,
        tenant: str,
        sop_instance_uid: str,
        *,
        study_instance_uid: str | None = None,
        series_instance_uid: str | None = None,
        version: int | None = None,
    ) -> InstanceRecord:
        """Return the current version, or the numbered one. The UIDs given must fit it.

        Raises
        ------
        NotFound
            If there is none.
        """
        ...

    def list_instances(
        self, study: StudyRef, series_instance_uid: str | None = None, *, at_seq: int | None = None
    ) -> list[InstanceRecord]:
        """Return current versions, or those current at a sequence of this study.

        Ordered by Series Instance UID, Instance Number (none last) and SOP Instance UID: by
        nothing that a later version can change for an earlier state. Empty if there are none.
        """
        ...

    def replica(self, study: StudyRef) -> list[tuple[InstanceRecord, bytes]] | None:
        """Return what the upstream showed of a study when it was last followed, with metadata as `metadata` has it.

        In the order of `list_instances`. None if nothing local is in the study: then it is what is in view.
        """
        ...

    def holds_local(self, study: StudyRef) -> bool:
        """Return whether anything of a study was taken in here and is not settled with the upstream."""
        ...

    def taken_in(self, after: int, limit: int) -> list[TakenIn]:
        """Return versions that are still local, of all tenants, with an id beyond `after`."""
        ...

    def list_versions(self, tenant: str, sop_instance_uid: str) -> list[InstanceRecord]:
        """Return every stored version of an instance, oldest first."""
        ...

    def metadata(
        self,
        study: StudyRef,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
        *,
        version: int | None = None,
        at_seq: int | None = None,
    ) -> list[tuple[Identity, bytes]]:
        """Return the DICOM JSON of instances as UTF-8 bytes, in the order of `list_instances`."""
        ...

    def state(self, study: StudyRef, series_instance_uid: str | None = None) -> int:
        """Return the sequence of the last change of a study or series.

        Raises
        ------
        NotFound
            If there is none.
        """
        ...

    def totals(self) -> Totals:
        """Return how much is in view, of all tenants; costs the same for any size."""
        ...

    def count_series(self) -> int:
        """Return how many series are in view, of all tenants."""
        ...

    def count_open_conflicts(self) -> int:
        """Return how many conflicts wait for somebody, of all tenants."""
        ...

    # -- feed and outbox -------------------------------------------------------------------

    def head(self) -> FeedCursor:
        """Return the end of the feed."""
        ...

    def feed(self, after: FeedCursor | None, limit: int) -> list[FeedEntry]:
        """Return entries after a cursor, in order; from the beginning if it is None.

        Raises
        ------
        Gone
            If the cursor is of another epoch.
        """
        ...

    def save_root(self, study: StudyRef, seq: int, root: Digest) -> None:
        """Remember the Merkle root a study had at a sequence."""
        ...

    def seq_of_root(self, study: StudyRef, root: Digest) -> int | None:
        """Return the latest sequence at which the study had this root, or None."""
        ...

    def root_at(self, study: StudyRef, seq: int) -> Digest | None:
        """Return the root saved for a sequence of the study, or None."""
        ...

    def announce(self, kind: str, tenant: str, identity: Identity | None, detail: DICOMJSON) -> int:
        """Write an event that is not the storing of an instance; returns its id."""
        ...

    def outbox(self, consumer: str, limit: int, after: int = 0) -> list[OutboxEvent]:
        """Return events the consumer has not acknowledged, oldest first; its first call makes it known.

        Parameters
        ----------
        after
            The last event that it has read already, where it reads ahead of its cursor.
        """
        ...

    def lag(self, consumer: str) -> int:
        """Return how many events the consumer has not acknowledged."""
        ...

    def acknowledge(self, consumer: str, event_id: int) -> None:
        """Move a consumer's cursor; events every consumer has passed may be pruned."""
        ...

    def passed(self, consumer: str) -> int:
        """Return the last event that the consumer acknowledged, 0 before the first."""
        ...

    # -- what is derived -------------------------------------------------------------------

    def conflicts(self, tenant: str, *, open_only: bool = True) -> list[ConflictRecord]: ...

    def rendition(self, tenant: str, source: Digest, transfer_syntax_uid: str) -> Rendition | None: ...

    def renditions(self, tenant: str, sources: Sequence[Digest], transfer_syntax_uid: str) -> dict[Digest, Rendition]:
        """Return the renditions that there are of these frames, by frame."""
        ...

    def add_renditions(self, tenant: str, renditions: Sequence[Rendition]) -> None: ...

    def add_hashes(self, rows: Sequence[PerceptualRow]) -> None: ...

    def hashes(self, study: StudyRef) -> list[PerceptualRow]:
        """Return the hashes of every current frame of the patients of this study: one patient scope."""
        ...

    def count_tenant_hashes(self, tenant: str) -> int:
        """Return how many rows `tenant_hashes` would return."""
        ...

    def tenant_hashes(self, tenant: str) -> tuple[list[PerceptualRow], dict[str, str]]:
        """Return the hashes of every frame of every version, and for each study what stands for its patient."""
        ...
