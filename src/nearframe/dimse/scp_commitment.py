"""Storage commitment by push (PS3.4 Annex J): N-ACTION asks, N-EVENT-REPORT tells what came of it.

The request is durable before it is answered. The report goes back on the same association if
that stays open, as many scanners have it; else by one of ours to the peer of that title, again
and again for three days.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Final

from nearframe import log, tasks
from nearframe.context import Context
from nearframe.dimse import negotiation
from nearframe.dimse.association import Message
from nearframe.dimse.command import CommandField, Field, Value
from nearframe.dimse.identifiers import MAX_LIST_BYTES, RETRIEVE_AE_TITLE, read_list, write_identifier
from nearframe.dimse.items import Role
from nearframe.dimse.requests import Requests
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.scu import UNCOMPRESSED, Peer, associate
from nearframe.dimse.status import Status
from nearframe.errors import Busy, NearframeError, RequestError, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from nearframe.query.commitment import TRANSACTION_UID, CommitmentService
from nearframe.query.workers import Workers
from nearframe.storage.catalogue.commitments import Commitment, Commitments

STORAGE_COMMITMENT_PUSH: Final = "1.2.840.10008.1.20.1"
#: The one instance that there is of it (PS3.4 section J.3.5).
COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
_REQUEST: Final = 1
_ALL_KEPT, _SOME_FAILED = 1, 2

#: Many scanners release as soon as they are answered: a report would cross the release.
_GRACE_S: Final = 0.25
_FIRST_RETRY_S: Final = 10.0
_LONGEST_RETRY_S: Final = 3600.0
_GIVE_UP: Final = timedelta(days=3)
_KEPT: Final = timedelta(days=30)
_BETWEEN_FORGETTING: Final = timedelta(hours=1)
#: Read at once, each with a line for each of up to 20 000 objects; and reported on the association that asked.
_BATCH: Final = 5
_MOST_REPORTING: Final = 16
_LOOK_AGAIN_S: Final = 60.0

_log = log.logger(__name__)


def retry_after(attempts: int) -> timedelta:
    """Return how long to wait after so many reports in vain."""
    return timedelta(seconds=min(_FIRST_RETRY_S * float(1 << min(attempts, 20)), _LONGEST_RETRY_S))


class Committer:
    """Takes requests for commitment, and sends the reports.

    Parameters
    ----------
    peers
        By AE title: to whom an association for a report may go.
    context_of
        Says for whom an association asks.
    """

    def __init__(
        self,
        service: CommitmentService,
        workers: Workers,
        peers: Mapping[str, Peer],
        ae_title: str,
        context_of: Callable[[Session], Context],
    ) -> None:
        self._service = service
        self._workers = workers
        self._peers = peers
        self._ae_title = ae_title
        self._context_of = context_of
        self._reporting: set[asyncio.Task[None]] = set()
        self._on_their_way: set[tuple[str, str]] = set()
        self._news = asyncio.Event()
        self._forget_at = service.clock.now()

    @asynccontextmanager
    async def delivering(self, table: Commitments) -> AsyncIterator[None]:
        """Deliver what is due, that of a former run and of other processes included."""
        courier = tasks.spawn(self._deliver(table), name="commitment reports")
        try:
            yield
        finally:
            await tasks.cancel([courier])

    async def stop(self) -> None:
        """Stop; what is not delivered is tried the next time."""
        await tasks.cancel(self._reporting)

    async def act(self, session: Session, message: Message) -> Rest:
        """Read N-ACTION; the rest keeps the request and answers, and the report follows."""
        command = message.command
        data = await message.whole(MAX_LIST_BYTES)
        if command.sop_class_uid != STORAGE_COMMITMENT_PUSH or command.sop_instance_uid != COMMITMENT_INSTANCE:
            return session.answer(message, Status.NO_SUCH_INSTANCE)
        if command.number(Field.ACTION_TYPE_ID) != _REQUEST:
            return session.answer(message, Status.NO_SUCH_ACTION)
        return self._accept(session, message, data)

    async def _accept(self, session: Session, message: Message, data: bytes) -> None:
        context, title = self._context_of(session), session.association.peer_ae_title
        try:
            request = await self._workers.run(read_list, data, message.context.transfer_syntax)
            commitment = await self._workers.run(self._service.ask, context, title, request)
        except RequestError as error:
            await session.answer(message, Status.INVALID_ARGUMENT, str(error))
            return
        except Busy as error:
            await session.answer(message, Status.RESOURCE_LIMITATION, str(error))
            return
        self._on_their_way.add((title, commitment.key.transaction_uid))
        await session.answer(message, Status.SUCCESS)
        if len(self._reporting) >= _MOST_REPORTING:  # the courier does it, one after the other
            self._on_their_way.discard((title, commitment.key.transaction_uid))
            self._news.set()
            return
        # Not part of this operation: that one is over, and only then is the peer's next message read.
        task = tasks.spawn(self._report_back(session, message.context, commitment), name="commitment report")
        self._reporting.add(task)
        task.add_done_callback(self._reporting.discard)

    async def _report_back(self, session: Session, context: negotiation.Context, commitment: Commitment) -> None:
        """Report on the association that asked; if that is over, the courier does it."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await session.association.closed.wait()
            if session.association.is_open:
                report = partial(self._report, session.requests, context, commitment)
                await self._try(self._service.table, commitment, report)
        finally:
            self._on_their_way.discard((commitment.key.requestor, commitment.key.transaction_uid))
            self._news.set()

    async def _deliver(self, table: Commitments) -> None:
        while True:
            self._news.clear()
            try:
                await self._deliver_due(table)
                timeout_s = await self._until_next_s(table)
            except NearframeError as error:  # of the catalogue
                _log.warning("commitment_reports_wait", error=error)
                timeout_s = _LOOK_AGAIN_S
            # Not `wait_for`: in Python 3.11 that loses a cancellation which comes with what it waits for.
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()

    async def _deliver_due(self, table: Commitments) -> None:
        now = self._service.clock.now()
        if now >= self._forget_at:
            await self._workers.run(table.forget, now - _KEPT)
            self._forget_at = now + _BETWEEN_FORGETTING
        away: set[str] = set()
        for commitment in await self._workers.run(table.due, now, _BATCH):
            requestor = commitment.key.requestor
            if requestor in away or (requestor, commitment.key.transaction_uid) in self._on_their_way:
                continue
            peer = self._peers.get(requestor)
            if peer is None:  # it cannot be called, and asks again if it still wants to know
                await self._workers.run(table.tried, commitment, None)
            elif not await self._try(table, commitment, partial(self._report_to, peer, commitment)):
                # Nor do its others reach it now: each would keep the reports of other peers waiting as long.
                away.add(requestor)
                await self._workers.run(table.put_off, requestor, now, now + retry_after(commitment.attempts))

    async def _until_next_s(self, table: Commitments) -> float:
        due = await self._workers.run(table.next_due)
        if due is None or self._on_their_way:
            return _LOOK_AGAIN_S
        wait_s = (due - self._service.clock.now()).total_seconds()
        return min(max(wait_s, 0.1), _LOOK_AGAIN_S)

    async def _try(self, table: Commitments, commitment: Commitment, report: Callable[[], Rest]) -> bool:
        """Send a report, and note what came of it; False if the peer could not be spoken to."""
        now = self._service.clock.now()
        try:
            await report()
        except NearframeError as error:
            is_over = now - commitment.asked_at > _GIVE_UP
            again = None if is_over else now + retry_after(commitment.attempts)
            await self._workers.run(table.tried, commitment, again)
            _log.warning("commitment_not_reported", error=error, attempts=commitment.attempts + 1, given_up=is_over)
            return not isinstance(error, UpstreamUnavailable | UpstreamTimeout)
        await self._workers.run(table.tried, commitment, None)
        return True

    async def _report_to(self, peer: Peer, commitment: Commitment) -> None:
        role = Role(STORAGE_COMMITMENT_PUSH, is_scu=False, is_scp=True)
        async with associate(peer, [(STORAGE_COMMITMENT_PUSH, UNCOMPRESSED)], roles=[role]) as user:
            context = user.requests.context(STORAGE_COMMITMENT_PUSH)
            await self._report(user.requests, context, commitment)

    async def _report(self, requests: Requests, context: negotiation.Context, commitment: Commitment) -> None:
        verdict = await self._workers.run(self._service.judge, commitment)
        document = verdict.as_json() | {
            TRANSACTION_UID: {"vr": "UI", "Value": [commitment.key.transaction_uid]},
            RETRIEVE_AE_TITLE: {"vr": "AE", "Value": [self._ae_title]},
        }
        fields: dict[Field, Value] = {
            Field.AFFECTED_SOP_INSTANCE_UID: COMMITMENT_INSTANCE,
            Field.EVENT_TYPE_ID: _SOME_FAILED if verdict.failed else _ALL_KEPT,
        }
        # In a thread: of 20 000 objects it takes as long as a thousand answers to others.
        data = await self._workers.run(write_identifier, document, context.transfer_syntax)
        answer = await requests.ask(context, CommandField.N_EVENT_REPORT_RQ, fields, data)
        if answer.command.status != Status.SUCCESS:
            raise UpstreamError(f"the DICOM peer answers a commitment report with {answer.command.status:#06x}")
