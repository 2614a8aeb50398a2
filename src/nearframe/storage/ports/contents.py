"""Sealed contents by digest: immutable, and read without any database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

from nearframe.ids import Digest

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


class Mark(NamedTuple):
    """A moment in the life of a store; of two of one store the earlier one is the smaller.

    Attributes
    ----------
    failures
        How often a sync had failed.
    changes
        What was known of how often something was let go of, by any process.
    """

    failures: int
    changes: int = 0


class ContentStore(Protocol):
    """Sealed, immutable contents addressed by the digest of their plain bytes.

    Every call names the study on whose behalf it is made: contents are deduplicated within
    a tenant, readable only through a study that references them, and gone for good with
    the last of those. All methods may be called from several threads.

    Attributes
    ----------
    is_remote
        `sync` waits for another machine: nobody should hold a lock while it does.
    """

    is_remote: ClassVar[bool]

    def mark(self) -> Mark:
        """Return a value for `sync` and `confirm`. Take it before the first `append` of a batch."""
        ...

    def append(
        self,
        study: StudyRef,
        kind: ContentKind,
        digest: Digest,
        size: int,
        chunks: Iterable[Buffer],
        *,
        into_reserve: bool = False,
    ) -> bool:
        """Add a content, or only a reference if the tenant already holds it.

        Not durable before `sync`. Safe to call twice. Returns True if bytes were written,
        False if they were held already (then `chunks` is not consumed).

        Parameters
        ----------
        into_reserve
            The disk's reserve may be used: for the little that has to go on while nothing is taken in.

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

    def sync(self, since: Mark) -> None:
        """Make every earlier `append`, `adopt` and `release` durable; concurrent callers share the work.

        Durable means: on the disk (fdatasync), or in the bucket and its index, on other machines.

        Parameters
        ----------
        since
            The `mark` taken before the first of them. A failure takes everybody's unsynced
            contents with it, also those of callers that were not waiting: the mark tells them.

        Raises
        ------
        BackendFailed, Busy, NoSpace
            If it failed since then: nothing of the batch may be acknowledged; send it again.
        """
        ...

    def confirm(self, since: Mark, contents: Mapping[StudyRef, Collection[Digest]]) -> None:
        """Check that contents which were held since a mark, or synced, still are.

        Where other processes let go of contents, `append` and `sync` do not promise that: what was held
        when it was offered may be gone by now. Called within the transaction that is to refer to them,
        which whoever lets go takes turns with.

        Raises
        ------
        Busy
            If they are not: send it again.
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

    def adopt(self, study: StudyRef, digests: Iterable[Digest], *, into_reserve: bool = False) -> list[Digest]:
        """Reference contents that the tenant already holds; return those that it does not."""
        ...

    def release(self, study: StudyRef, digests: Iterable[Digest]) -> None:
        """Drop this study's references; unreferenced bytes go at the next compaction."""
        ...

    def shred(self, study: StudyRef) -> None:
        """Delete the study's data key and all its references: unreadable at once and for good."""
        ...
