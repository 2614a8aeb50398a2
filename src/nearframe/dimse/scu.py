"""The user's side: asks for an association, sends requests, and awaits their answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from nearframe import tasks
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from nearframe.dimse import tls, words
from nearframe.dimse.association import Association, Buffer, Message
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.command import Command, CommandField
from nearframe.dimse.items import Proposed, Role, UserInformation
from nearframe.dimse.negotiation import MIN_PDU_BYTES, Agreement, Context
from nearframe.dimse.pdu import AssociateAC, AssociateRJ, AssociateRQ, RejectResult
from nearframe.dimse.requests import Requests
from nearframe.dimse.scp import Operation, Rest, Session, begin, finish
from nearframe.dimse.status import Status
from nearframe.errors import AssociationLost, Refused, UpstreamTimeout, UpstreamUnavailable
from nearframe.units import KIB

VERIFICATION: Final = "1.2.840.10008.1.1"
#: What every peer can read (PS3.5 section 10).
UNCOMPRESSED: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_MAX_PDU_BYTES: Final = 256 * KIB


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM application entity that we call.

    Attributes
    ----------
    ae_title, our_ae_title
        Its name, and the one that we have for it.
    tls
        How to speak TLS with it; None to speak none.
    tls_name
        What its certificate calls it, if not `host`.
    """

    host: str
    port: int
    ae_title: str
    our_ae_title: str
    tls: ssl.SSLContext | None = None
    tls_name: str = ""


class User:
    """An association that we asked for.

    Parameters
    ----------
    proposed
        The presentation contexts that we asked for.
    on_request
        Serves what the peer asks on this association: C-STORE within C-GET, for one.
    """

    def __init__(
        self, association: Association, proposed: Sequence[Proposed] = (), on_request: Operation | None = None
    ) -> None:
        self.association = association
        self.requests = Requests(association, proposed)
        self._session = Session(association, self.requests)
        self._on_request = on_request or _decline
        self._reader = tasks.spawn(self._read(), name="answers")

    async def echo(self) -> int:
        """Send C-ECHO, and return the status."""
        context = self.requests.context(VERIFICATION)
        return (await self.requests.ask(context, CommandField.C_ECHO_RQ, {})).command.status

    async def store(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data: Buffer | AsyncIterable[Buffer],
    ) -> Command:
        """Send C-STORE, and return the answer.

        Raises
        ------
        NotAcceptable
            If the peer takes no such object in this transfer syntax.
        """
        context = self.requests.context(sop_class_uid, transfer_syntax_uid)
        return await self.requests.store(context, sop_instance_uid, data)

    async def close(self) -> None:
        """Release the association."""
        try:
            await self.association.release()
        finally:
            await tasks.cancel([self._reader])

    async def _read(self) -> None:
        """Give each answer to who waits for it, and serve what is asked."""
        over = AssociationLost("the DICOM peer released the association")
        try:
            while (message := await self.association.receive()) is not None:
                if message.command.is_answer:
                    await self.requests.take(message)
                else:
                    rest = await begin(self._session, message, self._on_request)
                    await finish(self._session, message, rest)
            self.association.agree_to_release()
        except AssociationLost as error:
            over = error
        finally:
            self.requests.give_up(over)


async def _decline(session: Session, message: Message) -> Rest:
    """Serve nothing."""
    return session.answer(message, Status.UNRECOGNIZED_OPERATION)


@asynccontextmanager
async def associate(
    peer: Peer,
    contexts: Sequence[tuple[str, tuple[str, ...]]],
    *,
    roles: Sequence[Role] = (),
    window: int = 1,
    timeouts: Timeouts | None = None,
    on_request: Operation | None = None,
) -> AsyncIterator[User]:
    """Hold an association with a peer.

    Parameters
    ----------
    contexts
        Abstract syntax and transfer syntaxes of each presentation context to propose, at most 128.
    window
        Operations to have outstanding at once, if the peer agrees; 0 for any number.

    Raises
    ------
    UpstreamUnavailable
        If the peer cannot be reached, takes no association for now, or reads nothing that could be sent.
    Refused
        If it rejects the association.
    """
    association = Association(_MAX_PDU_BYTES, timeouts or Timeouts(), is_requestor=True)
    await _connect(association, peer)
    try:
        proposed = tuple(Proposed(2 * n + 1, *context) for n, context in enumerate(contexts))
        user = UserInformation(_MAX_PDU_BYTES, window=None if window == 1 else (window, 1), roles=tuple(roles))
        association.ask(AssociateRQ(peer.ae_title, peer.our_ae_title, user, contexts=proposed))
        association.agreement = _agreement(proposed, await _accepted(association, peer))
        association.channel.widen()
        held = User(association, proposed, on_request)
        yield held
    except BaseException:
        association.abort()
        raise
    else:
        await held.close()
    finally:
        association.channel.close()


async def _accepted(association: Association, peer: Peer) -> AssociateAC:
    """Return what a peer agrees to; raises as `associate` where that is nothing."""
    try:
        async with asyncio.timeout(association.timeouts.answer_s):
            answer = await association.opened
    except TimeoutError:
        raise UpstreamTimeout(
            f"{peer.host}:{peer.port} takes connections, and does not answer a request for an association: is this its "
            "port for DICOM?"
        ) from None
    if isinstance(answer, AssociateRJ):
        why = f"the DICOM peer rejects the association: {words.rejection(answer)}"
        raise Refused(why) if answer.result == RejectResult.PERMANENT else UpstreamUnavailable(why)
    assert isinstance(answer, AssociateAC)  # noqa: S101 - a requestor gets nothing else
    if 0 < answer.user.max_pdu_bytes < MIN_PDU_BYTES:
        raise UpstreamUnavailable(
            f"the DICOM peer reads PDUs of {answer.user.max_pdu_bytes} bytes, and none that are shorter than "
            f"{MIN_PDU_BYTES} are sent"
        )
    return answer


async def _connect(association: Association, peer: Peer) -> None:
    loop = asyncio.get_running_loop()
    opening = loop.create_connection(
        lambda: association.channel,
        peer.host,
        peer.port,
        ssl=peer.tls,
        server_hostname=(peer.tls_name or peer.host) if peer.tls else None,
        ssl_handshake_timeout=association.timeouts.connect_s if peer.tls else None,
    )
    try:
        async with asyncio.timeout(association.timeouts.connect_s):
            await opening
    except TimeoutError:
        raise UpstreamTimeout(f"{peer.host}:{peer.port} does not answer: a wrong address, or a firewall") from None
    except OSError as error:
        if peer.tls is not None and isinstance(error, ssl.SSLError | ConnectionAbortedError | ConnectionResetError):
            raise UpstreamUnavailable(f"{peer.host}:{peer.port}: {tls.explain(error)}") from error
        raise UpstreamUnavailable(f"{peer.host}:{peer.port} cannot be reached: {words.unreachable(error)}") from error


def _agreement(proposed: Sequence[Proposed], answer: AssociateAC) -> Agreement:
    """Return what an answer agrees to; a context in a transfer syntax that was not proposed is not one."""
    asked = {context.context_id: context for context in proposed}
    contexts = {
        result.context_id: Context(result.context_id, context.abstract_syntax, result.transfer_syntax)
        for result in answer.results
        if result.is_accepted
        and (context := asked.get(result.context_id)) is not None
        and result.transfer_syntax in context.transfer_syntaxes
    }
    roles = {role.sop_class_uid: role for role in answer.user.roles}
    return Agreement(answer, contexts, roles, answer.user.max_pdu_bytes, answer.user.window or (1, 1))
