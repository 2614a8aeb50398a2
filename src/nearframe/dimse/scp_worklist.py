"""Modality Worklist (PS3.4 Annex K): C-FIND of what is to be done."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from nearframe.context import Context
from nearframe.dimse.association import Message
from nearframe.dimse.identifiers import Query, read_query, write_identifier
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.status import Status
from nearframe.query.steps import StepService
from nearframe.query.workers import Workers

MODALITY_WORKLIST_FIND: Final = "1.2.840.10008.5.1.4.31"
#: Looked up at once, each time in a thread.
_PAGE: Final = 100


class WorklistFinder:
    """Answers C-FIND from the orders.

    Parameters
    ----------
    context_of
        Says for whom an association searches.
    """

    def __init__(self, steps: StepService, workers: Workers, context_of: Callable[[Session], Context]) -> None:
        self._steps = steps
        self._workers = workers
        self._context_of = context_of

    async def find(self, session: Session, message: Message) -> Rest:
        """Read the identifier; the rest answers."""
        query = read_query(await message.whole(), message.context.transfer_syntax)
        return self._answer(session, message, query)

    async def _answer(self, session: Session, message: Message, query: Query) -> None:
        command, context = message.command, message.context
        found = self._steps.worklist(self._context_of(session), query.identifier)
        while page := await self._workers.run(lambda: list(islice(found, _PAGE))):
            for item in page:
                if session.association.is_cancelled(command.message_id):
                    await session.answer(message, Status.CANCELLED)
                    return
                pending = command.answer(Status.PENDING, has_data=True)
                data = write_identifier(item, context.transfer_syntax, query.character_sets)
                await session.association.send(context, pending, data)
        await session.answer(message, Status.SUCCESS)
