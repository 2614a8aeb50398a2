"""The Store transaction: the parts of a request become instances (PS3.18 section 10.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from enum import Enum, auto

from nearframe import tasks
from nearframe.context import Context
from nearframe.dicomweb.ports import FailedInstance, IncomingPart, StoredInstance, StoreReport
from nearframe.errors import Busy, LimitExceeded, NearframeError, NoSpace, StorageError, UnsupportedMedia
from nearframe.origin.ingest import Ingest, NotTaken
from nearframe.origin.spool import Spool, Spooled

#: Parts of one request in work at the same time; then its sender waits.
PARTS_AT_ONCE = 8


class _Kind(Enum):
    """What a part holds."""

    INSTANCE = auto()
    OTHER = auto()


_KINDS = {
    "": _Kind.INSTANCE,  # of the type the whole request names
    "application/dicom": _Kind.INSTANCE,
    "application/octet-stream": _Kind.INSTANCE,  # what a sender says that looks at no content
}


class Store:
    """The `dicomweb.ports.StoreService` of an origin."""

    def __init__(self, ingest: Ingest, spool: Spool) -> None:
        self._ingest = ingest
        self.spool = spool

    async def store(self, ctx: Context, parts: AsyncIterator[IncomingPart], study: str | None) -> StoreReport:
        """See `dicomweb.ports.StoreService.store`."""
        request = _Request(self._ingest, self.spool, ctx, study)
        try:
            async for part in parts:
                await request.add(part)
        except NearframeError:
            await request.finish()  # what was complete is stored all the same
            raise
        return _report(await request.finish())


class _Request:
    """The instances of one request, in the order received."""

    def __init__(self, ingest: Ingest, spool: Spool, ctx: Context, study: str | None) -> None:
        self._ingest = ingest
        self.spool = spool
        self._ctx = ctx
        self._study = study
        self._room = asyncio.Semaphore(PARTS_AT_ONCE)
        self._outcomes: list[asyncio.Future[StoredInstance | NotTaken]] = []

    async def add(self, part: IncomingPart) -> None:
        """Receive a part, and begin to store it; returns when the next may come."""
        if _kind_of(part.headers) is _Kind.INSTANCE:
            await self._instance(part)
        else:
            self._refuse(UnsupportedMedia("a part of a kind that holds no DICOM"))

    async def finish(self) -> list[StoredInstance | NotTaken]:
        """Return what became of each instance, once it is known."""
        if self._outcomes:
            await asyncio.wait(self._outcomes)
        return [outcome.result() for outcome in self._outcomes]

    async def _instance(self, part: IncomingPart) -> None:
        await self._room.acquire()
        try:
            spooled = await self.spool.receive(part.body, _declared_bytes(part.headers))
        except (StorageError, LimitExceeded) as error:  # about this part; anything else ends the request
            self._room.release()
            self._refuse(error)
            return
        except BaseException:
            self._room.release()
            raise
        # A task of its own: it ends even if the request does not.
        self._outcomes.append(tasks.spawn(self._take(spooled), name="take"))

    async def _take(self, spooled: Spooled) -> StoredInstance | NotTaken:
        try:
            return await self._ingest.take(self._ctx, spooled, self._study, "stow")
        finally:
            self._room.release()

    def _refuse(self, error: NearframeError) -> None:
        outcome: asyncio.Future[StoredInstance | NotTaken] = asyncio.get_running_loop().create_future()
        outcome.set_result(NotTaken(error))
        self._outcomes.append(outcome)


def _kind_of(headers: Mapping[str, str]) -> _Kind:
    essence = headers.get("content-type", "").partition(";")[0].strip().lower()
    return _KINDS.get(essence, _Kind.OTHER)


def _declared_bytes(headers: Mapping[str, str]) -> int:
    declared = headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0


def _report(outcomes: list[StoredInstance | NotTaken]) -> StoreReport:
    """Return the report, or raise what stood in the way of every instance alike."""
    stored = tuple(outcome for outcome in outcomes if isinstance(outcome, StoredInstance))
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, NotTaken)]
    for kind in (Busy, NoSpace, UnsupportedMedia):
        if not stored and errors and all(isinstance(error, kind) for error in errors):
            raise errors[0]
    return StoreReport(stored, tuple(_failed(outcome) for outcome in outcomes if isinstance(outcome, NotTaken)))


def _failed(outcome: NotTaken) -> FailedInstance:
    error = outcome.error
    return FailedInstance(outcome.identity, error.failure_reason, error.http_status, str(error))
