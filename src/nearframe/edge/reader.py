"""Contents at an edge: its own store first, then what the tenant holds, then the upstream.

Of a frame in two forms (`studyindex.Twins`) one is held, and one crosses the line.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from nearframe.cache.absences import Absences
from nearframe.context import Context, Urgency
from nearframe.edge.cachestatus import note_fetch
from nearframe.edge.exportahead import ExportAhead
from nearframe.edge.fetch import Fetcher
from nearframe.edge.making import MAX_FRAME_BYTES, FrameMaker
from nearframe.edge.readahead import ReadAhead
from nearframe.edge.studyindex import Content, StudyIndex, StudyIndexes
from nearframe.edge.turns import User
from nearframe.errors import IntegrityError, NotFound, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from nearframe.ids import Digest
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_READ_BYTES, EDGE_READS, Metrics
from nearframe.query.contents import LocalContents
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, ContentStore, StudyRef

_AWAY = "not held at this edge, and the upstream is away: try again when the line is back; what is held is served"
_LATE = "not held at this edge, and the upstream did not answer in time: try again"


@dataclass(frozen=True, slots=True)
class _Here:
    """What is here of a frame: itself, or its other form."""

    is_held: bool
    is_twin_held: bool


class EdgeContentReader:
    """The `query.contents.ContentReader` of an edge.

    Parameters
    ----------
    read_ahead, export_ahead
        None to fetch nothing that was not asked for.
    """

    fetches = True

    def __init__(
        self,
        store: ContentStore,
        fetcher: Fetcher,
        indexes: StudyIndexes,
        workers: Workers,
        maker: FrameMaker,
        metrics: Metrics,
        read_ahead: ReadAhead | None,
        export_ahead: ExportAhead | None = None,
    ) -> None:
        self._store = store
        self._local = LocalContents(store, workers)
        self._fetcher = fetcher
        self._indexes = indexes
        self._workers = workers
        self._maker = maker
        self._metrics = metrics
        self._read_ahead = read_ahead
        self._export_ahead = export_ahead
        #: What the upstream lacks too, until the study changes.
        self._absent: Absences[tuple[StudyRef, Digest]] = Absences()
        #: Counted since somebody looked; plain numbers, since this is on the way of every frame.
        self._hits = self._hit_bytes = 0
        metrics.before_reading(self._hand_over)

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
        if not await self._adopted(study, digest):
            chunks = self._from_afar(context, study, digest, start, stop)
            return b"".join([chunk async for chunk in chunks])
        data = await self._local.read(context, study, digest, start, stop)
        self._hit(len(data))
        return data

    async def size(self, context: Context, study: StudyRef, digest: Digest) -> int:
        try:
            return await self._local.size(context, study, digest)
        except NotFound:
            content = (await self._indexes.of(study)).find(digest)
        if content is not None:
            return content.length
        # Nothing that is known of the study names it: only fetching tells.
        return len(await self.read(context, study, digest))

    async def stream(
        self, context: Context, study: StudyRef, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        here = await self._here(study, digest)
        if here.is_held:
            self._hits += 1
            async for chunk in self._local.stream(context, study, digest, start, stop):
                self._hit_bytes += len(chunk)
                yield chunk
            return
        chunks = self._from_afar(context, study, digest, start, stop, is_twin_here=here.is_twin_held)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def _here(self, study: StudyRef, digest: Digest) -> _Here:
        """Say what is here of a content that is to be streamed."""
        if self._fetcher.is_under_way(study, digest):
            return _Here(is_held=False, is_twin_held=False)  # it is joined; by the time of a look it may have landed
        # One look for all that decides: each costs a turn in a thread, which on a busy edge are milliseconds.
        index = self._indexes.known(study)
        here = await self._workers.run(self._look, study, digest, index)
        if not here.is_held and index is None:
            index = await self._indexes.of(study)
            here = await self._workers.run(self._look, study, digest, index)
        return here

    def _look(self, study: StudyRef, digest: Digest, index: StudyIndex | None) -> _Here:
        """Say what is here of a content; what the tenant holds is taken, if the study is known to consist of it."""
        content = None if index is None else index.find(digest)
        is_held = self._store.size_of(study, digest) is not None
        if not is_held and content is not None:
            is_held = not self._store.adopt(study, [digest])
        twin = None if content is None else content.twin
        return _Here(is_held, twin is not None and self._store.size_of(study, twin) is not None)

    async def _adopted(self, study: StudyRef, digest: Digest) -> bool:
        """Take what the tenant holds for another study, if this study is known to consist of it."""
        content = (await self._indexes.of(study)).find(digest)
        return content is not None and not await self._workers.run(self._store.adopt, study, [digest])

    async def _from_afar(
        self,
        context: Context,
        study: StudyRef,
        digest: Digest,
        start: int,
        stop: int | None,
        *,
        is_twin_here: bool = True,
    ) -> AsyncGenerator[bytes, None]:
        """Yield a content that is not held: made from its twin, or as it comes over the line.

        Parameters
        ----------
        is_twin_here
            False if it is known that the frame's other form is not held.
        """
        made = await self._made(context, study, digest, is_twin_here=is_twin_here)
        if made is not None:
            yield made[start:stop]
            return
        async with aclosing(self._from_upstream(context, study, digest, start, stop)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _made(self, context: Context, study: StudyRef, digest: Digest, *, is_twin_here: bool) -> bytes | None:
        """Return a frame made from its twin, or None if it is to be fetched as it is.

        A native frame is made from its rendition, wherever that is; a rendition from a native frame that is here.
        """
        twins = (await self._indexes.of(study)).twins(digest)
        if twins is None or twins.stored.length > MAX_FRAME_BYTES:
            return None
        held = self._maker.held(digest)
        if held is not None:
            self._hit(len(held))
            return held
        try:
            if digest == twins.stored.digest:
                twin = await self.read(context, study, twins.rendition.digest)
            elif not is_twin_here:
                return None
            else:
                twin = await self._local.read(context, study, twins.stored.digest)
        except (NotFound, IntegrityError):
            return None
        return await self._maker.make(twins, digest, twin)

    async def _from_upstream(
        self, context: Context, study: StudyRef, digest: Digest, start: int, stop: int | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a content as it comes over the line."""
        index = await self._indexes.of(study)
        known = index.find(digest)
        if known is None and self._absent.holds((study, digest), index):
            raise NotFound("content")
        content = known or Content(digest, ContentKind.FRAME, 0)
        collapsed = self._fetcher.is_under_way(study, digest)
        began, at = time.perf_counter(), start
        try:
            async with self._fetcher.following(study, content, context.urgency, _user(context.urgency)) as flight:
                if self._export_ahead is not None and context.urgency is Urgency.BULK:
                    self._export_ahead.read(study, index, content)
                async with aclosing(flight.read(start, stop)) as chunks:
                    async for chunk in chunks:
                        if at == start:
                            took_s = time.perf_counter() - began
                            queued_s = min(flight.queued_s, took_s)
                            stored = self._fetcher.keeps and context.urgency is not Urgency.BULK
                            note_fetch(took_s, queued_s, stored=stored, collapsed=collapsed)
                            self._opened(study, index, content, context.urgency)
                        at += len(chunk)
                        yield chunk
                        if flight.stored:
                            break  # a slow reader reads on from the store, and lets go of memory
                self._count(collapsed, at - start)
                end = flight.length if stop is None else min(stop, flight.length or 0)
        except UpstreamUnavailable as error:
            raise UpstreamUnavailable(_AWAY) from error
        except UpstreamTimeout as error:
            raise UpstreamTimeout(_LATE) from error
        except NotFound as error:
            if known is None or content.kind is ContentKind.DERIVED:
                self._absent.note((study, digest), index)
                raise
            raise UpstreamError("the upstream lacks a content that its manifest names") from error
        if end is not None and at < end:
            async for chunk in self._local.stream(context, study, digest, at, end):
                yield chunk

    def _opened(self, study: StudyRef, index: StudyIndex, content: Content, urgency: Urgency) -> None:
        # What is read in bulk, in its own order, is not what somebody is looking at.
        if self._read_ahead is not None and urgency is not Urgency.BULK:
            self._read_ahead.opened(study, index, content)

    def _count(self, collapsed: bool, size: int) -> None:
        self._metrics.add(EDGE_READS, how="collapsed" if collapsed else "fetched")
        self._metrics.add(EDGE_READ_BYTES, size, how="fetched")

    def _hit(self, size: int) -> None:
        self._hits += 1
        self._hit_bytes += size

    def _hand_over(self) -> None:
        (hits, self._hits), (hit_bytes, self._hit_bytes) = (self._hits, 0), (self._hit_bytes, 0)
        self._metrics.add(EDGE_READS, hits, how="held")
        self._metrics.add(EDGE_READ_BYTES, hit_bytes, how="held")


def _user(urgency: Urgency) -> User:
    return User.EXPORT if urgency is Urgency.BULK else User.READER
