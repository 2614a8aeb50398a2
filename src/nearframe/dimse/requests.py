"""Requests of ours on an association, and whose answer is whose. On either side: a provider asks too (C-GET)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from nearframe.dimse import words
from nearframe.dimse.association import Association, Buffer, Message
from nearframe.dimse.command import NO_DATA_SET, Command, CommandField, Field, Priority, Value
from nearframe.dimse.items import ContextResult, Proposed
from nearframe.dimse.negotiation import Context
from nearframe.dimse.status import Status
from nearframe.errors import AssociationLost, MalformedPDU, NotAcceptable, UpstreamTimeout

#: Answers that wait for who asked; for more, the peer waits.
_MOST_WAITING: Final = 16
#: Requests about an instance that the peer has; the others name the one that they bring (PS3.7 Tables 10.3-1 to 11).
_OF_THE_PEERS: Final = frozenset(
    {CommandField.N_GET_RQ, CommandField.N_SET_RQ, CommandField.N_ACTION_RQ, CommandField.N_DELETE_RQ}
)
#: What C-CANCEL is for (PS3.7 section 9.3.2.3).
_CANCELLED: Final = frozenset({CommandField.C_FIND_RQ, CommandField.C_GET_RQ, CommandField.C_MOVE_RQ})


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a request, and its data set."""

    command: Command
    context: Context
    data: bytes = b""


class Requests:
    """Sends requests, from any task, and waits for their answers, which one task hands in.

    Parameters
    ----------
    proposed
        The presentation contexts that this side asked for.
    """

    def __init__(self, association: Association, proposed: Sequence[Proposed] = ()) -> None:
        self.association = association
        self._proposed = proposed
        self._last_id = 0
        self._waiting: dict[int, asyncio.Queue[Answer | AssociationLost]] = {}

    def context(self, abstract_syntax: str, transfer_syntax: str | None = None) -> Context:
        """Return an accepted context.

        Raises
        ------
        NotAcceptable
            If there is none.
        """
        for context in self.association.contexts_for(abstract_syntax):
            if transfer_syntax in (None, context.transfer_syntax):
                return context
        raise NotAcceptable(words.not_offered(abstract_syntax, self.why_not(abstract_syntax, transfer_syntax)))

    def why_not(self, abstract_syntax: str, transfer_syntax: str | None = None) -> str:
        """Return why the peer did not accept a context, in words."""
        if any(self.association.contexts_for(abstract_syntax)):
            # DCMTK says that it does not support the class at all where it means this syntax of it.
            return words.context_result(ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)
        agreement = self.association.agreement
        results = {one.context_id: one.result for one in agreement.answer.results} if agreement else {}
        for asked in self._proposed:
            is_of_syntax = transfer_syntax is None or transfer_syntax in asked.transfer_syntaxes
            if asked.abstract_syntax == abstract_syntax and is_of_syntax:
                return words.context_result(results.get(asked.context_id, ContextResult.NO_REASON))
        return "it was not asked whether it does"

    async def store(
        self,
        context: Context,
        sop_instance_uid: str,
        data: Buffer | AsyncIterable[Buffer],
        others: dict[Field, Value] | None = None,
    ) -> Command:
        """Send C-STORE, and return the answer."""
        fields: dict[Field, Value] = {
            Field.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
            Field.PRIORITY: Priority.MEDIUM,
            **(others or {}),
        }
        return (await self.ask(context, CommandField.C_STORE_RQ, fields, data)).command

    async def ask(
        self,
        context: Context,
        kind: CommandField,
        fields: dict[Field, Value],
        data: Buffer | AsyncIterable[Buffer] | None = None,
    ) -> Answer:
        """Send a request that has one answer, and return that.

        Raises
        ------
        AssociationLost
            If the association ends first.
        UpstreamTimeout
            If the answer does not come in time.
        """
        async with aclosing(self.answers(context, kind, fields, data)) as answers:
            async for answer in answers:
                return answer
        raise AssertionError("there is an answer, or an error")

    async def answers(
        self,
        context: Context,
        kind: CommandField,
        fields: dict[Field, Value],
        data: Buffer | AsyncIterable[Buffer] | None = None,
        progress: Callable[[], int] | None = None,
    ) -> AsyncGenerator[Answer, None]:
        """Send a request, and yield its answers; the last is the first that is not pending.

        Who closes this before the last cancels the rest (C-CANCEL), where there is such a thing; answers on their way
        are dropped.

        Parameters
        ----------
        progress
            A count that grows while the peer is at work on it: it then takes as long as it takes. None for the
            bytes that come on this association.
        """
        message_id = self._next_id()
        waiting: asyncio.Queue[Answer | AssociationLost] = asyncio.Queue(_MOST_WAITING)
        self._waiting[message_id] = waiting
        own: dict[Field, Value] = {_class_field(kind): context.abstract_syntax}
        is_pending = False
        try:
            request = Command.request(kind, message_id, {**own, **fields}, has_data=data is not None)
            await self.association.send(context, request, data)
            is_pending = True
            while is_pending:
                answer = await self._answer(waiting, progress or self._received)
                is_pending = answer.command.status & 0xFF00 == Status.PENDING
                yield answer
        finally:
            del self._waiting[message_id]
            while not waiting.empty():  # `take` may wait for room
                waiting.get_nowait()
            if is_pending and kind in _CANCELLED and self.association.is_open:
                await self._cancel(context, message_id)

    async def take(self, message: Message) -> None:
        """Give an answer to who waits for it; nobody may any more.

        Raises
        ------
        AssociationLost
            If it is longer than an answer can be: the association is aborted.
        """
        try:
            answer = Answer(message.command, message.context, await message.whole())
        except MalformedPDU as error:
            self.association.abort(str(error))
            raise AssociationLost(str(error)) from error
        if waiting := self._waiting.get(message.command.answers):
            await waiting.put(answer)

    def give_up(self, over: AssociationLost) -> None:
        """Tell everybody who waits that no answer will come."""
        for waiting in self._waiting.values():
            if waiting.full():  # what came before is of no use without the rest
                waiting.get_nowait()
            waiting.put_nowait(over)

    async def _cancel(self, context: Context, message_id: int) -> None:
        fields: dict[Field, Value] = {
            Field.COMMAND_FIELD: CommandField.C_CANCEL_RQ,
            Field.MESSAGE_ID_BEING_RESPONDED_TO: message_id,
            Field.COMMAND_DATA_SET_TYPE: NO_DATA_SET,
        }
        await self.association.send(context, Command(fields))

    def _next_id(self) -> int:
        self._last_id = self._last_id % 0xFFFF + 1
        return self._last_id

    def _received(self) -> int:
        return self.association.channel.received_bytes

    async def _answer(self, waiting: asyncio.Queue[Answer | AssociationLost], progress: Callable[[], int]) -> Answer:
        so_far = -1
        while (now := progress()) != so_far:
            so_far = now
            try:
                async with asyncio.timeout(self.association.timeouts.answer_s):
                    found = await waiting.get()
            except TimeoutError:
                continue
            if isinstance(found, AssociationLost):
                raise found
            return found
        self.association.abort("no answer came in time")
        raise UpstreamTimeout("the DICOM peer does not answer")


def _class_field(kind: CommandField) -> Field:
    return Field.REQUESTED_SOP_CLASS_UID if kind in _OF_THE_PEERS else Field.AFFECTED_SOP_CLASS_UID
