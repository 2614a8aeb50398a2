"""Contents for the services that read: where they come from is the node's business.

An origin reads its own packs (`LocalContents`); an edge fetches what it does not hold.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from nearframe.context import Context
from nearframe.errors import NotFound
from nearframe.ids import Digest
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentStore, StudyRef


class ContentReader(Protocol):
    """Reads contents by digest. Bytes it returns match their digest, or it raises `IntegrityError`.

    Attributes
    ----------
    fetches
        Whether what is not held here is fetched: then `stream` gives bytes as they come.
    """

    @property
    def fetches(self) -> bool: ...

    def read_nowait(self, study: StudyRef, digest: Digest) -> bytes | None:
        """Return the content if that takes no waiting, else None."""
        ...

    def read_framed(self, study: StudyRef, digest: Digest, head: bytes, tail: bytes) -> bytes | bytearray | None:
        """Return the content between `head` and `tail` if that takes no waiting, else None."""
        ...

    async def read(
        self, context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> bytes:
        """Return the content, or bytes ``start:stop`` of it.

        Raises
        ------
        NotFound
            If the study references no such content.
        UpstreamError
            If it is not held here and cannot be had.
        """
        ...

    async def size(self, context: Context, study: StudyRef, digest: Digest) -> int:
        """Return the bytes of a content; raises as `read` does."""
        ...

    def stream(
        self, context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the content, or a range of it, in chunks of bounded size.

        Raises `IntegrityError`, as late as before the last bytes, if it turns out not to be the
        content: whoever passes chunks on must then leave what it sends unfinished.
        """
        ...


class LocalContents:
    """Contents of this node's own store, read in worker threads."""

    fetches = False

    def __init__(self, store: ContentStore, workers: Workers) -> None:
        self._store = store
        self._workers = workers

    def read_nowait(self, study: StudyRef, digest: Digest) -> bytes | None:
        return self._store.read_nowait(study, digest)

    def read_framed(self, study: StudyRef, digest: Digest, head: bytes, tail: bytes) -> bytes | bytearray | None:
        return self._store.read_framed(study, digest, head, tail)

    async def read(
        self, context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> bytes:
        if start == 0 and stop is None and (held := self._store.read_nowait(study, digest)) is not None:
            return held
        return await self._workers.run(self._store.read, study, digest, start, stop)

    async def size(self, context: Context, study: StudyRef, digest: Digest) -> int:
        size = await self._workers.run(self._store.size_of, study, digest)
        if size is None:
            raise NotFound("content")
        return size

    async def stream(
        self, context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        chunks = self._store.stream(study, digest, start, stop)
        while (chunk := await self._workers.run(next, chunks, None)) is not None:
            yield chunk
