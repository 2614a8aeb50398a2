"""C-MOVE to destinations that break off, refuse, or take only part of it; and who asked for it and went away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.transfersyntax import ImplicitVRLittleEndian
from nearframe.dimse.association import Association, Message
from nearframe.dimse.command import CommandField
from nearframe.dimse.items import ContextResult, Proposed
from nearframe.dimse.negotiation import Offer
from nearframe.dimse.pdu import AssociateRJ, AssociateRQ, Rejection
from nearframe.dimse.scp import Provider, Rest, Session
from nearframe.dimse.scp_retrieve import STUDY_ROOT_MOVE
from nearframe.dimse.scu import UNCOMPRESSED, Peer, User, associate
from nearframe.dimse.scu_query import Level, Retrieved, identifier_of, retrieve
from nearframe.dimse.server import Admission, DimseServer
from nearframe.dimse.status import Status
from nearframe.errors import AssociationLost
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address
from tests.integration.dimse.hostile import uid_of
from tests.integration.dimse.test_workflow import CT_CLASS, Site, archive, data_set_of
from tests.integration.edge.nodes import until
from tests.syncing import ct_series

STUDY = "1.2.826.0.1.3680043.2.1125.66"
OBJECTS = [data_set_of(file) for file in ct_series(4, study=STUDY)]
MOVES = (STUDY_ROOT_MOVE, UNCOMPRESSED)
UIDS = [uid_of(data) for data in OBJECTS]


@dataclass
class Destination:
    """It answers each object by a status of its own, and aborts where there is none for it.

    Attributes
    ----------
    came
        The transfer syntaxes of what it was sent.
    left
        Set once the association that it was sent on is over.
    goes_on
        While it is clear, nothing but the first object is answered.
    """

    statuses: list[int]
    syntaxes: tuple[str, ...] = UNCOMPRESSED
    is_known: bool = True
    came: list[str] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.goes_on.set()

    async def store(self, session: Session, message: Message) -> Rest:
        await message.whole()
        self.came.append(message.context.transfer_syntax)
        if len(self.came) > 1:
            await self.goes_on.wait()
        if len(self.came) > len(self.statuses):
            session.association.abort()
            raise AssociationLost
        return session.answer(message, self.statuses[len(self.came) - 1])

    def choose(self, proposed: Proposed) -> str | ContextResult:
        taken = (one for one in proposed.transfer_syntaxes if one in self.syntaxes)
        return next(taken, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[dict[str, object]]:
        """Yield its table of the settings."""
        provider = Provider({CommandField.C_STORE_RQ: self.store})
        offer = Offer(self.choose, may_be_scp=lambda uid: False, max_pdu_bytes=65536)

        async def serve(association: Association) -> None:
            try:
                await provider.serve(association)
            finally:
                self.left.set()

        def admit(request: AssociateRQ, address: str, tls: object) -> Admission | AssociateRJ:
            if not self.is_known:
                return AssociateRJ.of(Rejection.CALLING_AE_TITLE_NOT_RECOGNIZED)
            return Admission(offer, serve)

        server = DimseServer(admit, Metrics(), max_pdu_bytes=65536)
        await server.start(Address("127.0.0.1", 0))
        assert server.address is not None
        try:
            yield {"ae_title": "THERE", "host": "127.0.0.1", "port": server.address.port}
        finally:
            await server.stop(grace_s=0.1)


@asynccontextmanager
async def asking(home: Path, destination: Destination) -> AsyncIterator[tuple[Site, User]]:
    """Hold an association with an archive that has four slices and knows the destination."""
    async with destination.listening() as there, archive(home, peers=({"ae_title": "CT1"}, there)) as site:
        peer = Peer("127.0.0.1", site.port, "NEARFRAME", "CT1")
        contexts = [(CT_CLASS, UNCOMPRESSED), MOVES]
        async with associate(peer, contexts) as user:
            for uid, data in zip(UIDS, OBJECTS, strict=True):
                assert (await user.store(CT_CLASS, uid, UNCOMPRESSED[0], data)).status == Status.SUCCESS
            yield site, user


async def moved(user: User) -> Retrieved:
    return [step async for step in retrieve(user.requests, STUDY_ROOT_MOVE, study(), "THERE")][-1]


def study() -> DICOMJSON:
    return identifier_of({"StudyInstanceUID": STUDY}, Level.STUDY)


@pytest.mark.parametrize(
    ("destination", "status", "counts"),
    [
        (lambda: Destination([0, 0, 0, 0]), Status.SUCCESS, (4, 0, 0)),
        (lambda: Destination([0, 0xB000, 0, 0]), Status.SUBOPERATIONS_FAILED, (3, 0, 1)),
        (lambda: Destination([0, 0xA700, 0, 0xC000]), Status.SUBOPERATIONS_FAILED, (2, 2, 0)),
        (lambda: Destination([0xA700] * 4), Status.UNABLE_TO_PERFORM, (0, 4, 0)),
        (lambda: Destination([0]), Status.SUBOPERATIONS_FAILED, (1, 3, 0)),
        (lambda: Destination([]), Status.UNABLE_TO_PERFORM, (0, 4, 0)),
        (lambda: Destination([0] * 4, syntaxes=()), Status.UNABLE_TO_PERFORM, (0, 4, 0)),
        (lambda: Destination([0] * 4, syntaxes=(ImplicitVRLittleEndian,)), Status.SUCCESS, (4, 0, 0)),
        (lambda: Destination([], is_known=False), Status.UNABLE_TO_PERFORM, (0, 4, 0)),
    ],
    ids=[
        "takes all", "one with a warning", "two refused", "is full", "aborts over the second", "aborts at once",
        "takes no syntax", "takes Implicit VR alone", "does not know us",
    ],
)  # fmt: skip
async def test_what_becomes_of_it_is_told(
    tmp_path: Path, destination: Callable[[], Destination], status: Status, counts: tuple[int, int, int]
) -> None:
    there = destination()
    async with asking(tmp_path / "home", there) as (_, user):
        last = await moved(user)
    assert (last.status, (last.completed, last.failed, last.warnings)) == (status, counts)
    assert len(last.failed_uids) == last.failed
    assert set(last.failed_uids) <= set(UIDS)
    assert STUDY not in last.said
    assert "127.0.0.1" not in last.said
    assert set(there.came) <= set(there.syntaxes)


async def test_who_asked_and_goes_away_ends_it(tmp_path: Path) -> None:
    there = Destination([0, 0, 0, 0])
    async with asking(tmp_path / "home", there) as (site, _):
        there.goes_on.clear()
        with pytest.raises(ZeroDivisionError):
            async with associate(Peer("127.0.0.1", site.port, "NEARFRAME", "CT1"), [MOVES]) as user:
                async for _ in retrieve(user.requests, STUDY_ROOT_MOVE, study(), "THERE"):
                    raise ZeroDivisionError
        await until(lambda: len(there.came) == 2)
        there.goes_on.set()
        await there.left.wait()
    assert len(there.came) < len(OBJECTS)
