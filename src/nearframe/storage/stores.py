"""A content store with its upkeep: what a node opens, looks after and closes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa

from nearframe.config import Settings
from nearframe.ids import Digest
from nearframe.storage.objects import INDEX_FILE, ObjectSettings, ObjectStore, open_index
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import ContentKind, ContentStore, StudyRef
from nearframe.storage.s3 import S3Location, S3Options
from nearframe.storage.s3.client import S3Bucket
from nearframe.storage.upkeep import Compacted, LostContent, PackStats, ScrubReport, at_once, unheard


class Store(ContentStore, Protocol):
    """Packs on the disk (`packs.PackStore`) or in a bucket (`objects.ObjectStore`).

    Attributes
    ----------
    integrity_failures
        Contents that readers found damaged since the start.
    """

    integrity_failures: int

    def stats(self) -> PackStats:
        """Return what the store holds."""
        ...

    def kinds(self) -> dict[ContentKind, tuple[int, int]]:
        """Return contents and the bytes of their records, by kind; takes time with the number of contents."""
        ...

    def compact(self, max_live_share: float = 0.5, pace: Callable[[int], None] = at_once) -> Compacted:
        """Give back what nothing needs; raises `Busy` if that is being done."""
        ...

    def erase(self, pace: Callable[[int], None] = at_once) -> Compacted:
        """Take the bytes of all that nothing holds out of the packs, whatever that costs; raises `Busy`."""
        ...

    def unheld(self, study: StudyRef, digests: Iterable[Digest]) -> list[Digest]:
        """Return those of `digests` that no study of the tenant holds; the study itself is not shredded yet."""
        ...

    def let_go(
        self, connection: sa.Connection, study: StudyRef, digests: Sequence[Digest], *, is_empty: bool
    ) -> list[Digest]:
        """Drop a study's references to contents for good; return those that no study of the tenant holds now.

        Parameters
        ----------
        connection
            The transaction of the catalogue that says so: a store whose index is in the same database
            drops them in it, any other one durably before it is committed.
        is_empty
            Nothing of the study is left: it is shredded.
        """
        ...

    def scrub(
        self, progress: Callable[[ScrubReport], None] = unheard, pace: Callable[[int], None] = at_once
    ) -> ScrubReport:
        """Read and prove everything; raises `Busy` if that is being done."""
        ...

    def scrubbed_at(self) -> datetime | None:
        """Return when any process ended a scrub last; None where there is only one, whose home knows."""
        ...

    def damaged(self) -> Iterator[LostContent]:
        """Yield what studies hold and cannot read."""
        ...

    def hold(self, study: StudyRef) -> int:
        """Have what the contents of a study stand in kept against everybody, as far as that can be done there.

        Returns how many objects are kept: none on a disk, where it is the catalogue that refuses. Safe to
        call again; what is stored for the study later is kept too.

        Raises
        ------
        Refused
            If the bucket has no object lock.
        NotFound
            If nothing is stored of the study.
        """
        ...

    def end_hold(self, study: StudyRef) -> int:
        """End that; return how many objects go free, since no other study needs them kept."""
        ...

    def held_otherwise(self, standing: Collection[StudyRef]) -> list[StudyRef]:
        """Return the studies that are held and not in `standing`, or the other way round; none on a disk."""
        ...

    def close(self) -> None:
        """Let go of what it stands on. Safe to call twice."""
        ...


def open_store(
    settings: Settings, sizes: PackSettings, on_request: Callable[[str], None] = lambda operation: None
) -> Store:
    """Open what an origin keeps contents in: a bucket if it has one, else packs in its home.

    Parameters
    ----------
    on_request
        Told the operation of each request to the bucket.
    """
    if not settings.s3_url:
        return PackStore(settings.home, sizes)
    with ExitStack() as undo:
        bucket = open_bucket(settings, on_request)
        undo.callback(bucket.close)
        index = open_index(settings.database_url or settings.home / INDEX_FILE)
        undo.callback(index.close)
        objects = ObjectSettings(
            settings.s3_object_bytes, sizes.chunk_log2, settings.s3_cache_bytes, settings.frame_memory_bytes
        )
        store = ObjectStore(settings.home, bucket, index, objects)
        undo.pop_all()
    return store


def open_bucket(settings: Settings, on_request: Callable[[str], None] = lambda operation: None) -> S3Bucket:
    """Open the bucket that ``s3_url`` names."""
    with settings.reading("s3_url"):
        return S3Bucket(S3Location.parse(settings.s3_url), S3Options.of(settings), on_request)
