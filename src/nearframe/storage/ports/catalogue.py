"""The catalogue: the only place where something changes, in transactions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from nearframe.context import LOCAL_ADMIN
from nearframe.dicom.model import DICOMJSON
from nearframe.ids import Digest, Identity
from nearframe.storage.ports.contents import StudyRef
from nearframe.storage.ports.records import (
    ConflictRecord,
    FeedCursor,
    FeedEntry,
    GivenUrgency,
    InstanceRecord,
    NewVersion,
    OutboxEvent,
    PerceptualRow,
    Recorded,
    Rendition,
    Settled,
    TakenIn,
    Totals,
    Undecided,
)
from nearframe.wire.frametable import FrameTable


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
        kept: Mapping[tuple[str, str], Collection[Digest]] | None = None,
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
        kept
            By tenant and SOP Instance UID: files of versions that the upstream no longer has since it was
            restored from a backup. They become local, as if they had been taken in here.
        """
        ...

    def set_pix(self, tenant: str, sop_instance_uid: str, version: int, frames: FrameTable) -> None:
        """Fill in `pix` digests found by decoding; not a change that the feed reports."""
        ...

    def delete(
        self,
        study: StudyRef,
        series_instance_uid: str | None,
        sop_instance_uid: str | None,
        principal: str = LOCAL_ADMIN,
    ) -> list[InstanceRecord]:
        """Remove from view, until it is sent again; recorded as a correction that can be undone.

        Returns every version removed, also those that were not current: their rows stay for
        `list_instances` at an earlier sequence until they are purged.

        Raises
        ------
        NotFound
            If nothing of the kind is in view.
        OnHold
            If a legal hold keeps it there.
        """
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

    def was_removed(self, tenant: str, sop_instance_uid: str) -> bool:
        """Return whether an instance was here once and is in view no more."""
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

    def hashed_studies(self, tenant: str) -> list[StudyRef]:
        """Return the studies of which hashes are kept."""
        ...

    def forget_hashes(self, study: StudyRef) -> None:
        """Forget the hashes of every version of a study."""
        ...

    def is_hashed(self, tenant: str, sop_instance_uid: str, version: int) -> bool:
        """Return whether frames of a version have been looked at."""
        ...

    def count_tenant_hashes(self, tenant: str) -> int:
        """Return how many rows `tenant_hashes` would return."""
        ...

    def tenant_hashes(self, tenant: str) -> tuple[list[PerceptualRow], dict[str, str]]:
        """Return the hashes of every frame of every version, and for each study what stands for its patient."""
        ...
