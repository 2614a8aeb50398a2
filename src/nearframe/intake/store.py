"""The Store transaction: the parts of a request become instances (PS3.18 section 10.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from enum import Enum, auto

from nearframe import tasks
from nearframe.context import Context
from nearframe.dicom.limits import Limits
from nearframe.dicomweb.ports import FailedInstance, IncomingPart, StoredInstance, StoreReport
from nearframe.errors import (
    Busy,
    DatabaseAway,
    LimitExceeded,
    NearframeError,
    NoSpace,
    RequestError,
    StorageError,
    UnsupportedMedia,
)
from nearframe.intake.assemble import JSON_TYPES, XML_TYPES, Assembly, NotAssembled
from nearframe.intake.ingest import Expected, Ingest, NotTaken
from nearframe.intake.spool import Spool, Spooled

#: Parts of one request in work at the same time; then its sender waits.
PARTS_AT_ONCE = 8
#: Each costs a sender a few bytes, and this node a look at it and a line of the answer.
MAX_REJECTED_PARTS = 1000
#: Of which the objects know nothing. One may have met the bucket's failure, and the next one the database's.
_TRY_AGAIN = (Busy, DatabaseAway, NoSpace)


class _Kind(Enum):
    """What a part holds."""

    INSTANCE = auto()
    JSON = auto()
    XML = auto()
    BULK = auto()
    OTHER = auto()


def _kind_of(headers: Mapping[str, str]) -> _Kind:
    essence = headers.get("content-type", "").partition(";")[0].strip().lower()
    if essence == "application/dicom":
        return _Kind.INSTANCE
    if essence in JSON_TYPES:
        return _Kind.JSON
    if essence in XML_TYPES:
        return _Kind.XML
    if "content-location" in headers:
        return _Kind.BULK
    # No type: of the type the whole request names. Octets: what a sender says that looks at no content.
    return _Kind.INSTANCE if essence in ("", "application/octet-stream") else _Kind.OTHER


class Store:
    """The `dicomweb.ports.StoreService` of a node that takes in."""

    def __init__(
        self,
        ingest: Ingest,
        spool: Spool,
        limits: Limits | None = None,
        max_rejected_parts: int = MAX_REJECTED_PARTS,
    ) -> None:
        self.spool = spool
        self._max_rejected_parts = max_rejected_parts
        self._ingest = ingest
        self._limits = limits or Limits()

    async def store(self, ctx: Context, parts: AsyncIterator[IncomingPart], study: str | None) -> StoreReport:
        """See `dicomweb.ports.StoreService.store`."""
        with closing(Assembly(self.spool, self._limits)) as assembly:
            request = _Request(self._ingest, self.spool, assembly, ctx, study, self._max_rejected_parts)
            try:
                async for part in parts:
                    await request.add(part)
            except NearframeError:
                await request.finish()  # what was complete is stored all the same
                raise
            await request.add_assembled()
            return _report(await request.finish())


class _Request:
    """The instances of one request, in the order received."""

    def __init__(
        self,
        ingest: Ingest,
        spool: Spool,
        assembly: Assembly,
        ctx: Context,
        study: str | None,
        max_rejected_parts: int,
    ) -> None:
        self._ingest = ingest
        self._spool = spool
        self._assembly = assembly
        self._ctx = ctx
        self._study = study
        self._max_rejected_parts = max_rejected_parts
        self._rejected_parts = 0
        self._room = asyncio.Semaphore(PARTS_AT_ONCE)
        self._outcomes: list[asyncio.Future[StoredInstance | NotTaken]] = []

    async def add(self, part: IncomingPart) -> None:
        """Receive a part, and begin to store it; returns when the next may come.

        Raises
        ------
        LimitExceeded
            If too many parts before it were no objects.
        """
        if self._rejected_parts > self._max_rejected_parts:
            raise LimitExceeded("max_rejected_parts", self._max_rejected_parts)
        try:
            match _kind_of(part.headers):
                case _Kind.INSTANCE:
                    await self._receive(part)
                case _Kind.JSON:
                    await self._assembly.add_metadata(part, is_xml=False)
                case _Kind.XML:
                    await self._assembly.add_metadata(part, is_xml=True)
                case _Kind.BULK:
                    await self._assembly.add_bulk(part)
                case _Kind.OTHER:
                    raise UnsupportedMedia("a part of a kind that holds no DICOM")
        except (StorageError, LimitExceeded, UnsupportedMedia) as error:
            self._refuse(NotTaken(error))  # about this part; anything else ends the request

    async def add_assembled(self) -> None:
        """Begin to store what came as metadata and bulk data."""
        async for file in self._assembly.files():
            if isinstance(file, NotAssembled):
                self._refuse(NotTaken(file.error, file.identity))
            else:
                await self._room.acquire()
                self._begin(file)

    async def finish(self) -> list[StoredInstance | NotTaken]:
        """Return what became of each instance, once it is known."""
        if self._outcomes:
            await asyncio.wait(self._outcomes)
        return [outcome.result() for outcome in self._outcomes]

    async def _receive(self, part: IncomingPart) -> None:
        await self._room.acquire()
        try:
            spooled = await self._spool.receive(part.body, _declared_bytes(part.headers))
        except BaseException:
            self._room.release()
            raise
        self._begin(spooled)

    def _begin(self, spooled: Spooled) -> None:
        # A task of its own: it ends even if the request does not.
        self._outcomes.append(tasks.spawn(self._take(spooled), name="take"))

    async def _take(self, spooled: Spooled) -> StoredInstance | NotTaken:
        try:
            outcome = await self._ingest.take(self._ctx, spooled, Expected(self._study), "stow")
        finally:
            self._room.release()
        self._count(outcome)
        return outcome

    def _count(self, outcome: StoredInstance | NotTaken) -> None:
        # What this node has no room for, or no time, is no fault of the sender's.
        if isinstance(outcome, NotTaken) and isinstance(outcome.error, RequestError):
            self._rejected_parts += 1

    def _refuse(self, outcome: NotTaken) -> None:
        self._count(outcome)
        known: asyncio.Future[StoredInstance | NotTaken] = asyncio.get_running_loop().create_future()
        known.set_result(outcome)
        self._outcomes.append(known)


def _declared_bytes(headers: Mapping[str, str]) -> int:
    declared = headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else 0


def _report(outcomes: list[StoredInstance | NotTaken]) -> StoreReport:
    """Return the report, or raise what stood in the way of every instance alike."""
    stored = tuple(outcome for outcome in outcomes if isinstance(outcome, StoredInstance))
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, NotTaken)]
    for kinds in (_TRY_AGAIN, (UnsupportedMedia,)):
        if not stored and errors and all(isinstance(error, kinds) for error in errors):
            raise errors[0]
    return StoreReport(stored, tuple(_failed(outcome) for outcome in outcomes if isinstance(outcome, NotTaken)))


def _failed(outcome: NotTaken) -> FailedInstance:
    error = outcome.error
    return FailedInstance(outcome.identity, error.failure_reason, error.http_status, str(error))
