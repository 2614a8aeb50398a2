"""Query (PS3.4 section C.4.1): C-FIND of patients, studies, series and instances."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from nearframe.context import Context
from nearframe.dicom.levels import Level
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.association import Message
from nearframe.dimse.identifiers import (
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    Query,
    answer_of,
    keys_of,
    read_query,
    text_of,
    write_identifier,
)
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.searching import Match, search
from nearframe.dimse.status import Status
from nearframe.errors import MalformedRequest
from nearframe.query.search import SearchService
from nearframe.query.workers import Workers

#: Information models (PS3.4 Table C.6): with and without a level of patients.
PATIENT_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"

_LEVELS: Final = {"PATIENT": Level.STUDY, "STUDY": Level.STUDY, "SERIES": Level.SERIES, "IMAGE": Level.INSTANCE}
#: A patient: an identifier, and who gave it (PS3.3 section C.7.1.1).
_PATIENT: Final = ("00100020", "00100021")


class Finder:
    """Answers C-FIND from the same searches as DICOMweb.

    Parameters
    ----------
    ae_title
        Ours: from where what is found can be retrieved.
    context_of
        Says for whom an association searches.
    """

    def __init__(
        self, service: SearchService, workers: Workers, ae_title: str, context_of: Callable[[Session], Context]
    ) -> None:
        self._search = service
        self._workers = workers
        self._ae_title = ae_title
        self._context_of = context_of

    async def find(self, session: Session, message: Message) -> Rest:
        """Read the identifier; the rest answers."""
        query = read_query(await message.whole(), message.context.transfer_syntax)
        level = text_of(query.identifier, QUERY_RETRIEVE_LEVEL).strip().upper()
        is_patient_root = message.context.abstract_syntax == PATIENT_ROOT_FIND
        if level not in _LEVELS or (level == "PATIENT" and not is_patient_root):
            raise MalformedRequest("Query/Retrieve Level is STUDY, SERIES or IMAGE, and PATIENT in the patient root")
        return self._answer(session, message, query, level)

    async def _answer(self, session: Session, message: Message, query: Query, level: str) -> None:
        association, command, context = session.association, message.command, message.context
        async with aclosing(self._found(self._context_of(session), query.identifier, level)) as matches:
            async for match in matches:
                if association.is_cancelled(command.message_id):
                    await session.answer(message, Status.CANCELLED)
                    return
                row = answer_of(query.identifier, match.row)
                row[RETRIEVE_AE_TITLE] = {"vr": "AE", "Value": [self._ae_title]}
                status = Status.PENDING if match.is_exact else Status.PENDING_WITH_WARNING
                data = write_identifier(row, context.transfer_syntax, query.character_sets)
                await association.send(context, command.answer(status, has_data=True), data)
        await session.answer(message, Status.SUCCESS)

    async def _found(self, context: Context, identifier: DICOMJSON, level: str) -> AsyncGenerator[Match, None]:
        seen: set[tuple[str, ...]] = set()
        found = search(self._search, self._workers, context, _LEVELS[level], keys_of(identifier))
        async with aclosing(found) as matches:
            async for match in matches:
                if level == "PATIENT":
                    patient = tuple(text_of(match.row, tag) for tag in _PATIENT)
                    if patient in seen:
                        continue
                    seen.add(patient)
                yield match
