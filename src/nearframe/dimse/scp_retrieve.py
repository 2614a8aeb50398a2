"""Retrieval (PS3.4 sections C.4.2 and C.4.3): C-MOVE to a peer that is configured, C-GET back on the same association.

Both send the instances by C-STORE (`sending`), one after the other, and count.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from nearframe import log
from nearframe.context import Context
from nearframe.dicom.levels import Level
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse import words
from nearframe.dimse.association import Message
from nearframe.dimse.command import Field, Value
from nearframe.dimse.identifiers import QUERY_RETRIEVE_LEVEL, keys_of, read_identifier, text_of, write_identifier
from nearframe.dimse.requests import Requests
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.scu import Peer, associate
from nearframe.dimse.searching import search
from nearframe.dimse.sending import batches, proposals, send_stored
from nearframe.dimse.status import Status, comment
from nearframe.errors import (
    AssociationLost,
    MalformedRequest,
    NearframeError,
    NotFound,
    UpstreamError,
)
from nearframe.query.records import InstanceRecords
from nearframe.query.retrieve_instances import InstanceService
from nearframe.query.search import SearchService
from nearframe.query.workers import Workers
from nearframe.storage.ports import InstanceRecord

PATIENT_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.1.2"
STUDY_ROOT_MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
PATIENT_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"

_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_PATIENT: Final = "00100020"
_PATIENT_KEYS: Final = (_PATIENT, "00100021")
_FAILED_LIST: Final = "00080058"
#: In a key these stand for something else (PS3.4 section C.2.2.2.4).
_WILD: Final = frozenset("*?")
#: Unique keys without which a level names nothing. Series of an instance are not demanded: many leave them out.
_NAMED_BY: Final = {
    "PATIENT": (("Patient ID", _PATIENT),),
    "STUDY": (("Study Instance UID", _STUDY),),
    "SERIES": (("Study Instance UID", _STUDY), ("Series Instance UID", _SERIES)),
    "IMAGE": (("Study Instance UID", _STUDY), ("SOP Instance UID", _INSTANCE)),
}
#: The counts are of VR US (PS3.7 Table E.1-1).
_MOST_COUNTED: Final = 0xFFFF
_NOT_THERE: Final = "the destination cannot be reached, or broke off"

#: Opens the way on which instances are sent.
Way: TypeAlias = Callable[[Sequence[InstanceRecord]], AbstractAsyncContextManager[Requests]]

_log = log.logger(__name__)


@dataclass(slots=True)
class _Count:
    """How far a retrieval is."""

    remaining: int
    completed: int = 0
    warnings: int = 0
    failed: list[str] = field(default_factory=list)
    why: str = ""

    def fail(self, sop_instance_uids: Sequence[str], why: str) -> None:
        """Note what was not sent; what stood in the way first is what is told."""
        self.failed += sop_instance_uids
        self.why = self.why or why

    def fields(self, *, is_over: bool) -> dict[Field, Value]:
        counts = {
            Field.COMPLETED_SUBOPERATIONS: self.completed,
            Field.FAILED_SUBOPERATIONS: len(self.failed),
            Field.WARNING_SUBOPERATIONS: self.warnings,
        }
        if not is_over:
            counts[Field.REMAINING_SUBOPERATIONS] = self.remaining
        told: dict[Field, Value] = {name: min(number, _MOST_COUNTED) for name, number in counts.items()}
        return told | comment(self.why) if is_over else told

    @property
    def status(self) -> Status:
        """How it ended (PS3.4 section C.4.2.1.4.2): a warning for what was stored with one, too."""
        if not self.failed and not self.warnings:
            return Status.SUCCESS
        return Status.SUBOPERATIONS_FAILED if self.completed + self.warnings else Status.UNABLE_TO_PERFORM


class Retriever:
    """Answers C-GET and C-MOVE.

    Parameters
    ----------
    peers
        By AE title: where C-MOVE may send to. There is no other destination.
    context_of
        Says for whom an association retrieves.
    """

    def __init__(
        self,
        service: SearchService,
        records: InstanceRecords,
        instances: InstanceService,
        workers: Workers,
        peers: Mapping[str, Peer],
        context_of: Callable[[Session], Context],
    ) -> None:
        self._search = service
        self._records = records
        self._instances = instances
        self._workers = workers
        self._peers = peers
        self._context_of = context_of

    async def move(self, session: Session, message: Message) -> Rest:
        """Read the identifier; the rest sends what it names to another peer."""
        identifier = read_identifier(await message.whole(), message.context.transfer_syntax)
        peer = self._peers.get(message.command.text(Field.MOVE_DESTINATION))
        if peer is None:
            return session.answer(message, Status.MOVE_DESTINATION_UNKNOWN, "this destination is not configured here")
        destination = peer
        origin: dict[Field, Value] = {
            Field.MOVE_ORIGINATOR_AE_TITLE: session.association.peer_ae_title,
            Field.MOVE_ORIGINATOR_MESSAGE_ID: message.command.message_id,
        }

        @asynccontextmanager
        async def way(records: Sequence[InstanceRecord]) -> AsyncIterator[Requests]:
            async with associate(destination, proposals(records)) as user:
                yield user.requests

        return self._retrieve(session, message, identifier, way, origin)

    async def get(self, session: Session, message: Message) -> Rest:
        """Read the identifier; the rest sends what it names back."""
        identifier = read_identifier(await message.whole(), message.context.transfer_syntax)

        @asynccontextmanager
        async def way(records: Sequence[InstanceRecord]) -> AsyncIterator[Requests]:
            yield session.requests

        return self._retrieve(session, message, identifier, way, {})

    async def _retrieve(
        self, session: Session, message: Message, identifier: DICOMJSON, way: Way, others: dict[Field, Value]
    ) -> None:
        context = self._context_of(session)
        records = await self._named(context, identifier, message.context.abstract_syntax)
        count = _Count(len(records))
        try:
            for some in batches(records):
                async with way(some) as requests:
                    if not await self._send_all(session, message, context, some, requests, count, others):
                        await self._tell(session, message, count, Status.CANCELLED)
                        return
        except NearframeError as error:
            if session.association.is_open is False:
                raise
            _log.warning("retrieval_failed", error=error)
            left = records[len(records) - count.remaining :]
            # Where it is to be found, and what is wrong there, is for our log, not for whoever asks.
            why = _NOT_THERE if isinstance(error, UpstreamError) else str(error)
            count.fail([record.identity.sop_instance_uid for record in left], why)
            count.remaining = 0
        await self._tell(session, message, count, count.status)

    async def _send_all(
        self,
        session: Session,
        message: Message,
        context: Context,
        records: Sequence[InstanceRecord],
        requests: Requests,
        count: _Count,
        others: dict[Field, Value],
    ) -> bool:
        """Send instances one after the other; False if the rest is no longer wanted."""
        for record in records:
            if session.association.is_cancelled(message.command.message_id):
                return False
            await self._send(context, record, requests, count, others)
            count.remaining -= 1
            if count.remaining:
                pending = message.command.answer(Status.PENDING, count.fields(is_over=False))
                await session.association.send(message.context, pending)
        return True

    async def _send(
        self, context: Context, record: InstanceRecord, requests: Requests, count: _Count, others: dict[Field, Value]
    ) -> None:
        uid = record.identity.sop_instance_uid
        try:
            status = (await send_stored(requests, self._instances, context, record, others)).status
        except AssociationLost:
            raise
        except NearframeError as error:
            _log.warning("instance_not_sent", error=error)
            count.fail([uid], str(error))
            return
        if status == Status.SUCCESS:
            count.completed += 1
        elif status & 0xF000 == _WARNINGS:
            count.warnings += 1
        else:
            count.fail([uid], f"the receiver: {words.status_and_code(status)}")

    async def _named(self, context: Context, identifier: DICOMJSON, model: str) -> list[InstanceRecord]:
        """Return the instances that an identifier names by the unique keys of its level (PS3.4 section C.4.2.2.1).

        Without them nothing is sent: neither a whole study for an instance that was not named, nor
        everybody's for a patient who is a pattern.
        """
        level = text_of(identifier, QUERY_RETRIEVE_LEVEL).strip().upper()
        if level not in _NAMED_BY or (level == "PATIENT" and model not in (PATIENT_ROOT_GET, PATIENT_ROOT_MOVE)):
            raise MalformedRequest("Query/Retrieve Level is STUDY, SERIES or IMAGE, and PATIENT in the patient root")
        if lacking := [name for name, tag in _NAMED_BY[level] if not _values(identifier, tag)]:
            raise MalformedRequest(f"the identifier has no {lacking[0]}, which its level demands")
        if level == "PATIENT":
            studies = await self._studies_of_patient(context, identifier)
        else:
            studies = _values(identifier, _STUDY)
        series: list[str] = _values(identifier, _SERIES) if level in ("SERIES", "IMAGE") else []
        instances = set(_values(identifier, _INSTANCE)) if level == "IMAGE" else set()
        found = [record for study in studies for record in await self._records_of(context, study, series)]
        return [record for record in found if not instances or record.identity.sop_instance_uid in instances]

    async def _records_of(self, context: Context, study: str, series: Sequence[str]) -> list[InstanceRecord]:
        """Return the instances of a study, or of some series of it; none where there is no such thing here."""
        try:
            if not series:
                return await self._records.list(context, study)
            return [record for one in series for record in await self._records.list(context, study, one)]
        except NotFound:
            return []

    async def _studies_of_patient(self, context: Context, identifier: DICOMJSON) -> list[str]:
        named = _values(identifier, _PATIENT)
        if len(named) > 1 or _WILD.intersection(named[0]):
            raise MalformedRequest("the identifier names no single patient")
        keys = [key for key in keys_of(identifier) if key[0] in _PATIENT_KEYS and key[1]]
        matches = search(self._search, self._workers, context, Level.STUDY, keys)
        return [text_of(match.row, _STUDY) async for match in matches]

    async def _tell(self, session: Session, message: Message, count: _Count, status: Status) -> None:
        fields = count.fields(is_over=status is not Status.CANCELLED)
        if not count.failed:
            await session.association.send(message.context, message.command.answer(status, fields))
            return
        answer = message.command.answer(status, fields, has_data=True)
        failed = {_FAILED_LIST: {"vr": "UI", "Value": count.failed}}
        data = write_identifier(failed, message.context.transfer_syntax)
        await session.association.send(message.context, answer, data)


_WARNINGS: Final = 0xB000


def _values(identifier: DICOMJSON, tag: str) -> list[str]:
    """Return the values of a key, each once."""
    return list(dict.fromkeys(str(value) for value in identifier.get(tag, {}).get("Value") or [] if value))
