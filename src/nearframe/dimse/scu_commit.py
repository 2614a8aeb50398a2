"""The user's side of storage commitment (PS3.4 Annex J, push model): has a peer promise to keep what it was sent.

The promise comes as a notification: on the association on which it was asked for, if the peer
is quick and so inclined, else on one that the peer asks us for.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from nearframe.dicom.model import DICOMJSON
from nearframe.dimse import words
from nearframe.dimse.association import Message
from nearframe.dimse.command import CommandField, Field, Value
from nearframe.dimse.identifiers import MAX_LIST_BYTES, read_list, text_of, write_identifier
from nearframe.dimse.items import ContextResult, Proposed
from nearframe.dimse.negotiation import Offer
from nearframe.dimse.pdu import AssociateRJ, AssociateRQ, Rejection
from nearframe.dimse.scp import Provider, Rest, Session
from nearframe.dimse.scp_commitment import COMMITMENT_INSTANCE, STORAGE_COMMITMENT_PUSH
from nearframe.dimse.scp_storage import echo
from nearframe.dimse.scu import UNCOMPRESSED, VERIFICATION, Peer, associate
from nearframe.dimse.server import Admission, DimseServer
from nearframe.dimse.status import Status
from nearframe.errors import UpstreamError, UpstreamTimeout
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address
from nearframe.units import KIB

_REQUEST_COMMITMENT: Final = 1
_MAX_PDU_BYTES: Final = 64 * KIB

_TRANSACTION, _REFERENCED, _FAILED = "00081195", "00081199", "00081198"
_CLASS, _INSTANCE, _REASON = "00081150", "00081155", "00081197"

#: SOP class and SOP instance.
Reference: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Committed:
    """What a peer promises.

    Attributes
    ----------
    kept
        SOP Instance UIDs.
    failed
        SOP Instance UIDs that it does not keep, and why.
    """

    kept: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


async def commit(
    peer: Peer,
    references: Sequence[Reference],
    *,
    wait_s: float,
    listen: Address | None = None,
    listen_tls: ssl.SSLContext | None = None,
) -> Committed:
    """Ask for commitment, and wait for the answer.

    Parameters
    ----------
    listen
        Where the peer may ask us for an association to answer on; nowhere if None.
    listen_tls
        How TLS is spoken there; None for none.

    Raises
    ------
    UpstreamError
        If the peer refuses.
    UpstreamTimeout
        If no answer comes in time.
    """
    transaction = f"2.25.{uuid.uuid4().int}"  # PS3.5 section B.2
    answered = _Answered(transaction)
    async with AsyncExitStack() as stack:
        if listen is not None:
            server = DimseServer(_Door(peer, answered), Metrics(), max_pdu_bytes=_MAX_PDU_BYTES, tls=listen_tls)
            await server.start(listen)
            stack.push_async_callback(server.stop)
        contexts = [(STORAGE_COMMITMENT_PUSH, UNCOMPRESSED)]
        user = await stack.enter_async_context(associate(peer, contexts, on_request=answered.event))
        context = user.requests.context(STORAGE_COMMITMENT_PUSH)
        fields: dict[Field, Value] = {
            Field.REQUESTED_SOP_INSTANCE_UID: COMMITMENT_INSTANCE,
            Field.ACTION_TYPE_ID: _REQUEST_COMMITMENT,
        }
        data = write_identifier(_request(transaction, references), context.transfer_syntax)
        answer = (await user.requests.ask(context, CommandField.N_ACTION_RQ, fields, data)).command
        if not words.is_success(answer.status):
            raise UpstreamError(f"the peer does not commit: {words.answer(answer)}")
        try:
            async with asyncio.timeout(wait_s):
                return await answered.outcome
        except TimeoutError:
            raise UpstreamTimeout(
                "the request was taken, and no answer came in time; many peers answer on an association of "
                "their own: name with --listen where they reach us"
            ) from None


class _Answered:
    """Waits for the notification of one transaction."""

    def __init__(self, transaction: str) -> None:
        self._transaction = transaction
        self.outcome: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()

    async def event(self, session: Session, message: Message) -> Rest:
        """Take a notification (N-EVENT-REPORT)."""
        data = await message.whole(MAX_LIST_BYTES)
        if message.command.kind is not CommandField.N_EVENT_REPORT_RQ:
            return session.answer(message, Status.UNRECOGNIZED_OPERATION)
        told = read_list(data, message.context.transfer_syntax)
        if text_of(told, _TRANSACTION) == self._transaction and not self.outcome.done():
            self.outcome.set_result(_committed(told))
        return session.answer(message, Status.SUCCESS)


class _Door:
    """Lets the peer in that owes us an answer."""

    def __init__(self, peer: Peer, answered: _Answered) -> None:
        self._peer = peer
        operations = {CommandField.C_ECHO_RQ: echo, CommandField.N_EVENT_REPORT_RQ: answered.event}
        self._provider = Provider(operations)
        self._offer = Offer(
            choose=_choose,
            may_be_scp=lambda uid: uid == STORAGE_COMMITMENT_PUSH,
            max_pdu_bytes=_MAX_PDU_BYTES,
        )

    def __call__(self, request: AssociateRQ, address: str, tls: ssl.SSLObject | None) -> Admission | AssociateRJ:
        if request.called_ae_title != self._peer.our_ae_title:
            return AssociateRJ.of(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED)
        if request.calling_ae_title != self._peer.ae_title:
            return AssociateRJ.of(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)
        return Admission(self._offer, self._provider.serve)


def _choose(proposed: Proposed) -> str | ContextResult:
    if proposed.abstract_syntax not in (STORAGE_COMMITMENT_PUSH, VERIFICATION):
        return ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    return next(
        (uid for uid in UNCOMPRESSED if uid in proposed.transfer_syntaxes),
        ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED,
    )


def _request(transaction: str, references: Sequence[Reference]) -> DICOMJSON:
    items = [{_CLASS: _uid(sop_class), _INSTANCE: _uid(instance)} for sop_class, instance in references]
    return {_TRANSACTION: _uid(transaction), _REFERENCED: {"vr": "SQ", "Value": items}}


def _uid(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}


def _committed(told: DICOMJSON) -> Committed:
    kept = tuple(text_of(item, _INSTANCE) for item in told.get(_REFERENCED, {}).get("Value", ()))
    failed = [(text_of(item, _INSTANCE), text_of(item, _REASON)) for item in told.get(_FAILED, {}).get("Value", ())]
    return Committed(
        kept, tuple((uid, words.status(int(code) if code.isdecimal() else 0x0110)) for uid, code in failed)
    )
