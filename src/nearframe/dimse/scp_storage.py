"""Verification and storage (PS3.4 Annexes A and B): C-ECHO and C-STORE.

A data set goes from the network into the spool as it comes, behind the file meta
information that the association tells; then it takes the way that every object takes
(`intake.ingest`), and the answer is sent once it is durable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final

from nearframe.context import Context
from nearframe.dicom.filemeta import file_meta
from nearframe.dimse.association import Association, Message
from nearframe.dimse.identifiers import is_uid
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.status import Status, status_of
from nearframe.errors import MalformedRequest
from nearframe.intake.ingest import Expected, Ingest, NotTaken
from nearframe.intake.serieswatch import SeriesWatch
from nearframe.intake.spool import Spool, Spooled
from nearframe.query.freshness import Freshness
from nearframe.storage.ports import StudyRef

_SOURCE_AE_TITLE: Final = 0x00020016


async def echo(session: Session, message: Message) -> Rest:
    """Answer C-ECHO."""
    return session.answer(message, Status.SUCCESS)


class Storage:
    """Takes in what comes by C-STORE.

    Parameters
    ----------
    freshness
        Told of each study that has changed.
    context_of
        Says for whom an association stores.
    series
        Told which association sends what.
    """

    def __init__(
        self,
        spool: Spool,
        ingest: Ingest,
        freshness: Freshness,
        context_of: Callable[[Session], Context],
        series: SeriesWatch,
    ) -> None:
        self._spool = spool
        self._ingest = ingest
        self._freshness = freshness
        self._context_of = context_of
        self._series = series

    async def store(self, session: Session, message: Message) -> Rest:
        """Receive an object; the rest stores it and answers.

        Raises
        ------
        MalformedRequest
            If what names it is no UID; nothing of it is kept.
        """
        spooled = await self._spool.receive(incoming_file(session.association, message))
        return self._take(session, message, spooled)

    async def _take(self, session: Session, message: Message, spooled: Spooled) -> None:
        command = message.command
        expected = Expected(instance=command.sop_instance_uid, sop_class=command.sop_class_uid)
        context = self._context_of(session)
        outcome = await self._ingest.take(context, spooled, expected, "c-store")
        if isinstance(outcome, NotTaken):
            await session.answer(message, status_of(outcome.error), str(outcome.error))
        else:
            self._freshness.changed(StudyRef(context.tenant, outcome.identity.study_instance_uid))
            self._series.sending(sender_of(session.association), context.tenant, outcome.identity)
            # Also where the pixels are not those that are held under this UID: the object is kept beside
            # them and told of as a conflict. Many senders take a warning for a failure, and send for ever.
            await session.answer(message, Status.SUCCESS)


def sender_of(association: Association) -> str:
    """Return what stands for an association while it lasts."""
    return f"association {id(association):x}"


async def incoming_file(association: Association, message: Message) -> AsyncIterator[bytes]:
    """Yield a Part 10 file (PS3.10): what the association says, then the data set as it comes.

    Raises
    ------
    MalformedRequest
        If what names it is no UID.
    """
    for name, uid in (("Instance", message.command.sop_instance_uid), ("Class", message.command.sop_class_uid)):
        if not is_uid(uid):
            raise MalformedRequest(f"Affected SOP {name} UID is no UID")
    source = association.peer_ae_title.encode("ascii", "replace")
    yield file_meta(
        message.command.sop_class_uid,
        message.command.sop_instance_uid,
        message.context.transfer_syntax,
        {_SOURCE_AE_TITLE: ("AE", source)},
    )
    async for part in message.data():
        yield part
