"""An edge in front of an archive that lies: readers are told, in time, and nothing false is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pytest

from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.association import Message
from nearframe.dimse.command import CommandField, Field
from nearframe.dimse.identifiers import answer_of, read_identifier, write_identifier
from nearframe.dimse.negotiation import Offer
from nearframe.dimse.scp import Provider, Rest, Session
from nearframe.dimse.scu import UNCOMPRESSED
from nearframe.dimse.server import Admission, DimseServer
from nearframe.dimse.status import Status, answer_to
from nearframe.edge.pacs import front, retrievals
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address
from tests.integration.dimse.hostile import uid_of
from tests.integration.dimse.test_workflow import data_set_of
from tests.integration.edge.nodes import Node
from tests.integration.edge.pacs.dicompacs import edge_before
from tests.syncing import ct_series

STUDY = "1.2.826.0.1.3680043.2.1125.77"
OBJECT, SECOND = map(data_set_of, ct_series(2, study=STUDY))
UID = uid_of(OBJECT)
CT = "1.2.840.10008.5.1.4.1.1.2"
#: What it shows, of each level.
SHOWN: DICOMJSON = {
    "0020000D": {"vr": "UI", "Value": [STUDY]},
    "0020000E": {"vr": "UI", "Value": [f"{STUDY}.1"]},
    "00080018": {"vr": "UI", "Value": [UID]},
    "00080016": {"vr": "UI", "Value": [CT]},
}

#: What is done for a C-GET before its last answer: the status of what was sent, None if nothing was.
Sending: TypeAlias = Callable[[Session, Message], Awaitable[int | None]]


async def tells(session: Session, message: Message, identifier: bytes, shown: DICOMJSON) -> None:
    """Tell of one instance, whatever is asked."""
    asked = read_identifier(identifier, message.context.transfer_syntax)
    data = write_identifier(answer_of(asked, shown), message.context.transfer_syntax)
    await session.association.send(message.context, message.command.answer(Status.PENDING, has_data=True), data)


async def sends(session: Session, data: bytes, uid: str = UID) -> int:
    """Send an object under a name."""
    context = session.requests.context(CT, UNCOMPRESSED[0])
    return (await session.requests.store(context, uid, data)).status


@dataclass
class Liar:
    """An archive that tells of an instance, and sends whatever a test has it send.

    Attributes
    ----------
    taken
        What it was answered.
    shown
        What it tells of.
    """

    send: Sending | None = None
    find: Callable[[Session, Message], Rest] | None = None
    taken: list[int] = field(default_factory=list)
    shown: DICOMJSON = field(default_factory=SHOWN.copy)

    async def on_find(self, session: Session, message: Message) -> Rest:
        identifier = await message.whole()

        async def rest() -> None:
            if self.find is not None:
                await self.find(session, message)
                return
            await tells(session, message, identifier, self.shown)
            await session.answer(message, Status.SUCCESS)

        return rest()

    async def on_get(self, session: Session, message: Message) -> Rest:
        await message.whole()

        async def rest() -> None:
            assert self.send is not None
            if (status := await self.send(session, message)) is not None:
                self.taken.append(status)
            await session.association.send(
                message.context,
                message.command.answer(Status.SUCCESS, {Field.COMPLETED_SUBOPERATIONS: 1}),
            )

        return rest()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        offer = Offer(lambda proposed: proposed.transfer_syntaxes[0], lambda uid: True, max_pdu_bytes=65536)
        provider = Provider({CommandField.C_FIND_RQ: self.on_find, CommandField.C_GET_RQ: self.on_get})
        server = DimseServer(lambda *_: Admission(offer, provider.serve), Metrics(), max_pdu_bytes=65536)
        await server.start(Address("127.0.0.1", 0))
        assert server.address is not None
        try:
            yield f"dicom://LIAR@127.0.0.1:{server.address.port}"
        finally:
            await server.stop(grace_s=0.1)


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Liar:
    monkeypatch.setattr(front, "FRESH_S", 0.0)
    monkeypatch.setattr(front, "PATIENCE_S", 20.0)
    return Liar()


@pytest.fixture
async def edge(liar: Liar, tmp_path: Path) -> AsyncIterator[Node]:
    async with liar.listening() as url, edge_before(tmp_path / "edge", url) as node:
        yield node


async def status_of_study(edge: Node) -> int:
    answer = await edge.client.get(f"/dicomweb/studies/{STUDY}/metadata", timeout=30)
    assert "DOE" not in answer.text
    return answer.status_code


async def sends_as_asked(session: Session, message: Message) -> int:
    return await sends(session, OBJECT)


async def sends_nothing(session: Session, message: Message) -> None:
    return None


async def sends_another_under_its_name(session: Session, message: Message) -> int:
    return await sends(session, SECOND)


async def sends_that_of_another_study(session: Session, message: Message) -> int:
    return await sends(session, OBJECT.replace(STUDY.encode(), STUDY.encode()[:-1] + b"8", 1))


async def sends_half(session: Session, message: Message) -> int:
    return await sends(session, OBJECT[: len(OBJECT) // 2])


async def sends_noise(session: Session, message: Message) -> int:
    return await sends(session, b"\xff" * 1000)


async def test_what_is_as_it_was_shown_is_served(edge: Node, liar: Liar) -> None:
    liar.send = sends_as_asked
    assert await status_of_study(edge) == 200


@pytest.mark.parametrize(
    "send",
    [sends_nothing, sends_another_under_its_name, sends_that_of_another_study, sends_half, sends_noise],
)
async def test_what_is_not_as_it_was_shown_is_not_kept(edge: Node, liar: Liar, send: Sending) -> None:
    liar.send = send
    assert await status_of_study(edge) == 502
    assert Status.SUCCESS not in liar.taken
    liar.send = sends_as_asked  # and once it tells the truth, all is well
    assert await status_of_study(edge) == 200


@pytest.mark.parametrize("tag", ["0020000E", "00080018"])
@pytest.mark.parametrize("uid", ["", "*", "../x"])
async def test_what_is_shown_without_a_uid_is_not_asked_for(edge: Node, liar: Liar, tag: str, uid: str) -> None:
    liar.send = sends_as_asked
    liar.shown[tag] = {"vr": "UI", "Value": [uid] if uid else []}
    assert await status_of_study(edge) == 404
    assert not liar.taken


async def test_who_says_that_it_goes_on_and_sends_nothing(
    edge: Node, liar: Liar, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def goes_on(session: Session, message: Message) -> None:
        while session.association.is_open:
            await session.answer(message, Status.PENDING)

    monkeypatch.setattr(retrievals, "_LONGEST_STANDSTILL_S", 0.0)
    liar.send = goes_on
    assert await status_of_study(edge) in (502, 504)


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_failed_query_is_told_without_the_archives_words(
    edge: Node, liar: Liar, capfd: pytest.CaptureFixture[str], is_read: bool
) -> None:
    async def refuse(session: Session, message: Message) -> None:
        if is_read:
            refusal = answer_to(message.command, Status.CANNOT_UNDERSTAND, "no DOE JANE here")
            await session.association.send(message.context, refusal)
        else:
            pending = message.command.answer(Status.PENDING, has_data=True)
            await session.association.send(message.context, pending, b"\x10\0\x10\0PN\xff\xffDOE")

    liar.find = refuse
    assert await status_of_study(edge) == 502
    assert "DOE" not in capfd.readouterr().err
