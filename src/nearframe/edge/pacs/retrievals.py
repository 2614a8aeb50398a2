"""Retrieving from an archive by DICOM's own protocol: in batches, on few associations, each instance as it comes.

::

    wanted ── batch ── C-GET ── the archive stores each on the same association ──┐
                  └─── C-MOVE ─ the archive stores each on one that it asks for ──┴── to who waits for it

What a batch does not bring is asked for in the other way, or one by one: archives differ in what
they make of lists of UIDs, and which encodings they give by C-GET; some abort over one. The
archive is answered once what it sent is durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from nearframe import log, tasks
from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.dimse import words
from nearframe.dimse.association import Message
from nearframe.dimse.command import CommandField
from nearframe.dimse.items import Role
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.scp_storage import incoming_file
from nearframe.dimse.scu import UNCOMPRESSED, User
from nearframe.dimse.scu_get import contexts_for
from nearframe.dimse.scu_query import Level, Retrieved, identifier_of, retrieve
from nearframe.dimse.status import Status, status_of
from nearframe.edge.pacs.contact import Contact
from nearframe.edge.pacs.haste import Haste
from nearframe.edge.pacs.wanted import Batch, Body, Queue, Wanted, Way
from nearframe.errors import (
    AssociationLost,
    NearframeError,
    Refused,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from nearframe.metrics import UPSTREAM_BYTES, Metrics

#: Archives take a handful of associations from one caller. One is left for readers.
MOST_ASSOCIATIONS: Final = 3
MOST_IN_BACKGROUND: Final = 2
#: An association is kept for so long with nothing to ask for: a reader who scrolls asks again soon.
LINGER_S: Final = 2.0
#: An archive may say for so long that it goes on before anything comes: those with tapes do.
_LONGEST_STANDSTILL_S: Final = 600.0
#: Classes on one association, so that each transfer syntax of each has a context (`contexts_for`).
_MOST_CLASSES: Final = 8

_log = log.logger(__name__)


class Retrievals:
    """Has instances sent. For one event loop.

    Parameters
    ----------
    moves_to
        Where the archive reaches us by C-MOVE, for people; empty if nothing listens.

    Attributes
    ----------
    unasked
        Takes what the archive sends and nobody waits for, by its SOP Instance UID. Refuses it at first.
    """

    def __init__(self, contact: Contact, clock: Clock, metrics: Metrics, moves_to: str) -> None:
        self._contact = contact
        self._clock = clock
        self._metrics = metrics
        self._moves_to = moves_to
        self.unasked: Callable[[str, Body], Awaitable[None]] = _refuse
        self._ways = [Way.GET, Way.MOVE] if moves_to else [Way.GET]
        #: In which of them something came.
        self._proved: set[Way] = set()
        self._queue = Queue()
        #: By SOP Instance UID.
        self._under_way: dict[str, Wanted] = {}
        self._received_bytes = 0
        self._news = asyncio.Event()
        self._idle = 0
        self._in_background = 0
        self._working: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def instance(self, wanted: Wanted, haste: Haste) -> AsyncIterator[Body]:
        """Open the file of an instance; who leaves the block without an error has it durably.

        Raises
        ------
        UpstreamError
            If it does not come.
        """
        asked_s = self._clock.monotonic()
        self._queue.add(wanted)
        wanted.raised = self._employ
        with haste.driving(wanted):
            self._employ()
            try:
                body = await wanted.came
                haste.queued_s += self._clock.monotonic() - asked_s
                yield body
                wanted.settle(None)
            except NearframeError as error:
                wanted.settle(error)
                raise
            finally:
                wanted.settle(UpstreamUnavailable("whoever asked for it does not wait any more"))
                self._queue.remove(wanted)

    async def stop(self) -> None:
        """Stop; what is under way is cut."""
        self._queue.fail(UpstreamUnavailable("this edge is stopping"))
        await tasks.cancel(self._working)

    def awaits(self, sop_instance_uid: str) -> bool:
        """Return whether the archive was asked to send an instance, and has not yet."""
        return sop_instance_uid in self._under_way

    async def store(self, session: Session, message: Message) -> Rest:
        """Receive what the archive sends (C-STORE), on whichever association."""
        uid = message.command.sop_instance_uid
        if message.command.kind is not CommandField.C_STORE_RQ:
            return session.answer(message, Status.UNRECOGNIZED_OPERATION)
        wanted = self._under_way.pop(uid, None)
        file = self._counted(incoming_file(session.association, message))
        try:
            if wanted is None or wanted.came.done():
                await self.unasked(uid, file)
                error = None
            else:
                wanted.came.set_result(file)
                error = await wanted.kept
        except NearframeError as caught:
            error = caught
        if error is not None:
            return session.answer(message, status_of(error), str(error))
        return session.answer(message, Status.SUCCESS)

    async def _counted(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for part in parts:
            self._received_bytes += len(part)
            self._metrics.add(UPSTREAM_BYTES, len(part), kind="file")
            yield part

    # -- who asks --------------------------------------------------------------------------

    def _employ(self) -> None:
        """Have somebody ask for what is wanted."""
        self._news.set()
        if not self._idle and len(self._working) < MOST_ASSOCIATIONS and any(map(self._may, self._queue.waiting())):
            task = tasks.spawn(self._work(), name="retrieve")
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    def _may(self, wanted: Wanted) -> bool:
        return wanted.urgency <= Urgency.ROUTINE or self._in_background < MOST_IN_BACKGROUND

    def _take(self, may: Callable[[Wanted], bool]) -> Batch | None:
        """Take what to ask for next, of what may be, if there is anything."""
        batch = self._queue.batch(may)
        if batch is not None:
            self._in_background += batch.is_background
            for one in batch.wanted:
                one.is_under_way = True
                self._under_way[one.instance] = one
            self._employ()  # somebody for the rest
        return batch

    def _over(self, batch: Batch) -> None:
        """Say that nobody asks for a batch any more."""
        self._in_background -= batch.is_background
        for one in batch.wanted:
            one.is_under_way = False
            if self._under_way.get(one.instance) is one:
                del self._under_way[one.instance]

    async def _work(self) -> None:
        """Ask for what is wanted, on one association after the other, until nothing is."""
        batch = self._take(self._may)
        while batch is not None:
            classes = self._classes(batch)
            storage = contexts_for(classes)
            contexts = [*((way.value, UNCOMPRESSED) for way in self._ways), *storage]
            roles = [Role(uid, is_scu=False, is_scp=True) for uid in dict.fromkeys(uid for uid, _ in storage)]
            try:
                async with self._contact.associate(contexts, roles, self.store) as user:
                    # The archive may close it while nobody asks.
                    while batch is not None and user.association.is_open:
                        await self._ask(user, batch)
                        self._over(batch)
                        batch = None
                        batch = await self._more(classes)
            except Exception as error:  # noqa: BLE001 - whatever it is, who waits has to hear that nothing comes
                if not isinstance(error, NearframeError):
                    _log.error("retrieval_broke_off", error=error)
                    error = UpstreamError("the archive could not be asked")
                if batch is not None:
                    batch.fail(error)
                    self._over(batch)
                    batch = None
            batch = batch or self._take(self._may)

    def _classes(self, batch: Batch) -> list[str]:
        """Return the classes to agree on: those of a batch, then of what waits; none if that is not known."""
        known = dict.fromkeys(one.sop_class for one in (*batch.wanted, *self._queue.waiting()))
        return [] if batch.wanted[0].sop_class == "" else [uid for uid in known if uid][:_MOST_CLASSES]

    async def _more(self, classes: Sequence[str]) -> Batch | None:
        """Take what to ask for next on an association for these classes; wait a little for it."""

        def may(wanted: Wanted) -> bool:
            return self._may(wanted) and (wanted.sop_class in classes or not (classes or wanted.sop_class))

        self._idle += 1
        try:
            async with asyncio.timeout(LINGER_S):
                while (batch := self._take(may)) is None:
                    if any(map(self._may, self._queue.waiting())):
                        return None  # for another association
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return None
        finally:
            self._idle -= 1
        return batch

    # -- a batch ---------------------------------------------------------------------------

    async def _ask(self, user: User, batch: Batch) -> None:
        """Ask for a batch; what does not come is wanted still, or failed.

        Raises
        ------
        UpstreamError
            If the association ends, or the archive sends in no way that we know.
        """
        offered = [way for way in self._ways if any(user.association.contexts_for(way.value))]
        if not offered:
            why = words.not_offered(Way.GET.value, user.requests.why_not(Way.GET.value))
            raise UpstreamError(self._with_remedy(why))
        way = next((way for way in offered if way not in batch.tried), offered[0])
        is_lost = False
        try:
            last = await self._retrieved(user, batch, way)
        except AssociationLost as error:
            if len(batch.lacking()) < len(batch.wanted):
                raise
            is_lost, why = True, str(error)  # some abort over what they refuse; of one that is gone the next hears
        else:
            why = words.status_and_code(last.status)
            if way is Way.MOVE and last.status == Status.MOVE_DESTINATION_UNKNOWN:
                known_as = f"{self._contact.peer.our_ae_title} at {self._moves_to}"
                raise UpstreamError(f"the archive does not send: {why}. It is to know {known_as}")
        if len(batch.lacking()) < len(batch.wanted):
            self._prove(way, batch)
        others = [other for other in offered if other is not way]
        for one in batch.came_short(way, others, is_refused=is_lost and way not in self._proved):
            one.fail(UpstreamError(self._with_remedy(f"the archive did not send an instance that it shows: {why}")))

    def _prove(self, way: Way, batch: Batch) -> None:
        """Note that instances come in a way; what brings what another did not goes before that."""
        self._proved.add(way)
        if batch.tried and way is not self._ways[0]:
            self._ways.reverse()
            _log.info("archive_retrieval_way", way=way.name)

    def _with_remedy(self, why: str) -> str:
        if self._moves_to:
            return why
        title = self._contact.peer.our_ae_title
        return f"{why}. It may by C-MOVE: start this edge with --dicom HOST:PORT, and have {title} known there at that"

    async def _retrieved(self, user: User, batch: Batch, way: Way) -> Retrieved:
        first = batch.wanted[0]
        keys = {
            "StudyInstanceUID": first.study.study_instance_uid,
            "SeriesInstanceUID": first.series,
            "SOPInstanceUID": "\\".join(one.instance for one in batch.wanted),
        }
        to = self._contact.peer.our_ae_title if way is Way.MOVE else ""
        asked = retrieve(user.requests, way.value, identifier_of(keys, Level.IMAGE), to, lambda: self._received_bytes)
        moved_s, so_far = self._clock.monotonic(), (-1, -1)
        async with aclosing(asked) as steps:
            async for last in steps:
                now_s, progress = self._clock.monotonic(), (self._received_bytes, last.completed + last.failed)
                if progress != so_far:
                    moved_s, so_far = now_s, progress
                elif now_s - moved_s > _LONGEST_STANDSTILL_S:
                    raise UpstreamTimeout("the archive says that it goes on, and sends nothing")
        return last


async def _refuse(sop_instance_uid: str, body: Body) -> None:
    raise Refused("this was not asked for")
