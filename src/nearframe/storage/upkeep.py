"""Looking after a content store, wherever it stands: what was found, what was done, and by whose leave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from nearframe.errors import Busy
from nearframe.ids import Digest
from nearframe.log import logger
from nearframe.storage.ports import ContentKind, StudyRef

T = TypeVar("T")

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class PackStats:
    """What a store holds; packs are objects where it stands in a bucket.

    Attributes
    ----------
    stored_bytes
        Bytes of all packs, `live_bytes` of which are still needed.
    contents, plain_bytes
        Different contents within a tenant, and their bytes before sealing and compression.
    dedupe_hits
        Contents not stored since the start because the tenant held them.
    reused_bytes
        Bytes offered since the start and not written, because the study or the tenant held them.
    integrity_failures
        Contents found damaged since the start.
    sync_failures
        Failed fdatasyncs since the start.
    """

    segments: int
    stored_bytes: int
    live_bytes: int
    contents: int
    plain_bytes: int
    dedupe_hits: int
    reused_bytes: int
    integrity_failures: int
    sync_failures: int

    @property
    def dead_bytes(self) -> int:
        return self.stored_bytes - self.live_bytes


class LostContent(NamedTuple):
    """A content that a study holds, and that cannot be read."""

    study: StudyRef
    digest: Digest
    kind: ContentKind


@dataclass(slots=True)
class ScrubReport:
    """What a scrub found so far.

    Attributes
    ----------
    segments, total_segments
        Packs read, of how many.
    contents
        Held contents that proved right.
    damaged
        Held contents that did not, or whose header or pack is gone; found by this scrub.
    quarantined
        Held contents found damaged earlier, and not stored again since.
    unreferenced, unreferenced_bytes
        Contents that nothing holds: compaction will remove them.
    unreadable_bytes
        Bytes of packs that belong to no readable record.
    """

    total_segments: int = 0
    segments: int = 0
    records: int = 0
    contents: int = 0
    read_bytes: int = 0
    damaged: int = 0
    quarantined: int = 0
    unreferenced: int = 0
    unreferenced_bytes: int = 0
    unreadable_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did.

    Attributes
    ----------
    removed, written
        Packs.
    freed_bytes
        By how much the packs became smaller.
    skipped
        Packs left alone because their records do not add up to what the index says: scrub them.
    """

    removed: int = 0
    written: int = 0
    freed_bytes: int = 0
    skipped: int = 0

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(
            self.removed + other.removed,
            self.written + other.written,
            self.freed_bytes + other.freed_bytes,
            self.skipped + other.skipped,
        )


def rewrite_each(
    groups: Iterable[Sequence[T]],
    rewrite: Callable[[Sequence[T]], Compacted],
    unreadable: type[Exception] | tuple[type[Exception], ...],
) -> Compacted:
    """Rewrite packs one group after the other.

    Parameters
    ----------
    unreadable
        What `rewrite` raises of a group that it left as it was: that is logged, and the next one has its turn.
    """
    done = Compacted()
    for group in groups:
        try:
            done += rewrite(group)
        except unreadable as error:
            _log.error("compaction_failed", segments=len(group), error=error)
            done += Compacted(skipped=len(group))
    return done


class OneAtATime:
    """Compaction and scrub read and rewrite the same packs: who comes second is told that the first is at it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the turn; raises `Busy` rather than wait for it."""
        if not self._lock.acquire(blocking=False):
            raise Busy("the store is being compacted or scrubbed already")
        try:
            yield
        finally:
            self._lock.release()


def at_once(_nbytes: int) -> None:
    """Keep to no rate."""


def unheard(_report: ScrubReport) -> None:
    """Tell nobody."""
