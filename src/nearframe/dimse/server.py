"""Accepts associations: who may, how many, and for how long; then hands each to a service.

Nothing is spent on a peer before its request is whole: a silent socket costs its
descriptor and a small buffer, and is closed after `Timeouts.associate_s`. Sockets are
counted for each address, so that one peer's do not keep another out.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from nearframe import log, tasks
from nearframe.dimse.association import Association
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.negotiation import Offer, agree, check_request
from nearframe.dimse.pdu import AssociateRJ, AssociateRQ, Rejection, RejectResult
from nearframe.dimse.tls import cause_of
from nearframe.errors import AssociationLost
from nearframe.listener.address import bind
from nearframe.metrics import DIMSE_ASSOCIATIONS, DIMSE_REJECTED, Metrics
from nearframe.settingkinds import Address

_log = log.logger(__name__)
#: When descriptors have run out: until some are free again.
_ACCEPT_AGAIN_S: Final = 0.1
_STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How many peers at once.

    Attributes
    ----------
    sockets, sockets_per_address
        Beyond these a connection is closed at once, without an answer.
    associations
        Beyond this a request is rejected for now (temporary congestion).
    """

    sockets: int = 1024
    sockets_per_address: int = 256
    associations: int = 128


@dataclass(frozen=True, slots=True)
class Admission:
    """What a peer may do, once it is known.

    Attributes
    ----------
    offer
        What is negotiated with it.
    serve
        Serves its association to the end.
    """

    offer: Offer
    serve: Callable[[Association], Awaitable[None]]


#: Decides on a request, from an address: what the peer may do, or why it may not.
Doorkeeper: TypeAlias = Callable[[AssociateRQ, str, "ssl.SSLObject | None"], Admission | AssociateRJ]


class DimseServer:
    """Listens for associations on one address. For one event loop.

    Parameters
    ----------
    max_pdu_bytes
        The largest body of P-DATA-TF that is offered.
    """

    def __init__(
        self,
        doorkeeper: Doorkeeper,
        metrics: Metrics,
        *,
        max_pdu_bytes: int,
        limits: ServerLimits | None = None,
        timeouts: Timeouts | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._doorkeeper = doorkeeper
        self._metrics = metrics
        self._max_pdu_bytes = max_pdu_bytes
        self._limits = limits or ServerLimits()
        self._timeouts = timeouts or Timeouts()
        self._tls = tls
        self._sockets: Counter[str] = Counter()
        self._associations: set[Association] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.address: Address | None = None

    @property
    def associations(self) -> int:
        """How many there are now."""
        return len(self._associations)

    async def start(self, address: Address) -> None:
        """Begin to accept.

        Raises
        ------
        ConfigurationError
            If the address cannot be listened on.
        """
        self._listening = bind(address)
        self._listening.setblocking(False)
        host, port = self._listening.getsockname()[:2]
        self.address = Address(host, port)
        self._accepting = tasks.spawn(self._accept(self._listening), name=f"associations {port}")

    async def stop(self, grace_s: float = _STOP_S) -> None:
        """Accept no more, let messages under way finish for a while, then abort what is left."""
        if self._accepting is not None:
            await tasks.cancel([self._accepting])
        if self._listening is not None:
            self._listening.close()
        if self._serving:
            await asyncio.wait(self._serving, timeout=grace_s)
        for association in list(self._associations):
            association.abort("this node is stopping")
            association.channel.close()
        await tasks.cancel(self._serving)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError as error:  # the peer is gone already, or descriptors have run out
                _log.warning("association_not_accepted", error=error)
                await asyncio.sleep(_ACCEPT_AGAIN_S)
                continue
            if self._admit_socket(peer[0]):
                task = tasks.spawn(self._attend(connection, peer[0]), name="association")
                self._serving.add(task)
                task.add_done_callback(self._serving.discard)
            else:
                self._metrics.add(DIMSE_REJECTED, reason="too many connections")
                connection.close()

    def _admit_socket(self, address: str) -> bool:
        if self._sockets.total() >= self._limits.sockets or self._sockets[address] >= self._limits.sockets_per_address:
            return False
        self._sockets[address] += 1
        return True

    async def _attend(self, connection: socket.socket, address: str) -> None:
        """Look after one connection to its end."""
        try:
            association = await self._open(connection)
        except OSError as error:  # of TLS
            cause = cause_of(error)
            self._metrics.add(DIMSE_REJECTED, reason=cause)
            _log.warning("association_tls_failed", cause=cause, error=error, address=address)
        else:
            await self._attend_open(association, address)
        finally:
            self._sockets[address] -= 1
            if not self._sockets[address]:
                del self._sockets[address]

    async def _open(self, connection: socket.socket) -> Association:
        association = Association(self._max_pdu_bytes, self._timeouts, is_requestor=False)
        handshake_s = self._timeouts.associate_s if self._tls else None
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: association.channel, connection, ssl=self._tls, ssl_handshake_timeout=handshake_s
        )
        return association

    async def _attend_open(self, association: Association, address: str) -> None:
        try:
            request = await association.opened
            assert isinstance(request, AssociateRQ)  # noqa: S101 - an acceptor gets nothing else
            await self._decide(association, request, address)
        except AssociationLost:
            pass  # it is over; whoever had something under way has told of it
        finally:
            if association.is_open:
                association.abort("its service ended")
            await association.closed.wait()  # the peer closes, or the clock does

    async def _decide(self, association: Association, request: AssociateRQ, address: str) -> None:
        admission = check_request(request) or self._doorkeeper(request, address, association.channel.tls)
        if isinstance(admission, Admission) and len(self._associations) >= self._limits.associations:
            admission = AssociateRJ.of(Rejection.TEMPORARY_CONGESTION, RejectResult.TRANSIENT)
        if isinstance(admission, AssociateRJ):
            self._metrics.add(DIMSE_REJECTED, reason=str(admission))
            _log.warning("association_rejected", reason=str(admission))
            association.reject(admission)
            return
        self._associations.add(association)
        self._metrics.add(DIMSE_ASSOCIATIONS)
        try:
            association.accept(agree(request, admission.offer))
            await admission.serve(association)
        finally:
            self._associations.discard(association)
