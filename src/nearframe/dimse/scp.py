"""The provider's side of an association: each message goes to the operation that serves it.

An operation reads its message's data set and returns what is left to do: with an
asynchronous operations window the next message is read meanwhile (PS3.7 Annex D.3.3.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from nearframe import log, tasks
from nearframe.dimse.association import Association, Message
from nearframe.dimse.command import CommandField
from nearframe.dimse.requests import Requests
from nearframe.dimse.status import Status, answer_to, status_of
from nearframe.errors import AssociationLost, NearframeError, UpstreamError

_log = log.logger(__name__)

#: What is left to do when a message has been read: it ends with the answer.
Rest: TypeAlias = Awaitable[None]
Operation: TypeAlias = "Callable[[Session, Message], Awaitable[Rest]]"


@dataclass(frozen=True, slots=True)
class Session:
    """An association as an operation sees it.

    Attributes
    ----------
    requests
        What this side asks the peer on the same association.
    """

    association: Association
    requests: Requests

    async def answer(self, message: Message, status: int, comment: str = "") -> None:
        """Answer a message without a data set."""
        await self.association.send(message.context, answer_to(message.command, status, comment))


async def begin(session: Session, message: Message, operation: Operation) -> Rest:
    """Have a message read; what is left to do ends with the answer, also where it cannot be served.

    Raises
    ------
    AssociationLost
        If the peer is gone.
    """
    try:
        return await operation(session, message)
    except AssociationLost:
        raise
    except Exception as error:  # noqa: BLE001 - a request ends here; without an answer the peer would wait for one
        return _refusal(session, message, error)


async def finish(session: Session, message: Message, rest: Rest) -> None:
    """Do what is left: every request has an answer, while the peer is there to have it."""
    try:
        await rest
    except AssociationLost:
        _log.debug("answer_not_delivered")
    except Exception as error:  # noqa: BLE001 - as in `begin`
        with suppress(UpstreamError):
            await _refusal(session, message, error)


def _refusal(session: Session, message: Message, error: Exception) -> Rest:
    if isinstance(error, NearframeError):
        return session.answer(message, status_of(error), str(error))
    _log.error("operation_failed", error=error)
    return session.answer(message, Status.PROCESSING_FAILURE)


def nothing_against(message: Message) -> Status | None:
    """Let every message pass."""
    return None


class Provider:
    """Serves associations with a table of operations.

    Parameters
    ----------
    why_not
        Says which status a message gets in place of its operation; None to have it served.
    answering
        Held while an operation is under way.
    """

    def __init__(
        self,
        operations: Mapping[CommandField, Operation],
        why_not: Callable[[Message], Status | None] = nothing_against,
        answering: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._operations = operations
        self._why_not = why_not
        self._answering = answering

    async def serve(self, association: Association) -> None:
        """Serve one association until it is released, or ends otherwise."""
        session = Session(association, Requests(association))
        agreement = association.agreement
        room = asyncio.Semaphore(agreement.window[0] if agreement else 1)
        under_way: set[asyncio.Task[Any]] = set()
        try:
            # First read, then wait: what comes may be an answer that the operation under way waits for (C-GET).
            while (message := await _next_request(session)) is not None:
                await room.acquire()
                with association.at_work(), self._answering():
                    rest = await self._read(session, message)
                task = tasks.spawn(self._finish(session, message, rest), name="operation")
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                task.add_done_callback(lambda _: room.release())
            session.requests.give_up(AssociationLost("the DICOM peer released the association"))
            if under_way:
                await asyncio.wait(under_way)
            association.agree_to_release()
        except AssociationLost as over:
            session.requests.give_up(over)
            # What was received in full is stored although the peer is gone; answers then go nowhere.
            if under_way:
                await asyncio.wait(under_way)
            raise
        finally:
            await tasks.cancel(list(under_way))  # none is left, unless this node is stopping

    async def _read(self, session: Session, message: Message) -> Rest:
        operation = self._operations.get(message.command.kind) if message.command.kind else None
        if operation is None:
            return session.answer(message, Status.UNRECOGNIZED_OPERATION)
        if (refusal := self._why_not(message)) is not None:
            return session.answer(message, refusal)
        return await begin(session, message, operation)

    async def _finish(self, session: Session, message: Message, rest: Rest) -> None:
        with session.association.at_work(), self._answering():
            await finish(session, message, rest)


async def _next_request(session: Session) -> Message | None:
    """Return what the peer asks next; answers on the way go to who asked."""
    while (message := await session.association.receive()) is not None and message.command.is_answer:
        await session.requests.take(message)
    return message
