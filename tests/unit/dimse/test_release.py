"""How an association of ours ends, with providers that end it in ways of their own (PS3.8 section 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest

from nearframe.dimse.channel import Timeouts
from nearframe.dimse.command import Command, CommandField
from nearframe.dimse.items import Result, UserInformation
from nearframe.dimse.pdu import Abort, AssociateAC, PDUType, ReleaseRP, ReleaseRQ, write_data_header
from nearframe.dimse.scu import UNCOMPRESSED, VERIFICATION, Peer, associate
from nearframe.dimse.status import Status
from nearframe.errors import UpstreamTimeout

ACCEPTED = AssociateAC("ARCHIVE", "CT", UserInformation(16384), results=(Result(1, 0, UNCOMPRESSED[0]),)).encode()
LATE = Command.request(CommandField.C_ECHO_RQ, 1, {}, has_data=False).answer(Status.SUCCESS).encode()


class Wire:
    """The provider's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def hear(self) -> int:
        """Return the type of the next PDU, 0 once there is none."""
        try:
            header = await self._reader.readexactly(6)
            await self._reader.readexactly(int.from_bytes(header[2:]))
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return 0
        return header[0]

    async def answer(self, data: bytes) -> int:
        """Send bytes, and return the type of what is said to them."""
        self.writer.write(data)
        return await self.hear()


#: What a provider does once it is asked to release; it returns the types of the PDUs that it heard.
Ending: TypeAlias = Callable[[Wire], Awaitable[list[int]]]


async def release_at_once(wire: Wire) -> list[int]:
    return [await wire.answer(ReleaseRP().encode())]


async def collide(wire: Wire) -> list[int]:
    return [await wire.answer(ReleaseRQ().encode()), await wire.answer(ReleaseRP().encode())]


async def send_what_was_under_way(wire: Wire) -> list[int]:
    late = write_data_header(1, len(LATE), is_command=True, is_last=True) + LATE
    return [await wire.answer(late + ReleaseRP().encode())]


async def abort(wire: Wire) -> list[int]:
    return [await wire.answer(Abort().encode())]


async def hang_up(wire: Wire) -> list[int]:
    wire.writer.close()
    return []


async def release_twice(wire: Wire) -> list[int]:
    return [await wire.answer(ReleaseRP().encode() * 2)]


async def ask_for_an_association(wire: Wire) -> list[int]:
    return [await wire.answer(ACCEPTED)]


async def say_nothing(wire: Wire) -> list[int]:
    return [await wire.hear()]


@asynccontextmanager
async def ending(end: Ending, heard: list[int]) -> AsyncIterator[Peer]:
    is_over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        assert await wire.hear() == PDUType.ASSOCIATE_RQ
        assert await wire.answer(ACCEPTED) == PDUType.RELEASE_RQ
        heard.extend(await end(wire))
        writer.close()
        is_over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield Peer("127.0.0.1", server.sockets[0].getsockname()[1], "ARCHIVE", "CT")
        await is_over.wait()


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (release_at_once, [0]),
        (collide, [PDUType.RELEASE_RP, 0]),
        (send_what_was_under_way, [0]),
        (abort, [0]),
        (hang_up, []),
        (release_twice, [0]),
        (ask_for_an_association, [PDUType.ABORT]),
    ],
)
async def test_it_ends_whatever_the_provider_does(end: Ending, expected: list[int]) -> None:
    heard: list[int] = []
    async with ending(end, heard) as peer, asyncio.timeout(5), associate(peer, [(VERIFICATION, UNCOMPRESSED)]):
        pass
    assert heard == expected


async def test_a_provider_that_does_not_answer_is_not_waited_for() -> None:
    heard: list[int] = []
    async with ending(say_nothing, heard) as peer:
        with pytest.raises(UpstreamTimeout):
            async with associate(peer, [(VERIFICATION, UNCOMPRESSED)], timeouts=Timeouts(answer_s=0.2)):
                pass
    assert heard == [0]
