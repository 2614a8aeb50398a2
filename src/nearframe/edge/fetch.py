"""Fetching contents by digest: each once for all who want it, proved, within bounds.

::

    reader ─┐                       ┌─ reader     from the first byte on
    reader ─┼─ one flight ── line ──┼─ reader
    reader ─┘      │                └─ reader
                   └─ whole, or piece by piece; proved; appended to the store

A reader that goes away takes nothing from the others. A content that does not match its
digest is counted, never handed on to its end, and asked for once more from scratch; where a
connection was lost the rest is asked for. Small contents are held in memory on their
way, within a budget; large ones in an encrypted scratch file.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from nearframe import log
from nearframe.cache.budget import Budget
from nearframe.cache.flight import Flight, Flights, MemoryShelf, Shelf
from nearframe.context import Urgency
from nearframe.edge.line import Transfer
from nearframe.edge.onitsway import Room, ScratchShelf
from nearframe.edge.pieces import Pieces
from nearframe.edge.strands import Wanted
from nearframe.edge.studyindex import Content
from nearframe.edge.turns import User
from nearframe.edge.upstream import Upstreams
from nearframe.errors import IntegrityError, NoSpace, NotAdmitted, UpstreamError
from nearframe.ids import Digest
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_NOT_KEPT, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import Buffer, ContentKind, StudyRef
from nearframe.storage.scratch import ScratchFolder
from nearframe.units import MIB
from nearframe.wire.contentstream import Absent, Data, Opened

_Key: TypeAlias = tuple[StudyRef, Digest]

_TRIES = 2  # a content that does not match its digest is asked for once more
_log = log.logger(__name__)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Bounds of what is under way.

    Attributes
    ----------
    memory_bytes
        Memory for contents on their way.
    large_bytes
        Length from which a content goes through a scratch file.
    attempts
        Times in a row that a content is asked for and no byte comes, with short jittered pauses between.
    """

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


class Keeps(Protocol):
    """Where what was fetched goes: a `ContentStore`, or one that is asked first."""

    def append(self, study: StudyRef, kind: ContentKind, digest: Digest, size: int, chunks: Iterable[Buffer]) -> bool:
        """Add a content; raises `NoSpace` if it cannot be kept, and `NotAdmitted` if it is not to be."""
        ...


class ByRecipe(Protocol):
    """Another way for a content to come."""

    async def bring(self, study: StudyRef, content: Content, flight: Flight) -> bytes | None:
        """Return a content made here, or None if it has to come as it is."""
        ...


class Fetcher:
    """Fetches from the upstreams into the store. For one event loop."""

    def __init__(
        self,
        upstream: Upstreams,
        store: Keeps,
        workers: Workers,
        metrics: Metrics,
        scratch: ScratchFolder,
        limits: FetchLimits | None = None,
    ) -> None:
        self.limits = limits or FetchLimits()
        self.line = upstream.line
        self._upstream = upstream
        self._store = store
        self._workers = workers
        self._metrics = metrics
        self._scratch = scratch
        self._flights: Flights[_Key] = Flights("fetch")
        self._memory = Budget(self.limits.memory_bytes)
        self._rng = random.Random()
        #: How what nobody waits for comes in fewer bytes.
        self.recipes: ByRecipe | None = None
        #: Whether the store had room for what came last.
        self.keeps = True

    def is_under_way(self, study: StudyRef, digest: Digest) -> bool:
        """Return whether a content is being fetched, so that another reader only joins."""
        return (study, digest) in self._flights

    @asynccontextmanager
    async def following(
        self, study: StudyRef, content: Content, urgency: Urgency, user: User = User.READER
    ) -> AsyncIterator[Flight]:
        """Follow a content on its way while the block runs; it is asked for if nobody has.

        What the flight's `read` and `landed` raise is what `fetch` raises.
        """
        async with self._flights.join(
            (study, content.digest), urgency, lambda flight: self._bring(flight, study, content, user)
        ) as flight:
            yield flight

    async def fetch(
        self, study: StudyRef, content: Content, urgency: Urgency = Urgency.ROUTINE, user: User = User.READER
    ) -> Fetched:
        """Fetch a content as a whole.

        Raises
        ------
        NotFound
            If the upstream does not have it.
        IntegrityError
            If what came does not match its digest, twice.
        UpstreamError
        """
        async with self.following(study, content, urgency, user) as flight:
            await flight.landed()
            if isinstance(flight.shelf, MemoryShelf):
                return Fetched(bytes(flight.shelf.data), flight.stored)
            if not flight.stored:
                raise NoSpace(content.length, 0)
            return Fetched(None, stored=True)

    async def fetch_ahead(
        self, study: StudyRef, contents: Sequence[Content], urgency: Urgency = Urgency.ARCHIVE
    ) -> int:
        """Fetch contents that nobody waits for yet: one piece by piece, several in one request.

        Until the request goes out readers ask for themselves; from then on they join.
        Returns how many are here or on their way.
        """
        if len(contents) == 1:
            if self.is_under_way(study, contents[0].digest):
                return 1
            return int((await self.fetch(study, contents[0], urgency, User.READ_AHEAD)).stored)
        size = sum(content.length for content in contents)
        transfer = self.line.transfer(User.READ_AHEAD, urgency, size)
        async with transfer.turn():
            wanted = [content for content in contents if not self.is_under_way(study, content.digest)]
            came = await self._receive(study, wanted, transfer) if wanted else 0
            return came + len(contents) - len(wanted)

    # -- one content -----------------------------------------------------------------------

    async def _bring(self, flight: Flight, study: StudyRef, content: Content, user: User) -> None:
        """Bring a content home: whole, proved, kept."""
        room = Room(self._memory, self.limits.patience_s)
        try:
            if content.length <= self.limits.large_bytes:
                await room.reserve(content.length)
            if user is User.READ_AHEAD and self.recipes is not None:
                made = await self.recipes.bring(study, content, flight)
                if made is not None:
                    flight.begin(len(made), await self._shelf(len(made), room))
                    await flight.append(made)
            for tries_left in reversed(range(_TRIES)):
                await self._fill(flight, Wanted(study, content.digest, content.length, user), room)
                if flight.digest() == content.digest:
                    break
                flight.begin_anew()
                self._mismatched(content.kind, is_last=not tries_left)
            flight.prove()
            flight.land(stored=await self._keep(study, content, flight))
        finally:
            room.leave()

    async def _fill(self, flight: Flight, wanted: Wanted, room: Room) -> None:
        """Append all of a content, going on where a lost connection left it."""

        async def begin(length: int) -> None:
            flight.begin(length, await self._shelf(length, room))

        failures = 0
        while flight.written != flight.length:
            written = flight.written
            try:
                await Pieces(self._upstream, wanted, flight, begin).bring()
            except UpstreamError:
                failures = 1 if flight.written > written else failures + 1
                if failures >= self.limits.attempts or self._upstream.is_away:
                    raise
                if flight.written:
                    self.line.resumed()
                await asyncio.sleep(self.limits.pause_s * failures * (0.5 + self._rng.random() / 2))

    async def _shelf(self, length: int, room: Room) -> Shelf:
        if length > self.limits.large_bytes:
            return ScratchShelf(await self._workers.run(self._scratch.open), self._workers)
        await room.reserve(length)
        return MemoryShelf(room.enter())

    # -- a batch ---------------------------------------------------------------------------

    async def _receive(self, study: StudyRef, wanted: Sequence[Content], transfer: Transfer) -> int:
        by_digest = {content.digest: content for content in wanted}
        came = 0
        async with AsyncExitStack() as stack:
            flights = {}
            for digest in by_digest:
                flight = await stack.enter_async_context(self._flights.lead((study, digest), transfer.urgency))
                flight.raised = transfer.raise_to
                flights[digest] = flight
            flight = flights[wanted[0].digest]
            longest = max(content.length for content in wanted)
            async with self._upstream.contents(study, list(by_digest), longest, transfer) as events:
                async for event in events:
                    match event:
                        case Opened(digest, length):
                            flight = flights[digest]
                            await self._begin_small(flight, length)
                        case Data(chunk, last):
                            await flight.append(chunk)
                            if last:
                                came += await self._arrived(study, by_digest[digest], flight)
                        case Absent():
                            pass
        return came

    async def _begin_small(self, flight: Flight, length: int) -> None:
        room = Room(self._memory, self.limits.patience_s)
        try:
            await room.reserve(length)
            flight.begin(length, MemoryShelf(room.enter()))
        finally:
            room.leave()

    async def _arrived(self, study: StudyRef, content: Content, flight: Flight) -> bool:
        if flight.digest() != content.digest:
            flight.begin_anew()  # who waits for it takes over, and asks for it alone
            self._mismatched(content.kind, is_last=False)
            return False
        flight.prove()
        flight.land(stored=await self._keep(study, content, flight))
        return flight.stored

    # -- proving and keeping ---------------------------------------------------------------

    def _mismatched(self, kind: ContentKind, *, is_last: bool) -> None:
        self._metrics.add(EDGE_INTEGRITY_FAILURES, what="frame")
        _log.error("content_does_not_match", kind=kind.name.lower())
        if is_last:
            raise IntegrityError("a content from the upstream does not match its digest; it was not used")

    async def _keep(self, study: StudyRef, content: Content, flight: Flight) -> bool:
        """Append a proved content to the store; return whether there was room."""
        try:
            await self._workers.run(self._append, study, content, flight)
        except NotAdmitted:
            return False
        except NoSpace as error:
            self._metrics.add(EDGE_NOT_KEPT)
            _log.warning("content_not_kept", error=error)
            self.keeps = False
        else:
            self.keeps = True
        return self.keeps

    def _append(self, study: StudyRef, content: Content, flight: Flight) -> None:
        match flight.shelf:
            case MemoryShelf(data=data):
                source: Iterable[Buffer] = [data]
            case ScratchShelf() as shelf:
                source = shelf.read_back(flight.written)
            case _:
                raise AssertionError("a flight that is proved has its bytes somewhere")
        self._store.append(study, content.kind, content.digest, flight.written, source)
