"""Associations over real sockets: both sides ours, or one of them bytes of a test."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nearframe.dimse.association import Association, Message
from nearframe.dimse.channel import Timeouts
from nearframe.dimse.command import Command, CommandField, Field
from nearframe.dimse.items import ContextResult, Proposed, UserInformation
from nearframe.dimse.negotiation import Offer
from nearframe.dimse.pdu import AssociateRJ, AssociateRQ, Rejection, ReleaseRQ, write_data_header
from nearframe.dimse.scp import Provider, Rest, Session
from nearframe.dimse.scu import UNCOMPRESSED, VERIFICATION, Peer, associate
from nearframe.dimse.server import Admission, DimseServer, ServerLimits
from nearframe.dimse.status import Status
from nearframe.dimse.tls import Credentials
from nearframe.errors import AssociationLost, NoSpace, Refused, UpstreamUnavailable
from nearframe.listener.devtls import ensure
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address

CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = [(VERIFICATION, UNCOMPRESSED), (CT, UNCOMPRESSED)]
PATIENT = Timeouts()
HASTY = Timeouts(associate_s=0.05, idle_s=0.05, stall_s=0.05)


def choose(proposed: Proposed) -> str | ContextResult:
    known = proposed.abstract_syntax in (VERIFICATION, CT)
    return proposed.transfer_syntaxes[0] if known else ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED


@dataclass
class Archive:
    """Keeps what it is sent; answers when it may."""

    stored: dict[str, bytes] = field(default_factory=dict)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    most_waiting: int = 0
    is_full: bool = False
    answering: int = 0

    @contextmanager
    def answers(self) -> Iterator[None]:
        self.answering += 1
        try:
            yield
        finally:
            self.answering -= 1

    async def echo(self, session: Session, message: Message) -> Rest:
        return session.answer(message, Status.SUCCESS)

    async def store(self, session: Session, message: Message) -> Rest:
        if self.is_full:
            raise NoSpace(1, 0)
        data = b"".join([part async for part in message.data()])
        return self._answer(session, message, data)

    async def _answer(self, session: Session, message: Message, data: bytes) -> None:
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        await self.may_answer.wait()
        self.waiting -= 1
        self.stored[message.command.sop_instance_uid] = data
        await session.answer(message, Status.SUCCESS)


@dataclass
class Site:
    server: DimseServer
    archive: Archive

    @property
    def peer(self) -> Peer:
        address = self.server.address
        assert address is not None
        return Peer(address.host, address.port, "ARCHIVE", "CT")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.peer.host, self.peer.port)


@asynccontextmanager
async def site(
    timeouts: Timeouts = PATIENT,
    limits: ServerLimits | None = None,
    window: int = 4,
    choosing: Callable[[Proposed], str | ContextResult] = choose,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Site]:
    archive = Archive()
    archive.may_answer.set()
    operations = {CommandField.C_ECHO_RQ: archive.echo, CommandField.C_STORE_RQ: archive.store}
    provider = Provider(operations, answering=archive.answers)
    offer = Offer(choosing, may_be_scp=lambda uid: False, max_pdu_bytes=4096, max_window=window)

    def doorkeeper(request: AssociateRQ, address: str, tls: object) -> Admission | AssociateRJ:
        if request.called_ae_title != "ARCHIVE":
            return AssociateRJ.of(Rejection.CALLED_AE_TITLE_NOT_RECOGNIZED, because="it is another one's")
        return Admission(offer, provider.serve)

    server = DimseServer(doorkeeper, Metrics(), max_pdu_bytes=4096, timeouts=timeouts, limits=limits, tls=tls)
    await server.start(Address("127.0.0.1", 0))
    try:
        yield Site(server, archive)
    finally:
        await server.stop(grace_s=1)


async def test_the_log_says_who_was_rejected(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as archive:
        with pytest.raises(Refused):
            async with associate(replace(archive.peer, ae_title="OTHER"), CONTEXTS):
                pass
    (rejected,) = (record for record in caplog.records if record.getMessage() == "association_rejected")
    fields = vars(rejected)["nearframe_fields"]
    assert fields["address"] == "127.0.0.1"
    assert fields["reason"] == "called ae title not recognized: it is another one's"
    assert (fields["calling"], fields["called"]) == (archive.peer.our_ae_title, "OTHER")


async def test_echo_and_store() -> None:
    async with site() as archive, associate(archive.peer, CONTEXTS) as user:
        assert await user.echo() == Status.SUCCESS
        data = bytes(range(256)) * 400
        answer = await user.store(CT, "1.2.3", UNCOMPRESSED[0], data)
        assert answer.status == Status.SUCCESS
        assert archive.archive.stored == {"1.2.3": data}
    assert archive.server.associations == 0


async def test_data_that_comes_in_chunks() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(5):
            yield bytes([number]) * (3000 * number)

    async with site() as archive, associate(archive.peer, CONTEXTS) as user:
        await user.store(CT, "1.2.3", UNCOMPRESSED[0], chunks())
    assert archive.archive.stored["1.2.3"] == b"".join([part async for part in chunks()])


async def test_as_many_operations_as_the_window_are_under_way_at_once() -> None:
    async with site(window=4) as archive, associate(archive.peer, CONTEXTS, window=0) as user:
        archive.archive.may_answer.clear()
        storing = [
            asyncio.ensure_future(user.store(CT, f"1.2.{number}", UNCOMPRESSED[0], bytes(10_000)))
            for number in range(10)
        ]
        while archive.archive.waiting < 4:
            await asyncio.sleep(0)
        archive.archive.may_answer.set()
        assert [answer.status for answer in await asyncio.gather(*storing)] == [0] * 10
    assert archive.archive.most_waiting == 4


async def test_whoever_wants_to_knows_while_operations_are_under_way() -> None:
    async with site() as archive, associate(archive.peer, CONTEXTS) as user:
        assert archive.archive.answering == 0
        archive.archive.may_answer.clear()
        storing = asyncio.ensure_future(user.store(CT, "1.2.3", UNCOMPRESSED[0], b"data"))
        while not archive.archive.waiting:
            await asyncio.sleep(0)
        assert archive.archive.answering == 1
        archive.archive.may_answer.set()
        await storing
    assert archive.archive.answering == 0


async def test_an_operation_that_nobody_serves() -> None:
    async with site() as archive, associate(archive.peer, CONTEXTS) as user:
        context = next(user.association.contexts_for(CT))
        answer = await user.requests.ask(context, CommandField.N_DELETE_RQ, {Field.REQUESTED_SOP_INSTANCE_UID: "1.2.3"})
        assert answer.command.status == Status.UNRECOGNIZED_OPERATION
        assert await user.echo() == Status.SUCCESS


async def test_a_refused_object_is_skipped_and_the_next_is_served() -> None:
    async with site() as archive, associate(archive.peer, CONTEXTS) as user:
        archive.archive.is_full = True
        answer = await user.store(CT, "1.2.3", UNCOMPRESSED[0], bytes(100_000))
        assert answer.status == Status.OUT_OF_RESOURCES
        assert "disk" in answer.text(Field.ERROR_COMMENT)
        archive.archive.is_full = False
        assert (await user.store(CT, "1.2.3", UNCOMPRESSED[0], bytes(100))).status == Status.SUCCESS


async def test_an_unknown_title_is_told_why() -> None:
    async with site() as archive:
        peer = Peer(archive.peer.host, archive.peer.port, "NOBODY", "CT")
        with pytest.raises(Refused, match="called by is not its own"):
            async with associate(peer, CONTEXTS):
                pass


async def test_a_peer_that_is_not_there() -> None:
    async with site() as archive:
        peer = archive.peer
    with pytest.raises(UpstreamUnavailable, match="cannot be reached"):
        async with associate(peer, CONTEXTS):
            pass


async def test_no_more_associations_than_allowed() -> None:
    async with site(limits=ServerLimits(associations=1)) as archive, associate(archive.peer, CONTEXTS) as user:
        with pytest.raises(UpstreamUnavailable, match="it is busy: try again"):
            async with associate(archive.peer, CONTEXTS):
                pass
        assert await user.echo() == Status.SUCCESS


async def test_who_is_silent_longest_makes_room() -> None:
    async with site(limits=ServerLimits(sockets_per_address=2)) as archive:
        oldest, second = await archive.connect(), await archive.connect()
        async with associate(archive.peer, CONTEXTS) as user:
            assert await asyncio.wait_for(oldest[0].read(), 5) == b""
            assert await user.echo() == Status.SUCCESS
            second[1].write(b"\5\0")  # it is there yet, and says something wrong
            second[1].write(bytes(8))
            assert (await asyncio.wait_for(second[0].readexactly(10), 5))[0] == 7
        for _, writer in (oldest, second):
            writer.close()


async def test_who_does_not_even_begin_tls_makes_room(tmp_path: Path) -> None:
    made = ensure(tmp_path, datetime.now(UTC))
    ours, theirs = Credentials(made.files.certificate, made.files.key), Credentials(authority=made.authority)
    async with site(limits=ServerLimits(sockets_per_address=2), tls=ours.for_listening()) as archive:
        silent = [await archive.connect(), await archive.connect()]
        async with associate(replace(archive.peer, tls=theirs.for_calling()), CONTEXTS) as user:
            assert await asyncio.wait_for(silent[0][0].read(), 5) == b""
            assert await user.echo() == Status.SUCCESS
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize("limits", [ServerLimits(sockets=2), ServerLimits(sockets_per_address=2)])
async def test_no_room_where_everybody_is_associated(limits: ServerLimits) -> None:
    async with site(limits=limits) as archive, associate(archive.peer, CONTEXTS), associate(archive.peer, CONTEXTS):
        reader, writer = await archive.connect()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_no_more_associations_of_one_address_than_allowed() -> None:
    async with site(limits=ServerLimits(associations_per_address=1)) as archive, associate(archive.peer, CONTEXTS):
        with pytest.raises(UpstreamUnavailable, match="it is busy: try again"):
            async with associate(archive.peer, CONTEXTS):
                pass


async def test_a_silent_socket_is_closed() -> None:
    async with site(HASTY) as archive:
        reader, writer = await archive.connect()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@pytest.mark.parametrize(
    ("sent", "abort"),
    [
        (b"\x47ET / HTTP/1.1\r\n", "0700000000 0400000000"),
        (b"\4\0\xff\xff\xff\xf0", "0700000000 0400000000"),
        (write_data_header(1, 4, is_command=True, is_last=True) + b"echo", "0700000000 0400000000"),
        (ReleaseRQ().encode(), "0700000000 0400000000"),
    ],
    ids=["http", "4 GiB", "data before an association", "release before an association"],
)
async def test_nonsense_before_an_association_is_aborted_at_once(sent: bytes, abort: str) -> None:
    async with site() as archive:
        reader, writer = await archive.connect()
        writer.write(sent)
        assert await asyncio.wait_for(reader.readexactly(10), 5) == bytes.fromhex(abort)
        writer.close()


async def established(archive: Site, max_pdu_bytes: int = 16384) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open an association by hand: context 1 is CT."""
    reader, writer = await archive.connect()
    contexts = (Proposed(1, CT, UNCOMPRESSED),)
    writer.write(AssociateRQ("ARCHIVE", "CT", UserInformation(max_pdu_bytes), contexts=contexts).encode())
    header = await reader.readexactly(6)
    assert header[0] == 2
    await reader.readexactly(int.from_bytes(header[2:], "big"))
    return reader, writer


STORE = Command.request(CommandField.C_STORE_RQ, 1, {Field.AFFECTED_SOP_INSTANCE_UID: "1.2.3"}, has_data=True).encode()


def command_pdu(context_id: int = 1) -> bytes:
    return write_data_header(context_id, len(STORE), is_command=True, is_last=True) + STORE


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (AssociateRQ("ARCHIVE", "CT").encode(), 2),
        (b"\x63\0\0\0\0\0", 1),
        (b"\4\0\0\0\x10\x01" + bytes(6), 6),
        (command_pdu(3), 6),
        (command_pdu() + command_pdu(), 6),
        (write_data_header(1, 1, is_command=False, is_last=True) + b"x", 6),
        (write_data_header(1, 8, is_command=True, is_last=True) + b"\0\0\0\0\xff\xff\xff\xff", 6),
    ],
    ids=[
        "a second request", "an unknown PDU", "longer than agreed", "a context that was not accepted",
        "a command where data are awaited", "data without a command", "a gigantic group length",
    ],
)  # fmt: skip
async def test_nonsense_within_an_association_is_aborted_with_the_reason(sent: bytes, reason: int) -> None:
    async with site() as archive:
        reader, writer = await established(archive)
        writer.write(sent)
        expected = bytes.fromhex("070000000004000002") + bytes([reason])
        assert await asyncio.wait_for(reader.readexactly(10), 5) == expected
        writer.close()


async def test_a_trickle_within_a_message_is_aborted() -> None:
    async with site(HASTY) as archive:
        reader, writer = await established(archive)
        writer.write(command_pdu())
        writer.write(write_data_header(1, 100, is_command=False, is_last=True) + b"x")
        assert (await asyncio.wait_for(reader.readexactly(10), 5))[0] == 7
        writer.close()


async def test_who_says_nothing_for_long_is_aborted_but_not_while_we_work() -> None:
    async with site(HASTY) as archive:
        archive.archive.may_answer.clear()
        reader, writer = await established(archive)
        writer.write(command_pdu() + write_data_header(1, 1, is_command=False, is_last=True) + b"x")
        while not archive.archive.waiting:
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 1.5)  # more than a tick: it is patient
        archive.archive.may_answer.set()
        assert (await asyncio.wait_for(reader.readexactly(6), 5))[0] == 4
        while (await asyncio.wait_for(reader.readexactly(1), 5)) != b"\7":
            pass
        writer.close()


async def test_a_peer_that_goes_away_within_an_object_leaves_nothing() -> None:
    async with site() as archive:
        for _ in range(20):
            _, writer = await established(archive)
            writer.write(command_pdu() + write_data_header(1, 100, is_command=False, is_last=True) + b"x")
            writer.transport.abort()
        while archive.server.associations:
            await asyncio.sleep(0)
        assert archive.archive.stored == {}


async def test_the_user_learns_that_the_provider_stopped() -> None:
    async with site() as archive:
        with pytest.raises(AssociationLost):
            async with associate(archive.peer, CONTEXTS) as user:
                archive.archive.may_answer.clear()
                storing = asyncio.ensure_future(user.store(CT, "1.2.3", UNCOMPRESSED[0], b"x"))
                while not archive.archive.waiting:
                    await asyncio.sleep(0)
                stopping = asyncio.ensure_future(archive.server.stop(grace_s=0))
                await storing
        await stopping


async def test_a_flood_of_bytes_that_nobody_reads_is_held_back() -> None:
    async with site() as archive:
        archive.archive.may_answer.clear()
        _reader, writer = await established(archive)
        one = command_pdu() + write_data_header(1, 4000, is_command=False, is_last=True) + bytes(4000)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 << 20:
                writer.write(one)
                sent += len(one)
                await asyncio.wait_for(writer.drain(), 1)
        assert sent < 32 << 20  # what the kernels hold, and half a megabyte of ours
        writer.transport.abort()
        archive.archive.may_answer.set()


@pytest.mark.parametrize("steps", range(5))
async def test_a_release_that_is_cancelled_as_it_succeeds(steps: int) -> None:
    association = Association(4096, Timeouts(), is_requestor=True)
    releasing = asyncio.ensure_future(association.release())
    await asyncio.sleep(0)
    association.closed.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    was_cancelled = releasing.cancel()
    await asyncio.wait([releasing])
    assert releasing.cancelled() is was_cancelled
