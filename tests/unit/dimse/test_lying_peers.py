"""Peers that answer what cannot be: whoever asks hears of it, in time and in bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from nearframe.dimse import scu_query
from nearframe.dimse.association import Message
from nearframe.dimse.command import CommandField
from nearframe.dimse.identifiers import write_identifier
from nearframe.dimse.items import Result, UserInformation
from nearframe.dimse.pdu import AssociateAC
from nearframe.dimse.scp import Operation, Rest, Session
from nearframe.dimse.scu import UNCOMPRESSED, VERIFICATION, Peer, associate
from nearframe.dimse.scu_query import Level, find, identifier_of
from nearframe.dimse.status import Status, answer_to
from nearframe.errors import NotAcceptable, UpstreamError, UpstreamUnavailable
from tests.unit.dimse.serving import serving

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
KEYS = identifier_of({"PatientID": ""}, Level.STUDY)
ROW = write_identifier({"00100020": {"vr": "LO", "Value": ["x" * 64]}}, UNCOMPRESSED[0])


@asynccontextmanager
async def answering(max_pdu_bytes: int, syntax: str) -> AsyncIterator[Peer]:
    """Accept whatever is proposed first like this, and say nothing more."""
    answer = AssociateAC("ARCHIVE", "CT", UserInformation(max_pdu_bytes), results=(Result(1, 0, syntax),))

    is_over = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        header = await reader.readexactly(6)
        await reader.readexactly(int.from_bytes(header[2:]))
        writer.write(answer.encode())
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        is_over.set()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield Peer("127.0.0.1", server.sockets[0].getsockname()[1], "ARCHIVE", "CT")
        await is_over.wait()


@pytest.mark.parametrize("most", [1, 6, 7, 8, 1023])
async def test_who_reads_less_than_a_message_is_not_spoken_to(most: int) -> None:
    async with answering(most, UNCOMPRESSED[0]) as peer:
        with pytest.raises(UpstreamUnavailable, match=f"PDUs of {most} bytes"):
            async with associate(peer, [(VERIFICATION, UNCOMPRESSED)]):
                pass


@pytest.mark.parametrize("syntax", ["", "1.2.3", "1.2.840.10008.1.2.2"])
async def test_a_transfer_syntax_that_nobody_proposed_is_not_spoken(syntax: str) -> None:
    async with answering(0, syntax) as peer:
        with pytest.raises(NotAcceptable):
            async with associate(peer, [(VERIFICATION, UNCOMPRESSED)]) as user:
                await user.echo()


async def found(peer: Peer, *, by_hand: bool = False) -> int:
    async with associate(peer, [(FIND, UNCOMPRESSED)]) as user:
        return sum([1 async for _ in find(user.requests, FIND, KEYS, by_hand=by_hand)])


def telling(data: bytes, times: int = 1) -> Operation:
    async def tell(session: Session, message: Message) -> Rest:
        await message.whole()

        async def rest() -> None:
            for _ in range(times):
                pending = message.command.answer(Status.PENDING, has_data=True)
                await session.association.send(message.context, pending, data)
            await session.answer(message, Status.SUCCESS)

        return rest()

    return tell


async def test_an_answer_that_cannot_be_read_is_the_peers_fault() -> None:
    async with serving(CommandField.C_FIND_RQ, telling(ROW[:-3])) as peer:
        with pytest.raises(UpstreamError, match="cannot be read"):
            await found(peer)


async def test_answers_without_end_are_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scu_query, "_MOST_ANSWERED_BYTES", 50 * len(ROW))
    async with serving(CommandField.C_FIND_RQ, telling(ROW, 60)) as peer:
        with pytest.raises(UpstreamError, match="without end"):
            await found(peer)
        assert await found(peer, by_hand=True) == 60


async def test_a_query_that_goes_on_and_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scu_query, "_LONGEST_QUERY_S", 0.0)
    async with serving(CommandField.C_FIND_RQ, telling(ROW)) as peer:
        with pytest.raises(UpstreamError, match="without end"):
            await found(peer)


async def test_the_peers_own_words_are_for_who_asks_by_hand() -> None:
    async def refuse(session: Session, message: Message) -> Rest:
        await message.whole()
        refusal = answer_to(message.command, Status.CANNOT_UNDERSTAND, "no DOE^JANE here")
        return session.association.send(message.context, refusal)

    async with serving(CommandField.C_FIND_RQ, refuse) as peer:
        with pytest.raises(UpstreamError, match=r"C000\]$"):
            await found(peer)
        with pytest.raises(UpstreamError, match="DOE"):
            await found(peer, by_hand=True)


async def test_a_request_that_a_user_does_not_serve_is_answered() -> None:
    async def ask_back(session: Session, message: Message) -> Rest:
        async def rest() -> None:
            asked = await session.requests.ask(message.context, CommandField.C_ECHO_RQ, {})
            await session.answer(message, asked.command.status)

        return rest()

    async with (
        serving(CommandField.C_ECHO_RQ, ask_back) as peer,
        associate(peer, [(VERIFICATION, UNCOMPRESSED)]) as user,
    ):
        assert await user.echo() == Status.UNRECOGNIZED_OPERATION


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_defect_of_a_provider_is_answered(is_read: bool) -> None:
    async def fail(session: Session, message: Message) -> Rest:
        if not is_read:
            raise ZeroDivisionError

        async def rest() -> None:
            raise ZeroDivisionError

        return rest()

    async with serving(CommandField.C_ECHO_RQ, fail) as peer, associate(peer, [(VERIFICATION, UNCOMPRESSED)]) as user:
        assert await user.echo() == Status.PROCESSING_FAILURE
        assert await user.echo() == Status.PROCESSING_FAILURE
