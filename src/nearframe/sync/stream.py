"""A study in one answer, for a client: see `wire.syncstream` for what it looks like.

::

    0. the client holds the current state, all of it          204, nothing else
    1. the client's root is known, and it lacks no header     a delta
       else                                                   the manifest, and the headers it lacks
    2. of every picture that has a rendition the client       its lowest resolutions, in sending order
       can read
    3. everything else, in sending order                      as stored, or the rest of the rendition

What the client holds is what it says it holds: nothing is remembered of it here, so it can
go on at another node. A content that cannot be had just now is said to be absent, and the
rest is sent all the same.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nearframe.context import Context
from nearframe.errors import NotFound
from nearframe.ids import Digest
from nearframe.storage.ports import ContentStore, StudyRef
from nearframe.sync.asked import json_body, study_of
from nearframe.sync.plan import Job, Plan, make_plan, whole
from nearframe.sync.readahead import read_ahead
from nearframe.sync.services import DELTA, FRAME, HEADER, MANIFEST, SyncServices
from nearframe.units import MIB
from nearframe.wire import syncstream
from nearframe.wire.manifest import Manifest
from nearframe.wire.syncrequest import SyncRequest

EPOCH_HEADER: Final = "Nearframe-Epoch"
# An edge may have to ask its upstream for each: a few at a time hide the round trip.
_READ_AT_ONCE = 4
_READ_AHEAD_BYTES = 8 * MIB


async def sync(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer with all that leads from what a client holds to the study as it is now, the most urgent first."""
    study = study_of(context, request)
    wanted = SyncRequest.from_query(request.query_params.get("from"), request.query_params.get("levels"))
    if request.method == "HEAD":  # nothing about the body is known before it is made
        return Response(headers={"Cache-Control": "no-store"}, media_type=syncstream.MEDIA_TYPE)
    return await _answer(services, context, study, wanted)


async def sync_lacking(services: SyncServices, context: Context, request: Request) -> Response:
    """Answer as GET does, to a client that says more closely what it holds and what it lacks."""
    study = study_of(context, request)
    wanted = SyncRequest.from_json(await json_body(request))
    return await _answer(services, context, study, wanted)


async def _answer(services: SyncServices, context: Context, study: StudyRef, wanted: SyncRequest) -> Response:
    epoch = await services.workers.run(lambda: services.catalogue.head().epoch)
    headers = {"Cache-Control": "no-store", EPOCH_HEADER: epoch}
    if wanted.root is not None and wanted.is_plain and await services.deltas.is_current(study, wanted.root):
        # Two look-ups, and no content: what most clients ask most of the time.
        return Response(status_code=204, headers=headers)
    await services.opened(study)
    manifest, old, says, makes_headers = await _how_it_stands(services, study, wanted)
    plan = await services.workers.run(
        make_plan, services.catalogue, study.tenant, manifest, old, wanted, headers=not makes_headers
    )
    records = _Records(services, context, study, plan)
    return _Streamed(records.stream(syncstream.opening(epoch) + says), headers)


async def _how_it_stands(
    services: SyncServices, study: StudyRef, wanted: SyncRequest
) -> tuple[Manifest, Manifest | None, bytes, bool]:
    """Return the study's state, the client's, the record that leads to it, and whether that makes every header."""
    state = await services.manifests.current(study)
    new = state.manifest
    old = await _state_of_client(services, study, wanted.root)
    lacks_headers = any(wanted.lacking_headers)
    if old is not None and old.root == new.root:
        return new, old, syncstream.unchanged(old.root), not lacks_headers
    if old is not None and not lacks_headers:
        try:
            delta = await services.deltas.between(study, old, new)
        except NotFound:
            pass  # none worth sending
        else:
            services.sent(DELTA, 1, len(delta))
            return new, old, syncstream.delta(delta), True
    encoded = await services.manifests.encoded(study, state)
    services.sent(MANIFEST, 1, len(encoded))
    return new, old, syncstream.manifest(encoded), False


async def _state_of_client(services: SyncServices, study: StudyRef, root: Digest | None) -> Manifest | None:
    if root is None:
        return None
    try:
        return (await services.manifests.with_root(study, root)).manifest
    except NotFound:
        return None


class _Streamed(Response):
    """Sends records as they are taken; whatever ends the sending ends the reading.

    It does not listen for the client: the listener does, and says so when something is sent.
    """

    def __init__(self, records: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(None, 200, headers, syncstream.MEDIA_TYPE)
        del self.headers["content-length"]
        self._records = records

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._records) as records:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for record in records:
                await send({"type": "http.response.body", "body": record, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Records:
    """The records of one answer, read while they are sent."""

    def __init__(self, services: SyncServices, context: Context, study: StudyRef, plan: Plan) -> None:
        self._services = services
        self._context = context
        self._study = study
        self._plan = plan
        self._count = 0
        #: The form that the client was last told of, by content; those not in it go as they are.
        self._forms: dict[int, Digest] = {}
        self._absent: set[int] = set()
        #: Contents whose rendition is gone: they go as stored.
        self._without_rendition: set[int] = set()

    async def stream(self, beginning: bytes) -> AsyncGenerator[bytes, None]:
        """Yield all records after `beginning`, which holds two."""
        self._count = 2
        yield beginning
        async with aclosing(self._headers()) as records:
            async for record in records:
                yield record
        async with aclosing(self._parts(self._plan.jobs)) as records:
            async for record in records:
                yield record
        yield syncstream.ending(self._plan.manifest.root, self._count)

    async def _headers(self) -> AsyncGenerator[bytes, None]:
        entries = self._plan.manifest.entries
        batches = _header_records(
            self._services.store, self._study, [(index, entries[index].hdr) for index in self._plan.headers]
        )
        while (made := await self._services.workers.run(next, batches, None)) is not None:
            count, record = made
            self._services.sent(HEADER, count, len(record))
            self._count += 1
            yield record

    async def _parts(self, jobs: Iterable[Job]) -> AsyncGenerator[bytes, None]:
        reading = read_ahead(jobs, self._read, most_jobs=_READ_AT_ONCE, most_bytes=_READ_AHEAD_BYTES)
        async with aclosing(reading) as results:
            async for job, result in results:
                if job.number in self._absent:
                    continue
                if job.rendition is not None and isinstance(result, NotFound):
                    self._without_rendition.add(job.number)
                if job.rendition is not None and job.number in self._without_rendition:
                    if job.is_last:
                        async with aclosing(self._parts(whole(job.number, self._plan.contents[job.number]))) as records:
                            async for record in records:
                                yield record
                elif isinstance(result, bytes):
                    yield self._part(job, result)
                else:
                    self._absent.add(job.number)
                    self._count += 1
                    yield syncstream.absent(job.number)

    def _part(self, job: Job, data: bytes) -> bytes:
        """Return the record of a part, after one that tells its form where the client does not know it."""
        record = syncstream.part(job.number, job.start, len(data)) + data
        self._count += 1
        self._services.sent(FRAME, int(job.is_last), len(data))
        if job.digest == self._forms.get(job.number, self._plan.contents[job.number].digest):
            return record
        self._forms[job.number] = job.digest
        self._count += 1
        offsets = () if job.rendition is None else job.rendition.resolution_offsets
        return syncstream.form(job.number, job.digest, job.length, offsets) + record

    async def _read(self, job: Job) -> bytes:
        return await self._services.contents.read(self._context, self._study, job.digest, job.start, job.stop)


def _header_records(
    store: ContentStore, study: StudyRef, wanted: Sequence[tuple[int, Digest]]
) -> Iterator[tuple[int, bytes]]:
    """Yield records of headers, each with how many it holds; reads one record's headers at a time."""
    batch: list[tuple[int, bytes]] = []
    size = 0
    for index, hdr in wanted:
        blob = store.read(study, hdr)
        batch.append((index, blob))
        size += len(blob)
        if size >= syncstream.HEADERS_BYTES:
            yield len(batch), syncstream.headers(batch)
            batch, size = [], 0
    if batch:
        yield len(batch), syncstream.headers(batch)
