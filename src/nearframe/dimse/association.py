"""An association: messages in and out, in order, with bounded memory.

The state machine decides (`machine`), the channel moves bytes (`channel`), and this puts
what arrives into a queue that one reader empties (`arrivals`). When much waits there, the
channel reads no more, and TCP holds the peer back.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeAlias

from nearframe.dimse import tls, words
from nearframe.dimse.arrivals import Arrivals, Released
from nearframe.dimse.channel import Channel, Timeouts
from nearframe.dimse.command import Command, CommandField
from nearframe.dimse.fragments import data_pdus
from nearframe.dimse.machine import TABLE, Action, Event, Machine, State
from nearframe.dimse.messages import Arrived, Assembler, Data
from nearframe.dimse.negotiation import Agreement, Context
from nearframe.dimse.pdu import (
    Abort,
    AbortReason,
    AbortSource,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
    ReleaseRP,
    ReleaseRQ,
    SmallPDU,
)
from nearframe.dimse.stream import Piece
from nearframe.errors import AssociationLost, MalformedPDU, UpstreamTimeout
from nearframe.units import KIB, MIB

Buffer: TypeAlias = bytes | bytearray | memoryview

#: In one write: few enough calls, and little beside what many associations have under way.
_LARGEST_WRITE: Final = 256 * KIB
#: More operations than that are not outstanding at once; an older cancellation is of no use.
_MAX_CANCELLED: Final = 64

_UNANSWERED: Final = (
    "the DICOM peer closed the connection without an answer: TLS on one side only, a certificate of ours that it does "
    "not take, or an address that it does not know"
)
_EVENTS: Final = {
    AssociateRQ: Event.ASSOCIATE_RQ_RECEIVED,
    AssociateAC: Event.ASSOCIATE_AC_RECEIVED,
    AssociateRJ: Event.ASSOCIATE_RJ_RECEIVED,
    ReleaseRQ: Event.RELEASE_RQ_RECEIVED,
    ReleaseRP: Event.RELEASE_RP_RECEIVED,
    Abort: Event.ABORT_RECEIVED,
}


class Message:
    """A command, and its data set as it comes.

    Attributes
    ----------
    context
        The presentation context that it came in.
    """

    def __init__(self, association: Association, context: Context, command: Command) -> None:
        self._association = association
        self.context = context
        self.command = command
        self.is_complete = not command.has_data

    async def data(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the data set as they come; once.

        Raises
        ------
        AssociationLost
            If the peer is gone before the end.
        """
        while not self.is_complete:
            part = await self._association.next_data()
            self.is_complete = part.is_last
            yield part.data

    async def whole(self, max_bytes: int = MIB) -> bytes:
        """Return the data set of a query or a notification.

        Raises
        ------
        MalformedPDU
            If it is longer than any of those.
        """
        parts = bytearray()
        async for part in self.data():
            parts += part
            if len(parts) > max_bytes:
                raise MalformedPDU(f"an identifier of more than {max_bytes} bytes")
        return bytes(parts)


class Association:
    """One association, on either side. For one event loop; one task reads it, any may send.

    Attributes
    ----------
    opened
        The peer's request, or its answer to ours, once it has come.
    closed
        Set when the connection is gone.
    agreement
        What was agreed on; None before.
    """

    def __init__(self, max_data_bytes: int, timeouts: Timeouts, *, is_requestor: bool) -> None:
        self.channel = Channel(self, max_data_bytes)
        self.timeouts = timeouts
        self.opened: asyncio.Future[AssociateRQ | AssociateAC | AssociateRJ] = (
            asyncio.get_running_loop().create_future()
        )
        self.closed = asyncio.Event()
        self.agreement: Agreement | None = None
        self._machine = Machine(is_requestor=is_requestor)
        self._messages = Assembler()
        self._arrivals = Arrivals(self.channel)
        self._sending = asyncio.Lock()
        self._cancelled: deque[int] = deque(maxlen=_MAX_CANCELLED)
        self._under_way = 0
        self._watched_s, self._watched_bytes = self.channel.now_s(), 0

    # -- what was agreed on ------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._machine.is_established

    @property
    def peer_ae_title(self) -> str:
        """Who the peer says it is."""
        if not self.opened.done() or self.opened.exception() or isinstance(self.opened.result(), AssociateRJ):
            return ""
        told = self.opened.result()
        assert isinstance(told, AssociateRQ | AssociateAC)  # noqa: S101 - there is nothing else
        return told.calling_ae_title if isinstance(told, AssociateRQ) else told.called_ae_title

    def context(self, context_id: int) -> Context | None:
        """Return an accepted context."""
        return self.agreement.contexts.get(context_id) if self.agreement else None

    def contexts_for(self, abstract_syntax: str) -> Iterator[Context]:
        """Yield the accepted contexts of an abstract syntax."""
        for context in self.agreement.contexts.values() if self.agreement else ():
            if context.abstract_syntax == abstract_syntax:
                yield context

    def may_ask(self, sop_class_uid: str) -> bool:
        """Return whether this side is a user of a class: who asked for the association, unless it is the other way
        round by agreement (PS3.7 Annex D.3.3.4)."""
        if self._machine.is_requestor:
            return True
        role = self.agreement.roles.get(sop_class_uid) if self.agreement else None
        return role is not None and role.is_scp

    # -- messages ------------------------------------------------------------------------------------

    async def receive(self) -> Message | None:
        """Return the next message; None when the peer asks to release.

        What is left of the data set before it is skipped.

        Raises
        ------
        AssociationLost
            If the association ended otherwise.
        """
        while True:
            found = await self._arrivals.next()
            if isinstance(found, Released):
                return None
            if isinstance(found, Arrived):
                context = self.context(found.context_id)
                assert context is not None  # noqa: S101 - `on_piece` let it pass
                return Message(self, context, found.command)

    async def next_data(self) -> Data:
        """Return the next bytes of a data set; for `Message`."""
        found = await self._arrivals.next()
        if not isinstance(found, Data):
            self.abort("the DICOM peer released the association within a message")
            raise self._arrivals.failure or AssociationLost
        return found

    def is_cancelled(self, message_id: int) -> bool:
        """True if the peer does not want the rest of what it asked for (C-CANCEL)."""
        return message_id in self._cancelled

    async def send(
        self, context: Context, command: Command, data: Buffer | AsyncIterable[Buffer] | None = None
    ) -> None:
        """Send a message.

        Parameters
        ----------
        data
            Its data set, in the transfer syntax of the context, if the command announces one.

        Raises
        ------
        AssociationLost
            If the association is over.
        """
        most = self.agreement.max_send_bytes if self.agreement else 0
        async with self._sending:
            waiting: list[Buffer] = []
            is_begun = False
            try:
                async for pdu in data_pdus(context.context_id, command.encode(), data, most):
                    waiting += pdu
                    if sum(map(len, waiting)) >= _LARGEST_WRITE:
                        is_begun = True
                        await self._write(waiting)
                        waiting = []
                is_begun = True
                await self._write(waiting)
            except BaseException:
                # The rest of a data set cannot be read, or nobody waits for it any more: the peer
                # would take the next message for more of it.
                if is_begun and self.is_open:
                    self.abort("a message of ours could not be finished")
                raise

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While this is held, something is done for the peer, and its silence is patience."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._restart_watch()

    # -- beginning and end -----------------------------------------------------------------------------

    def ask(self, request: AssociateRQ) -> None:
        """Request an association; `opened` has the answer."""
        self._on(Event.ASSOCIATE_REQUEST)
        self._on(Event.TRANSPORT_CONFIRMED, request)

    def accept(self, agreement: Agreement) -> None:
        """Accept the request that `opened` has.

        Raises
        ------
        AssociationLost
            If the peer has broken off since.
        """
        self._check_requested()
        self.agreement = agreement
        self._on(Event.LOCAL_ACCEPT, agreement.answer)
        self.channel.widen()

    def reject(self, answer: AssociateRJ) -> None:
        """Reject the request that `opened` has; the peer closes the connection. Raises as `accept`."""
        self._check_requested()
        self._on(Event.LOCAL_REJECT, answer)

    def agree_to_release(self) -> None:
        """Answer the release that `receive` told of; the peer closes the connection."""
        if self._machine.state is State.AWAITING_LOCAL_RELEASE:
            self._on(Event.RELEASE_RESPONSE)

    async def release(self) -> None:
        """Ask for release, and wait until the connection is closed.

        Raises
        ------
        UpstreamTimeout
            If the peer does not answer; the connection is cut then.
        """
        if self.is_open:
            self._on(Event.RELEASE_REQUEST)
        try:
            # Not `wait_for`: in Python 3.11 that loses a cancellation which comes with what it waits for.
            async with asyncio.timeout(self.timeouts.answer_s):
                await self.closed.wait()
        except TimeoutError:
            self.channel.cut()
            raise UpstreamTimeout("the DICOM peer does not answer the request to release the association") from None

    def abort(self, why: str = "the association was aborted by this side") -> None:
        """End it at once."""
        self._fail(AssociationLost(why))
        if (Event.ABORT_REQUEST, self._machine.state) in TABLE:
            self._on(Event.ABORT_REQUEST)

    # -- the channel's side: see `channel.Handler` -----------------------------------------------------

    def on_open(self) -> None:
        self._restart_watch()
        if not self._machine.is_requestor:
            self._on(Event.TRANSPORT_INDICATED)

    def on_pdu(self, pdu: SmallPDU) -> None:
        self._on(_EVENTS[type(pdu)], pdu)

    def on_piece(self, piece: Piece) -> None:
        if self._on(Event.DATA_RECEIVED) not in (Action.DT_2, Action.AR_6):
            return
        if self.context(piece.header.context_id) is None:
            raise MalformedPDU("a message in a presentation context that was not accepted")
        for found in self._messages.add(piece):
            if isinstance(found, Arrived):
                if found.command.kind is CommandField.C_CANCEL_RQ:
                    self._cancelled.append(found.command.answers)
                    continue
                # Many give every request the same number: what was cancelled is the one before.
                with suppress(ValueError):
                    self._cancelled.remove(found.command.message_id)
            self._arrivals.put(found)

    def on_malformed(self, error: MalformedPDU) -> None:
        self._on(Event.INVALID_PDU_RECEIVED, Abort(AbortSource.PROVIDER, error.reason), f"the DICOM peer sends {error}")

    def on_closed(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError):  # in TLS 1.3 a peer refuses our certificate after the handshake
            self._fail(AssociationLost(tls.explain(error)))
        elif self._machine.state is State.AWAITING_ANSWER:
            self._fail(AssociationLost(_UNANSWERED))
        if self._machine.state is not State.IDLE:
            self._on(Event.TRANSPORT_CLOSED)
        self._fail(AssociationLost())
        self.closed.set()

    def on_tick(self, now_s: float) -> None:
        waited_s = now_s - self._watched_s
        state = self._machine.state
        if state in (State.AWAITING_REQUEST, State.AWAITING_CLOSE):
            if waited_s > self.timeouts.associate_s:
                self._on(Event.TIMER_EXPIRED)
        elif self._is_mid_message():
            if waited_s > self.timeouts.stall_s:
                if self.channel.received_bytes - self._watched_bytes < self.timeouts.stall_bytes:
                    self.abort("the DICOM peer stopped within a message")
                self._restart_watch()
        elif state is State.ESTABLISHED and not self._machine.is_requestor and not self._under_way:
            if waited_s > self.timeouts.idle_s:
                self.abort("the DICOM peer sent nothing for long")
        else:
            self._restart_watch()

    # -- within ------------------------------------------------------------------------------------------

    def _on(self, event: Event, pdu: SmallPDU | None = None, why: str = "") -> Action:
        """Take a step of the state machine, do what it says, and return what that was."""
        before = self._machine.state
        action = self._machine.on(event)
        if self._machine.state is not before:
            self._restart_watch()
        match action:
            case Action.AE_2 | Action.AE_7:
                self._send_pdu(pdu)
            case Action.AE_3 | Action.AE_6:
                self._tell_opened(pdu)
            case Action.AE_4:
                self._tell_opened(pdu)
                self.channel.close()
            case Action.AE_8:
                self._send_pdu(pdu)
                self._fail(AssociationLost("the association was rejected"))
            case Action.AR_1:
                self._send_pdu(ReleaseRQ())
            case Action.AR_2:
                self._arrivals.put(Released())
            case Action.AR_3:
                self.channel.close()
            case Action.AR_4 | Action.AR_9:
                self._send_pdu(ReleaseRP())
            case Action.AR_8 | Action.AR_10:
                # Both sides asked at once. Nobody here waits for more, so the answer is given at once where it is due.
                if (Event.RELEASE_RESPONSE, self._machine.state) in TABLE:
                    self._on(Event.RELEASE_RESPONSE)
            case Action.AA_1:
                self._give_up(Abort(AbortSource.USER), why or "the association was aborted")
            case Action.AA_7 | Action.AA_8:
                abort = pdu if isinstance(pdu, Abort) else Abort(AbortSource.PROVIDER, AbortReason.UNEXPECTED_PDU)
                self._give_up(abort, why or "the DICOM peer sent a PDU out of order")
            case Action.AA_2:
                self._fail(AssociationLost("the DICOM peer was too slow, or gave up"))
                self.channel.cut()
            case Action.AA_3:
                self._fail(AssociationLost(f"the DICOM peer aborted the association{words.abort(pdu)}"))
                self.channel.close()
            case Action.AA_4:
                self._fail(AssociationLost())
            case _:
                pass  # timers are `on_tick`'s; AA-5, AA-6 and AR-5 do nothing else
        return action

    def _give_up(self, abort: Abort, why: str) -> None:
        self._send_pdu(abort)
        self.channel.ignore_more()
        self._fail(AssociationLost(why))

    def _send_pdu(self, pdu: SmallPDU | None) -> None:
        assert pdu is not None  # noqa: S101 - whoever made the step has one
        self.channel.send(pdu.encode())

    def _tell_opened(self, pdu: SmallPDU | None) -> None:
        assert isinstance(pdu, AssociateRQ | AssociateAC | AssociateRJ)  # noqa: S101 - so says the table
        if not self.opened.done():
            self.opened.set_result(pdu)

    def _fail(self, failure: AssociationLost) -> None:
        self._arrivals.fail(failure)
        if not self.opened.done():
            self.opened.set_exception(failure)
            self.opened.exception()  # nobody need ask

    async def _write(self, pdus: list[Buffer]) -> None:
        if not self.is_open and self._machine.state is not State.AWAITING_LOCAL_RELEASE:
            raise self._arrivals.failure or AssociationLost
        self.channel.send(pdus)
        try:
            await self.channel.writable(self.timeouts.stall_s)
        except TimeoutError:
            self.abort("the DICOM peer does not read")
            raise UpstreamTimeout("the DICOM peer does not read") from None

    def _check_requested(self) -> None:
        if self._machine.state is not State.AWAITING_LOCAL_ANSWER:
            raise self._arrivals.failure or AssociationLost

    def _is_mid_message(self) -> bool:
        """True if the peer owes the rest of a message, and is not held back by us."""
        is_whole = self._messages.is_between_messages and self.channel.is_between_pdus
        return self.channel.is_reading and not is_whole

    def _restart_watch(self) -> None:
        self._watched_s, self._watched_bytes = self.channel.now_s(), self.channel.received_bytes
