"""Accepts associations: who may, how many, and for how long; then hands each to a service.

Nothing is spent on a peer before its request is whole: a silent socket is closed after
`Timeouts.associate_s`, or earlier where there are too many (`listener.reception`).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from nearframe import log
from nearframe.dimse.association import Association
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.negotiation import Offer, agree, check_request
from nearframe.dimse.pdu import AssociateRJ, AssociateRQ, Rejection, RejectResult
from nearframe.dimse.tls import cause_of
from nearframe.errors import AssociationLost
from nearframe.listener.reception import Reception
from nearframe.metrics import DIMSE_ASSOCIATIONS, DIMSE_LOST, DIMSE_REJECTED, Metrics
from nearframe.settingkinds import Address

_log = log.logger(__name__)
_STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How many peers at once.

    Attributes
    ----------
    sockets, sockets_per_address
        Beyond these the connection that has been without an association longest is closed, without
        an answer; the new one, where each has one. Half the descriptors that a process usually has.
    associations, associations_per_address
        Beyond these a request is rejected for now (temporary congestion).
    """

    sockets: int = 512
    sockets_per_address: int = 256
    associations: int = 128
    associations_per_address: int = 96


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
        self._associations: dict[Association, str] = {}
        self._reception = Reception(
            "association",
            self._attend,
            partial(metrics.add, DIMSE_REJECTED, reason="too many connections"),
            sockets=self._limits.sockets,
            sockets_per_address=self._limits.sockets_per_address,
        )

    @property
    def address(self) -> Address | None:
        """Where it listens, None before it does."""
        return self._reception.address

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
        await self._reception.start(address)

    async def stop(self, grace_s: float = _STOP_S) -> None:
        """Accept no more, let messages under way finish for a while, then abort what is left."""
        await self._reception.close()
        await self._reception.finish(grace_s)
        for association in list(self._associations):
            association.abort("this node is stopping")
            association.channel.close()
        await self._reception.cut()

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

    async def _open(self, connection: socket.socket) -> Association:
        association = Association(self._max_pdu_bytes, self._timeouts, is_requestor=False)
        handshake_s = self._timeouts.associate_s if self._tls else None
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: association.channel, connection, ssl=self._tls, ssl_handshake_timeout=handshake_s
        )
        return association

    async def _attend_open(self, association: Association, address: str) -> None:
        try:
            await self._serve(association, address)
            association.abort("its service ended")  # unless it is over in another way
            await association.closed.wait()  # the peer closes, or the clock does
        finally:
            association.channel.cut()

    async def _serve(self, association: Association, address: str) -> None:
        who = {"address": address}
        try:
            request = await association.opened
            assert isinstance(request, AssociateRQ)  # noqa: S101 - an acceptor gets nothing else
            who |= _titles(request)
            await self._decide(association, request, address)
        except AssociationLost as error:
            if association.channel.received_bytes:  # else it was a knock: a balancer's, or a scan of ports
                self._metrics.add(DIMSE_LOST)
                _log.warning("association_lost", reason=str(error), **who)

    async def _decide(self, association: Association, request: AssociateRQ, address: str) -> None:
        admission = check_request(request) or self._doorkeeper(request, address, association.channel.tls)
        if isinstance(admission, Admission) and not self._may_associate(address):
            admission = AssociateRJ.of(Rejection.TEMPORARY_CONGESTION, RejectResult.TRANSIENT)
        if isinstance(admission, AssociateRJ):
            self._metrics.add(DIMSE_REJECTED, reason=str(admission))
            reason = ": ".join(filter(None, (str(admission), admission.because)))
            _log.warning("association_rejected", reason=reason, address=address, **_titles(request))
            association.reject(admission)
            return
        self._associations[association] = address
        self._metrics.add(DIMSE_ASSOCIATIONS)
        try:
            with self._reception.engaged():
                association.accept(agree(request, admission.offer))
                await admission.serve(association)
        finally:
            del self._associations[association]

    def _may_associate(self, address: str) -> bool:
        of_address = sum(other == address for other in self._associations.values())
        return (
            len(self._associations) < self._limits.associations and of_address < self._limits.associations_per_address
        )


def _titles(request: AssociateRQ) -> dict[str, str]:
    """Return what whoever reads the log compares with the configuration on both sides."""
    return {"calling": request.calling_ae_title, "called": request.called_ae_title}
