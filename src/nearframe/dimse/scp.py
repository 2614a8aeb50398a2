"""The provider's side of an association: each message goes to the operation that serves it.

An operation reads its message's data set and returns what is left to do: with an
asynchronous operations window the next message is read meanwhile (PS3.7 Annex D.3.3.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from nearframe import log, tasks
from nearframe.dimse.association import Association, Message
from nearframe.dimse.command import CommandField
from nearframe.dimse.status import Status, answer_to, status_of
from nearframe.errors import AssociationLost, NearframeError, UpstreamError

_log = log.logger(__name__)

#: What is left to do when a message has been read: it ends with the answer.
Rest: TypeAlias = Awaitable[None]
Operation: TypeAlias = Callable[[Association, Message], Awaitable[Rest]]


class Provider:
    """Serves associations with a table of operations."""

    def __init__(self, operations: Mapping[CommandField, Operation]) -> None:
        self._operations = operations

    async def serve(self, association: Association) -> None:
        """Serve one association until it is released, or ends otherwise."""
        agreement = association.agreement
        room = asyncio.Semaphore(agreement.window[0] if agreement else 1)
        under_way: set[asyncio.Task[Any]] = set()
        try:
            while True:
                await room.acquire()
                message = await association.receive()
                if message is None:
                    break
                with association.at_work():
                    rest = await self._read(association, message)
                task = tasks.spawn(_finish(association, message, rest), name="operation")
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                task.add_done_callback(lambda _: room.release())
            if under_way:
                await asyncio.wait(under_way)
            association.agree_to_release()
        except AssociationLost:
            # What was received in full is stored although the peer is gone; answers then go nowhere.
            if under_way:
                await asyncio.wait(under_way)
            raise
        finally:
            await tasks.cancel(list(under_way))  # none is left, unless this node is stopping

    async def _read(self, association: Association, message: Message) -> Rest:
        operation = self._operations.get(message.command.kind) if message.command.kind else None
        if operation is None or message.command.is_answer:
            return _answer(association, message, Status.UNRECOGNIZED_OPERATION)
        try:
            return await operation(association, message)
        except UpstreamError:
            raise
        except NearframeError as error:
            return _answer(association, message, status_of(error), str(error))


async def _finish(association: Association, message: Message, rest: Rest) -> None:
    with association.at_work():
        try:
            await rest
        except AssociationLost:
            _log.info("answer_not_delivered")
        except NearframeError as error:
            await _answer(association, message, status_of(error), str(error))


async def _answer(association: Association, message: Message, status: int, comment: str = "") -> None:
    await association.send(message.context, answer_to(message.command, status, comment))
