"""A provider of a test, on a free port of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nearframe.dimse.command import CommandField
from nearframe.dimse.negotiation import Offer
from nearframe.dimse.scp import Operation, Provider
from nearframe.dimse.scu import Peer
from nearframe.dimse.server import Admission, DimseServer
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address


@asynccontextmanager
async def serving(kind: CommandField, operation: Operation) -> AsyncIterator[Peer]:
    """Serve one kind of request to whoever calls; every context is accepted as it is proposed first."""
    offer = Offer(lambda proposed: proposed.transfer_syntaxes[0], may_be_scp=lambda uid: True, max_pdu_bytes=4096)
    provider = Provider({kind: operation})
    server = DimseServer(lambda *_: Admission(offer, provider.serve), Metrics(), max_pdu_bytes=4096)
    await server.start(Address("127.0.0.1", 0))
    assert server.address is not None
    try:
        yield Peer(server.address.host, server.address.port, "ARCHIVE", "CT")
    finally:
        await server.stop(grace_s=1)
