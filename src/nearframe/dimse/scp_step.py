"""Modality Performed Procedure Step (PS3.4 Annex F): N-CREATE begins one, N-SET tells how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nearframe.context import Context
from nearframe.dimse.association import Message
from nearframe.dimse.command import Field, Value
from nearframe.dimse.identifiers import MAX_LIST_BYTES, read_list
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.status import Status, answer_to
from nearframe.errors import Busy, Conflict, LimitExceeded, NotFound, Refused, RequestError
from nearframe.query.steps import StepService
from nearframe.query.workers import Workers

PERFORMED_STEP: Final = "1.2.840.10008.3.1.2.3.3"
#: Error ID of a step that is over (PS3.4 Table F.7.2-2).
_NO_LONGER_UPDATED: Final = 0xA506


class StepReporter:
    """Takes what scanners report.

    Parameters
    ----------
    context_of
        Says for whom an association reports.
    """

    def __init__(self, steps: StepService, workers: Workers, context_of: Callable[[Session], Context]) -> None:
        self._steps = steps
        self._workers = workers
        self._context_of = context_of

    async def create(self, session: Session, message: Message) -> Rest:
        """Read N-CREATE; the rest keeps the step and answers."""
        return self._create(session, message, await message.whole(MAX_LIST_BYTES))

    async def set(self, session: Session, message: Message) -> Rest:
        """Read N-SET; the rest changes the step and answers."""
        return self._set(session, message, await message.whole(MAX_LIST_BYTES))

    async def _create(self, session: Session, message: Message, data: bytes) -> None:
        context, title = self._context_of(session), session.association.peer_ae_title
        given = message.command.sop_instance_uid
        try:
            attributes = await self._workers.run(read_list, data, message.context.transfer_syntax)
            uid = await self._workers.run(self._steps.begin, context, given, title, attributes)
        except (RequestError, Busy) as error:
            await _refuse(session, message, error)
        else:
            fields: dict[Field, Value] = {Field.AFFECTED_SOP_INSTANCE_UID: uid}
            await session.association.send(message.context, message.command.answer(Status.SUCCESS, fields))

    async def _set(self, session: Session, message: Message, data: bytes) -> None:
        context, uid = self._context_of(session), message.command.sop_instance_uid
        try:
            attributes = await self._workers.run(read_list, data, message.context.transfer_syntax)
            await self._workers.run(self._steps.change, context, uid, attributes)
        except (RequestError, Busy) as error:
            await _refuse(session, message, error)
        else:
            await session.answer(message, Status.SUCCESS)


async def _refuse(session: Session, message: Message, error: RequestError | Busy) -> None:
    match error:
        case Busy() | LimitExceeded():
            answer = answer_to(message.command, Status.RESOURCE_LIMITATION, str(error))
        case Conflict():
            answer = answer_to(message.command, Status.DUPLICATE_INSTANCE, str(error))
        case NotFound():
            answer = answer_to(message.command, Status.NO_SUCH_INSTANCE, str(error))
        case Refused():
            comment: dict[Field, Value] = {Field.ERROR_ID: _NO_LONGER_UPDATED, Field.ERROR_COMMENT: str(error)}
            answer = message.command.answer(Status.PROCESSING_FAILURE, comment)
        case _:
            answer = answer_to(message.command, Status.INVALID_ATTRIBUTE_VALUE, str(error))
    await session.association.send(message.context, answer)
