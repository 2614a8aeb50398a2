"""Taking in from another node: it offers by digest, sends what is lacking, and offers again.

::

    POST /api/offers                      instances by digest -> recorded, or what is lacking
    PUT  /api/studies/{study}/contents    what is lacking, each proved by its digest and kept at once;
                                          with as=recipe frames as in `delta.sent`: those refused are named
    POST /api/offers                      the same again -> recorded

Nothing is remembered between requests: a line that is cut anywhere is mended by offering
again. An instance is recorded when header and pieces are all here, by taking the file that
they make apart as if it had been stored by STOW-RS; it must come out under the digest that
was offered.

What an answer may tell. Contents are lacking unless *this study* holds them. Only a sender
that may read the whole tenant is spared what another study of the tenant holds: it could
have read that anyway. To a sender of fewer studies the answer is the same whether another
study has a content or not; else a digest that it heard of would be enough to learn that,
and, by recording a file around it, to read it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from nearframe.context import Context
from nearframe.dicomweb.ports import StoredInstance
from nearframe.errors import (
    AccessError,
    IntegrityError,
    LimitExceeded,
    MalformedRequest,
    NearframeError,
    NotFound,
    Refused,
    RequestError,
    UnsupportedMedia,
)
from nearframe.ids import Digest, normalise_uid
from nearframe.intake.heldfile import HeldFile
from nearframe.intake.ingest import Expected, NotTaken
from nearframe.intake.spool import Spooled
from nearframe.metrics import OFFERED_INSTANCES, SYNC_TAKEN, SYNC_TAKEN_BYTES
from nearframe.storage.ports import ContentKind, ContentStore, StudyRef
from nearframe.sync.asked import json_body, study_of
from nearframe.sync.recipesin import MAX_SENT_BYTES, follow
from nearframe.sync.services import SyncServices, TakesIn
from nearframe.wire.contentstream import ContentStreamReader, Data, Event, Opened
from nearframe.wire.offer import (
    MAX_BYTES,
    NOT_IN_FILE,
    Answered,
    OfferAnswer,
    OfferedInstance,
    Stand,
    encode_answer,
    read_offer,
)
from nearframe.wire.zstdstream import ZstdStream

#: Instances of an offer recorded at the same time: they share a group commit.
_AT_ONCE: Final = 8

_REMOVED: Final = (
    "the archive had removed it before the backup that it was restored from: send it again from where it was made if "
    "it is to come back"
)

_KINDS: Final = {
    kind.name.lower(): kind for kind in (ContentKind.FRAME, ContentKind.BULK, ContentKind.OPAQUE, ContentKind.HEADER)
}


async def offer(services: SyncServices, context: Context, request: Request) -> Response:
    """Record what is offered and complete; answer with what is lacking of the rest."""
    takes = _takes(services)
    offered = read_offer(await json_body(request, MAX_BYTES))
    uid = normalise_uid(offered.study_instance_uid)
    if not context.scope.admits(uid):
        raise AccessError("this study is outside what the session may reach")
    desk = _Desk(services, takes, context, StudyRef(context.tenant, uid))
    answer = await desk.answer(offered.instances)
    return Response(encode_answer(answer), headers={"Cache-Control": "no-store"}, media_type="application/json")


async def put_contents(services: SyncServices, context: Context, request: Request) -> Response:
    """Keep contents that an offer lacked; answer once they are durable."""
    takes = _takes(services)
    study = study_of(context, request)
    kind = _KINDS.get(request.query_params.get("kind", ""))
    if kind is None:
        raise MalformedRequest(f"kind is one of {', '.join(_KINDS)}")
    by_recipe = request.query_params.get("as") == "recipe"
    if by_recipe and (kind is not ContentKind.FRAME or services.recipes is None):
        raise Refused("this node takes no such contents as recipes; send them as they are")
    refused: list[str] = []
    mark = services.store.mark()
    in_use = takes.ingest.in_use
    await services.workers.run(in_use.begin, study)
    try:
        if by_recipe:
            kept = await _receive_recipes(services, takes, study, request, refused)
        else:
            kept = await _receive(services, takes, study, kind, request)
        await services.workers.run(services.store.sync, mark)
    finally:
        in_use.end(study)
    return JSONResponse({"kept": kept, "refused": refused}, headers={"Cache-Control": "no-store"})


async def _receive(services: SyncServices, takes: TakesIn, study: StudyRef, kind: ContentKind, request: Request) -> int:
    kept = 0
    async with aclosing(_events(request, takes.spool.limits.max_instance_bytes)) as events:
        async for event in events:
            if isinstance(event, Opened):
                await _keep(services, takes, study, kind, event, events)
                kept += 1
    return kept


async def _receive_recipes(
    services: SyncServices, takes: TakesIn, study: StudyRef, request: Request, refused: list[str]
) -> int:
    """Keep the frames that recipes make; adds the digests of those that make none to `refused`."""
    kept = 0
    async with aclosing(_events(request, MAX_SENT_BYTES)) as events:
        async for event in events:
            if not isinstance(event, Opened):
                continue
            data = b"".join([chunk async for chunk in _bytes_of(events)])
            made = await follow(services, event.digest, data)
            if made is None:
                refused.append(event.digest.hex())
                continue
            append = services.store.append
            await services.workers.run(append, study, ContentKind.FRAME, event.digest, len(made), [made])
            services.metrics.add(SYNC_TAKEN, kind="frame")
            services.metrics.add(SYNC_TAKEN_BYTES, len(made), kind="frame")
            kept += 1
    return kept


def _takes(services: SyncServices) -> TakesIn:
    if services.takes is None:
        raise Refused("this node takes nothing in; offer it to the node behind it")
    return services.takes


# -- recording ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Desk:
    """One offer being answered."""

    services: SyncServices
    takes: TakesIn
    context: Context
    study: StudyRef

    async def answer(self, instances: Sequence[OfferedInstance]) -> OfferAnswer:
        run = self.services.workers.run
        wanted = list(dict.fromkeys(digest for one in instances for digest in _contents_of(one)))
        lacks = await run(_lacking, self.services.store, self.study, wanted, self._may_read_tenant)
        lacking = set(lacks)
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one_answer(one: OfferedInstance) -> Answered:
            if not lacking.isdisjoint(_contents_of(one)):
                return Answered(Stand.LACKING)
            async with slots:
                return await self._record(one)

        answers = await self._archived(instances, await asyncio.gather(*(one_answer(one) for one in instances)))
        for answered in answers:
            self.services.metrics.add(OFFERED_INSTANCES, answer=answered.stand.value)
        if any(answered.stand is Stand.RECORDED for answered in answers):
            self.takes.freshness.changed(self.study)
        return OfferAnswer(answers, tuple(lacks), recipes=self.services.recipes is not None)

    async def _archived(
        self, instances: Sequence[OfferedInstance], answers: Sequence[Answered]
    ) -> tuple[Answered, ...]:
        """Say of what is recorded whether it is in the archive as well."""
        both = list(zip(instances, answers, strict=True))
        recorded = [one for one, answered in both if answered.stand is Stand.RECORDED]
        archived = iter(await self.services.archived(self.study, recorded) if recorded else ())
        return tuple(
            replace(answered, is_archived=next(archived)) if answered.stand is Stand.RECORDED else answered
            for answered in answers
        )

    @property
    def _may_read_tenant(self) -> bool:
        return self.context.scope.studies is None

    async def _record(self, one: OfferedInstance) -> Answered:
        if one.is_again and await self._was_removed(one):
            return Answered(Stand.REFUSED, reason=_REMOVED)
        try:
            file = await self.services.workers.run(self._open, one)
        except NearframeError as error:
            return _not_recorded(error)
        expected = Expected(self.study.study_instance_uid, one.sop_instance_uid, one.file)
        taken = await self.takes.ingest.take(self.context, file, expected, "offer")
        return _not_recorded(taken.error) if isinstance(taken, NotTaken) else _recorded(taken)

    async def _was_removed(self, one: OfferedInstance) -> bool:
        catalogue = self.services.catalogue
        return await self.services.workers.run(catalogue.was_removed, self.context.tenant, one.sop_instance_uid)

    def _open(self, one: OfferedInstance) -> HeldFile:
        return HeldFile(
            self.services.store,
            self.study,
            one.hdr,
            one.pieces,
            max_header_bytes=self.takes.max_header_bytes,
            max_bytes=self.takes.spool.limits.max_instance_bytes,
        )


def _contents_of(one: OfferedInstance) -> Iterable[Digest]:
    yield one.hdr
    yield from (digest for digest in one.pieces if digest != NOT_IN_FILE)


def _lacking(store: ContentStore, study: StudyRef, digests: list[Digest], may_read_tenant: bool) -> list[Digest]:
    if may_read_tenant:
        store.adopt(study, digests)
    return store.missing(study, digests)


def _recorded(stored: StoredInstance) -> Answered:
    return Answered(Stand.RECORDED, stored.outcome.name.lower(), stored.version, stored.warning)


def _not_recorded(error: NearframeError) -> Answered:
    # A content that has gone, or does not open, reads as lacking when it is offered again.
    is_final = isinstance(error, RequestError) and not isinstance(error, NotFound)
    return Answered(Stand.REFUSED if is_final else Stand.LATER, reason=str(error))


# -- contents ----------------------------------------------------------------------------------


async def _events(request: Request, max_length: int) -> AsyncGenerator[Event, None]:
    reader = ContentStreamReader(None, max_length=max_length)
    async for chunk in _plain(request):
        for event in reader.feed(chunk):
            yield event
    reader.close()


async def _plain(request: Request) -> AsyncIterator[bytes]:
    coding = request.headers.get("content-encoding", "identity")
    if coding == "identity":
        async for chunk in request.stream():
            yield chunk
        return
    if coding != "zstd":
        raise UnsupportedMedia("contents come as they are, or compressed with zstd")
    opener = ZstdStream()
    async for chunk in request.stream():
        for piece in opener.feed(chunk):
            yield piece


async def _keep(
    services: SyncServices,
    takes: TakesIn,
    study: StudyRef,
    kind: ContentKind,
    opened: Opened,
    events: AsyncIterator[Event],
) -> None:
    if kind is ContentKind.HEADER and opened.length > takes.max_header_bytes:
        raise LimitExceeded("max_header_bytes", takes.max_header_bytes, opened.length)
    spooled = await takes.spool.receive(_bytes_of(events), opened.length)
    try:
        await services.workers.run(_append, services.store, study, kind, opened.digest, spooled)
    finally:
        spooled.close()
    services.metrics.add(SYNC_TAKEN, kind=kind.name.lower())
    services.metrics.add(SYNC_TAKEN_BYTES, opened.length, kind=kind.name.lower())


async def _bytes_of(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """Yield the bytes of the content opened last."""
    async for event in events:
        if isinstance(event, Data):
            yield event.data
            if event.last:
                return


def _append(store: ContentStore, study: StudyRef, kind: ContentKind, digest: Digest, spooled: Spooled) -> None:
    state = hashlib.sha256()
    for chunk in spooled.chunks():
        state.update(chunk)
    if state.digest() != digest:
        raise IntegrityError("a content that was sent here does not match its digest; it was not kept")
    store.append(study, kind, digest, spooled.size, spooled.chunks())
