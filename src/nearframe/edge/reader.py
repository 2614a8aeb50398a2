"""Contents at an edge: its own store first, then what the tenant holds, then the upstream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from nearframe.context import Context
from nearframe.edge.cachestatus import note_fetch
from nearframe.edge.fetch import Fetched, Fetcher
from nearframe.edge.readahead import ReadAhead
from nearframe.edge.studyindex import Content, StudyIndex, StudyIndexes
from nearframe.errors import IntegrityError, NotFound, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from nearframe.ids import Digest
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_READ_BYTES, EDGE_READS, Metrics
from nearframe.query.contents import LocalContents
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, ContentStore, StudyRef

_AWAY = "not held at this edge, and the upstream is away: try again when the line is back; what is held is served"
_LATE = "not held at this edge, and the upstream did not answer in time: try again"


class EdgeContentReader:
    """The `query.contents.ContentReader` of an edge.

    Parameters
    ----------
    read_ahead
        None to fetch nothing that was not asked for.
    """

    def __init__(
        self,
        store: ContentStore,
        fetcher: Fetcher,
        indexes: StudyIndexes,
        workers: Workers,
        metrics: Metrics,
        read_ahead: ReadAhead | None,
    ) -> None:
        self._store = store
        self._local = LocalContents(store, workers)
        self._fetcher = fetcher
        self._indexes = indexes
        self._workers = workers
        self._metrics = metrics
        self._read_ahead = read_ahead
        self._hits = metrics.counter(EDGE_READS, how="held")
        self._hit_bytes = metrics.counter(EDGE_READ_BYTES, how="held")

    def read_nowait(self, study: StudyRef, digest: Digest) -> bytes | None:
        held = self._store.read_nowait(study, digest)
        if held is not None:
            self._hit(len(held))
        return held

    def read_framed(self, study: StudyRef, digest: Digest, head: bytes, tail: bytes) -> bytes | bytearray | None:
        held = self._store.read_framed(study, digest, head, tail)
        if held is not None:
            self._hit(len(held) - len(head) - len(tail))
        return held

    async def read(
        self, context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> bytes:
        try:
            data = await self._local.read(context, study, digest, start, stop)
        except NotFound:
            pass
        except IntegrityError:
            # A damaged record reads as missing from now on; what is fetched takes its place.
            self._metrics.add(EDGE_INTEGRITY_FAILURES, what="local")
        else:
            self._hit(len(data))
            return data
        fetched = await self._fetch(study, digest)
        if fetched.data is None:
            return await self._local.read(context, study, digest, start, stop)
        return fetched.data[start:stop]

    async def size(self, context: Context, study: StudyRef, digest: Digest) -> int:
        try:
            return await self._local.size(context, study, digest)
        except NotFound:
            content = (await self._indexes.of(study)).find(digest)
        if content is not None:
            return content.length
        fetched = await self._fetch(study, digest)
        return await self._local.size(context, study, digest) if fetched.data is None else len(fetched.data)

    async def stream(
        self, context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        if await self._workers.run(self._store.size_of, study, digest) is None:
            fetched = await self._fetch(study, digest)
            if fetched.data is not None:
                yield fetched.data[start:stop]
                return
        self._hits.inc()
        async for chunk in self._local.stream(context, study, digest, start, stop):
            self._hit_bytes.inc(len(chunk))
            yield chunk

    async def _fetch(self, study: StudyRef, digest: Digest) -> Fetched:
        """Get a content that the study's own references do not reach."""
        index = await self._indexes.of(study)
        content = index.find(digest)
        # Only what the study is known to consist of may be taken from elsewhere in the tenant.
        if content is not None and not await self._workers.run(self._store.adopt, study, [digest]):
            return Fetched(None, stored=True)
        return await self._from_upstream(study, index, content or Content(digest, ContentKind.FRAME, 0))

    async def _from_upstream(self, study: StudyRef, index: StudyIndex, content: Content) -> Fetched:
        collapsed = self._fetcher.is_under_way(study, content.digest)
        began = time.perf_counter()
        try:
            fetched = await self._fetcher.fetch(study, content)
        except UpstreamUnavailable as error:
            raise UpstreamUnavailable(_AWAY) from error
        except UpstreamTimeout as error:
            raise UpstreamTimeout(_LATE) from error
        except NotFound as error:
            if content.kind is ContentKind.DERIVED or index.find(content.digest) is None:
                raise
            raise UpstreamError("the upstream lacks a content that its manifest names") from error
        note_fetch(time.perf_counter() - began, stored=fetched.stored, collapsed=collapsed)
        self._metrics.add(EDGE_READS, how="collapsed" if collapsed else "fetched")
        self._metrics.add(EDGE_READ_BYTES, content.length if fetched.data is None else len(fetched.data), how="fetched")
        if self._read_ahead is not None:
            self._read_ahead.opened(study, index, content)
        return fetched

    def _hit(self, size: int) -> None:
        self._hits.inc()
        self._hit_bytes.inc(size)
