"""Fetching contents by digest: each once, proved before anybody sees it, within bounds.

::

    reader ─┐
    reader ─┼─ one flight ─ GET ─ SHA-256 ─ append ─ every reader
    reader ─┘
    read-ahead ─ batches ─ the same, while no reader waits

A reader that goes away takes nothing from the others. A content that does not match its
digest is counted, never handed on, and asked for once more from scratch. Small contents
are held in memory on their way, within a budget; large ones in an encrypted scratch file.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from nearframe import log
from nearframe.cache.budget import Budget
from nearframe.cache.singleflight import SingleFlight
from nearframe.edge.studyindex import Content
from nearframe.edge.upstream import Upstream
from nearframe.errors import IntegrityError, NearframeError, NoSpace, UpstreamError, UpstreamUnavailable
from nearframe.ids import Digest, sha256
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_NOT_KEPT, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, ContentStore, StudyRef
from nearframe.storage.scratch import ScratchFile, ScratchFolder
from nearframe.units import MIB
from nearframe.wire.contentstream import Absent, Data, Opened

_Key: TypeAlias = tuple[StudyRef, Digest]

_SCRATCH_CHUNK_BYTES = MIB
_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Bounds of what is under way.

    Attributes
    ----------
    at_once
        Contents fetched for readers at the same time; read-ahead has one request of its own.
    memory_bytes
        Memory for contents on their way.
    large_bytes
        Length from which a content goes through a scratch file.
    attempts
        Times a content is asked for while the line fails, with short jittered pauses between.
    """

    at_once: int = 8
    memory_bytes: int = 64 * MIB
    large_bytes: int = 8 * MIB
    attempts: int = 3
    pause_s: float = 0.2
    patience_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A content that was fetched.

    Attributes
    ----------
    data
        None for a large content: it is in the store.
    stored
        True if the store holds it now.
    """

    data: bytes | None
    stored: bool


class Fetcher:
    """Fetches from the upstream into the store. For one event loop."""

    def __init__(
        self,
        upstream: Upstream,
        store: ContentStore,
        workers: Workers,
        metrics: Metrics,
        scratch: ScratchFolder,
        limits: FetchLimits | None = None,
    ) -> None:
        self.limits = limits or FetchLimits()
        self._upstream = upstream
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._scratch = scratch
        self._flights: SingleFlight[_Key, Fetched] = SingleFlight("fetch")
        self._arriving: dict[_Key, asyncio.Future[Fetched]] = {}
        self._slots = asyncio.Semaphore(self.limits.at_once)
        self._memory = Budget(self.limits.memory_bytes)
        self._readers = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._rng = random.Random()

    def is_under_way(self, study: StudyRef, digest: Digest) -> bool:
        """Return whether a content is being fetched, so that another reader only waits."""
        key = study, digest
        return key in self._flights or key in self._arriving

    async def until_idle(self) -> None:
        """Return when no reader waits for the upstream: read-ahead does so between two batches."""
        await self._idle.wait()

    async def fetch(self, study: StudyRef, content: Content) -> Fetched:
        """Fetch a content for a reader.

        Raises
        ------
        NotFound
            If the upstream does not have it.
        IntegrityError
            If what came does not match its digest, twice.
        UpstreamError
        """
        self._readers += 1
        self._idle.clear()
        try:
            return await self._flights.run((study, content.digest), lambda: self._fetch(study, content))
        finally:
            self._readers -= 1
            if not self._readers:
                self._idle.set()

    async def fetch_ahead(self, study: StudyRef, contents: Sequence[Content]) -> int:
        """Fetch a batch of small contents that nobody waits for yet; return how many are here or on their way.

        Readers that want one of them meanwhile wait for this batch.
        """
        wanted = [content for content in contents if not self.is_under_way(study, content.digest)]
        loop = asyncio.get_running_loop()
        arriving = {content.digest: loop.create_future() for content in wanted}
        self._arriving |= {(study, digest): future for digest, future in arriving.items()}
        try:
            came = await self._receive(study, wanted, arriving) if wanted else 0
            return came + len(contents) - len(wanted)
        finally:
            for digest, future in arriving.items():
                del self._arriving[study, digest]
                if not future.done():
                    future.set_exception(UpstreamUnavailable("the batch ended early"))
                    future.exception()  # nobody may have waited for it

    # -- one content -----------------------------------------------------------------------

    async def _fetch(self, study: StudyRef, content: Content) -> Fetched:
        arriving = self._arriving.get((study, content.digest))
        if arriving is not None:
            try:
                return await asyncio.shield(arriving)
            except NearframeError:
                pass  # the batch did not bring it: ask for it alone
        async with self._slots:
            return await self._with_retries(study, content)

    async def _with_retries(self, study: StudyRef, content: Content) -> Fetched:
        mismatches = 0
        for attempt in range(1, self.limits.attempts + 1):
            try:
                return await self._fetch_once(study, content)
            except IntegrityError:
                mismatches += 1
                if mismatches == 2:
                    raise
            except UpstreamError:
                if attempt == self.limits.attempts or self._upstream.breaker.is_open:
                    raise
                await asyncio.sleep(self.limits.pause_s * attempt * (0.5 + self._rng.random() / 2))
        raise UpstreamError("the upstream sent something else than was asked for")

    async def _fetch_once(self, study: StudyRef, content: Content) -> Fetched:
        async with self._upstream.content(study, content.digest) as (length, chunks):
            if length > self.limits.large_bytes:
                return await self._through_scratch(study, content, length, chunks)
            await self._memory.reserve(length, self.limits.patience_s)
            try:
                data = bytearray()
                async for chunk in chunks:
                    data += chunk
                return await self._workers.run(self._keep, study, content, bytes(data))
            finally:
                self._memory.release(length)

    # -- a batch ---------------------------------------------------------------------------

    async def _receive(
        self, study: StudyRef, wanted: Sequence[Content], arriving: dict[Digest, asyncio.Future[Fetched]]
    ) -> int:
        by_digest = {content.digest: content for content in wanted}
        came = 0
        longest = max(content.length for content in wanted)
        async with self._upstream.contents(study, list(by_digest), longest) as events:
            content, data = wanted[0], bytearray()
            async for event in events:
                match event:
                    case Opened(digest, _):
                        content, data = by_digest[digest], bytearray()
                    case Data(chunk, last):
                        data += chunk
                        if last:
                            came += await self._arrived(study, content, bytes(data), arriving[content.digest])
                    case Absent():
                        pass
        return came

    async def _arrived(self, study: StudyRef, content: Content, data: bytes, future: asyncio.Future[Fetched]) -> bool:
        try:
            fetched = await self._workers.run(self._keep, study, content, data)
        except IntegrityError as error:
            future.set_exception(error)
            future.exception()
            return False
        future.set_result(fetched)
        return fetched.stored

    # -- proving and keeping (worker threads) ------------------------------------------------

    def _keep(self, study: StudyRef, content: Content, data: bytes) -> Fetched:
        if sha256(data) != content.digest:
            self._mismatch(content.kind)
        try:
            self._store.append(study, content.kind, content.digest, len(data), [data])
        except NoSpace as error:
            self._metrics.add(EDGE_NOT_KEPT)
            _log.warning("content_not_kept", error=error)
            return Fetched(data, stored=False)
        return Fetched(data, stored=True)

    def _mismatch(self, kind: ContentKind) -> None:
        self._metrics.add(EDGE_INTEGRITY_FAILURES, what="frame")
        _log.error("content_does_not_match", kind=kind.name.lower())
        raise IntegrityError("a content from the upstream does not match its digest; it was not used")

    async def _through_scratch(
        self, study: StudyRef, content: Content, length: int, chunks: AsyncIterator[bytes]
    ) -> Fetched:
        scratch = await self._workers.run(self._scratch.open)
        try:
            state = hashlib.sha256()
            async for chunk in chunks:
                await self._workers.run(_write, scratch, state, chunk)
            if state.digest() != content.digest:
                self._mismatch(content.kind)
            source = _read_back(scratch, length)
            await self._workers.run(self._store.append, study, content.kind, content.digest, length, source)
        finally:
            scratch.close()
        return Fetched(None, stored=True)


def _write(scratch: ScratchFile, state: hashlib._Hash, chunk: bytes) -> None:
    state.update(chunk)
    scratch.write(chunk)


def _read_back(scratch: ScratchFile, length: int) -> Iterator[bytes]:
    for at in range(0, length, _SCRATCH_CHUNK_BYTES):
        yield scratch.read(at, min(_SCRATCH_CHUNK_BYTES, length - at))
