"""Forwarding to a peer that is ours, from shelves with CT slices on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from nearframe.clock import ManualClock, SystemClock
from nearframe.context import Context
from nearframe.dimse.association import Message
from nearframe.dimse.command import CommandField
from nearframe.dimse.forward_box import ForwardBox
from nearframe.dimse.forward_rules import read_rules
from nearframe.dimse.forwarder import DICOMForwarder, ForwardPace, forward_check
from nearframe.dimse.peers import KnownPeer
from nearframe.dimse.scp import Rest, Session
from nearframe.dimse.scu import Peer
from nearframe.dimse.status import Status
from nearframe.errors import AssociationLost
from nearframe.metrics import DICOM_FORWARDED, Metrics
from nearframe.query.body import Body, Held
from nearframe.query.health import State
from nearframe.query.retrieve_instances import InstanceService
from nearframe.query.workers import Workers
from nearframe.storage.ports import InstanceRecord
from tests.syncing import RECEIVED_AT, Shelves, ct_series, edited, rename, shelves
from tests.unit.dimse.serving import serving
from tests.unit.dimse.test_association import site

HASTY = ForwardPace(away_s=(0.01, 0.02), refused_s=(0.01, 0.02))


class Plain:
    """Gives of each instance a few bytes that name it and its version."""

    def makeable_for_peers(self, record: InstanceRecord) -> tuple[str, ...]:
        return ()

    async def data_set(self, context: Context, record: InstanceRecord, target: str) -> Body:
        return Body([Held(f"{record.identity.sop_instance_uid} {record.version}".encode())])


class Damaged(Plain):
    """Breaks over the first instance that it is asked for, in a way that nobody thought of."""

    def __init__(self) -> None:
        self._broken: InstanceRecord | None = None

    async def data_set(self, context: Context, record: InstanceRecord, target: str) -> Body:
        self._broken = self._broken or record
        if record == self._broken:
            raise ZeroDivisionError
        return await super().data_set(context, record, target)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


class Forwarding:
    def __init__(self, archive: Shelves, home: Path) -> None:
        rules = read_rules([{"to": "ARCHIVE"}], {"ARCHIVE": KnownPeer("ARCHIVE", "host", 104)})
        self.box = ForwardBox(home, archive.catalogue, rules, ManualClock(RECEIVED_AT), Metrics())
        self.archive = archive
        self.metrics = Metrics()
        self.workers = Workers("test", 1)
        self.instances = Plain()
        self.pace = HASTY

    @asynccontextmanager
    async def to(self, peer: Peer) -> AsyncIterator[DICOMForwarder]:
        forwarder = DICOMForwarder(
            self.box,
            self.archive.catalogue,
            cast("InstanceService", self.instances),
            {"ARCHIVE": peer},
            workers=self.workers,
            metrics=self.metrics,
            clock=SystemClock(),
            pace=self.pace,
        )
        forwarder.start()
        try:
            yield forwarder
        finally:
            await forwarder.stop()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.005)


@pytest.fixture
def forwarding(archive: Shelves, tmp_path: Path) -> Iterator[Forwarding]:
    made = Forwarding(archive, tmp_path)
    yield made
    made.workers.close()
    made.box.close()


async def test_what_comes_goes_on(archive: Shelves, forwarding: Forwarding) -> None:
    async with site() as there, forwarding.to(there.peer) as forwarder:
        archive.put(ct_series(3))
        forwarder.wake()
        await forwarding.until(lambda: len(there.archive.stored) == 3 and not forwarding.box.stock())
        archive.put(ct_series(2, seed=2))
        forwarder.wake()
        await forwarding.until(lambda: len(there.archive.stored) == 5 and not forwarding.box.stock())
    assert forwarding.metrics.value(DICOM_FORWARDED, result="sent") == 5


async def test_a_peer_that_is_away_gets_it_later(
    archive: Shelves, forwarding: Forwarding, unused_tcp_port: int
) -> None:
    archive.put(ct_series(2))
    async with forwarding.to(Peer("127.0.0.1", unused_tcp_port, "ARCHIVE", "CT")):
        await forwarding.until(lambda: bool(forwarding.box.stock()))
    assert (await forward_check(forwarding.box, forwarding.workers, -1)()).state is State.DEGRADED
    async with site() as there, forwarding.to(there.peer):  # as after a restart
        await forwarding.until(lambda: len(there.archive.stored) == 2 and not forwarding.box.stock())
    assert (await forward_check(forwarding.box, forwarding.workers, -1)()).state is State.OK


async def test_what_is_refused_is_tried_again_and_told(archive: Shelves, forwarding: Forwarding) -> None:
    async with site() as there, forwarding.to(there.peer) as forwarder:
        there.archive.is_full = True
        archive.put(ct_series(2))
        forwarder.wake()
        await forwarding.until(lambda: any(stock.refused == 2 for stock in forwarding.box.stock()))
        finding = await forward_check(forwarding.box, forwarding.workers, 900)()
        assert (finding.state, "[A700]" in finding.reason) == (State.DEGRADED, True)
        there.archive.is_full = False
        await forwarding.until(lambda: not forwarding.box.stock())
        assert len(there.archive.stored) == 2


async def test_only_the_last_version_goes(archive: Shelves, forwarding: Forwarding) -> None:
    [file] = ct_series(1)
    archive.put([file])
    archive.put([edited(file, rename("Roe^Jane"))])
    async with site() as there, forwarding.to(there.peer):
        await forwarding.until(lambda: bool(there.archive.stored) and not forwarding.box.stock())
    assert [data.split()[1] for data in there.archive.stored.values()] == [b"2"]
    assert forwarding.metrics.value(DICOM_FORWARDED, result="sent") == 1


class Cursing:
    """A peer that takes every object but some: over these it aborts. It begins with the first that it sees."""

    def __init__(self, cursed: int) -> None:
        self.taken: list[str] = []
        self.cursed: list[str] = []
        self._most_cursed = cursed

    async def store(self, session: Session, message: Message) -> Rest:
        uid = message.command.sop_instance_uid
        if uid not in self.cursed and len(self.cursed) < self._most_cursed:
            self.cursed.append(uid)
        if uid in self.cursed:
            session.association.abort()
            raise AssociationLost
        await message.whole()
        self.taken.append(uid)
        return session.answer(message, Status.SUCCESS)


@pytest.mark.parametrize("batch", [1, 2, 42])
async def test_what_a_peer_aborts_over_does_not_hold_up_the_rest(
    archive: Shelves, forwarding: Forwarding, batch: int
) -> None:
    archive.put(ct_series(6))
    forwarding.pace = replace(forwarding.pace, batch=batch, refused_s=(60, 60))
    peer_of_theirs = Cursing(2)
    async with serving(CommandField.C_STORE_RQ, peer_of_theirs.store) as peer, forwarding.to(peer):
        await forwarding.until(lambda: len(peer_of_theirs.taken) == 4)
        await forwarding.until(lambda: any(stock.refused for stock in forwarding.box.stock()))
    assert forwarding.box.stock()[0].reason == "the association ends whenever it is sent"


async def test_a_peer_that_aborts_over_everything_is_the_one_that_is_not_well(
    archive: Shelves, forwarding: Forwarding
) -> None:
    archive.put(ct_series(3))
    peer_of_theirs = Cursing(3)
    async with serving(CommandField.C_STORE_RQ, peer_of_theirs.store) as peer, forwarding.to(peer):
        await forwarding.until(lambda: len(peer_of_theirs.cursed) == 3)
        peer_of_theirs.cursed = ["it is well again"] * 3
        await forwarding.until(lambda: not forwarding.box.stock())
    assert forwarding.metrics.value(DICOM_FORWARDED, result="refused") == 0


async def test_what_cannot_be_sent_does_not_hold_up_the_rest(archive: Shelves, forwarding: Forwarding) -> None:
    archive.put(ct_series(3))
    forwarding.instances = Damaged()
    async with site() as there, forwarding.to(there.peer):
        await forwarding.until(lambda: [stock.instances for stock in forwarding.box.stock()] == [1])
        assert len(there.archive.stored) == 2
        assert forwarding.box.stock()[0].reason == "it cannot be sent"
