"""Messages on real connections: in pieces, in heaps, by TLS, from peers that speak something else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nearframe.dimse.tls import Credentials
from nearframe.errors import ConfigurationError
from nearframe.hl7.mllp import CR, FS, VT, Frame, framed
from nearframe.hl7.server import Limits, MLLPServer
from nearframe.listener.devtls import ensure
from nearframe.metrics import HL7_CONNECTIONS, HL7_MESSAGES, HL7_REFUSED, Metrics
from nearframe.settingkinds import Address
from tests.hl7messages import adt, pid
from tests.integration.edge.nodes import until
from tests.integration.hl7.conftest import HERE, connected, origin

Take = Callable[[Frame, str], Awaitable[list[bytes]]]


async def echo(frame: Frame, address: str) -> list[bytes]:
    """Answer with the message that came, as if it were its acknowledgement."""
    return [frame.data]


@asynccontextmanager
async def listening(
    take: Take = echo, limits: Limits | None = None, may_connect: bool = True
) -> AsyncIterator[tuple[MLLPServer, Metrics]]:
    metrics = Metrics()
    server = MLLPServer(take, lambda address: may_connect, limits or Limits(message_bytes=1000), metrics)
    await server.start(Address(HERE, 0))
    try:
        yield server, metrics
    finally:
        await server.stop(1)


def port_of(server: MLLPServer) -> int:
    assert server.address is not None
    return server.address.port


async def test_a_message_in_pieces_and_messages_in_a_heap(tmp_path: Path) -> None:
    async with origin(tmp_path / "home") as (port, node):
        async with connected(port) as sender:
            for byte in framed(adt("A08", pid("P1"), control_id="1")):
                sender.writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert (await sender.answer())["MSA"][1:3] == ["AA", "1"]
            heap = b"\r\n".join(framed(adt("A08", pid("P1"), control_id=str(number))) for number in range(2, 22))
            sender.writer.write(heap)
            assert [(await sender.answer())["MSA"][2] for _ in range(20)] == [str(number) for number in range(2, 22)]
            sender.writer.write(VT + adt("A08", control_id="cut")[:80] + framed(adt("A08", pid("P1"), control_id="22")))
            assert (await sender.answer())["MSA"][1:3] == ["AR", "cut"]
            assert (await sender.answer())["MSA"][1:3] == ["AA", "22"]
            answer = await sender.send(adt("A08", pid("P1"), "Z" * 2_000_000, control_id="long"))
            assert (answer["MSA"][1:3], "longer" in answer["MSA"][3]) == (["AR", "long"], True)
            assert node.metrics.value(HL7_CONNECTIONS) == 1
        await until(lambda: node.metrics.value(HL7_CONNECTIONS) == 0)
        assert node.metrics.value(HL7_MESSAGES, code="AA") == 22


async def test_tls_for_those_who_show_a_certificate(tmp_path: Path) -> None:
    made = ensure(tmp_path / "tls", datetime.now(UTC))
    ours = {"hl7_tls_cert": made.files.certificate, "hl7_tls_key": made.files.key, "hl7_tls_ca": made.authority}
    own = Credentials(made.files.certificate, made.files.key, made.authority)
    async with origin(tmp_path / "home", **ours) as (port, node):
        async with connected(port, ssl=own.for_calling(), server_hostname="localhost") as sender:
            assert (await sender.send(adt("A08", pid("P1"))))["MSA"][1] == "AA"
        async with connected(port) as sender:
            sender.writer.write(framed(adt("A08", pid("P1"))))
            assert await sender.is_closed()
        await until(lambda: node.metrics.value(HL7_REFUSED, reason="TLS: not spoken") == 1)


@pytest.mark.parametrize("said", [b"MSH|^~\\&|ADT1\r", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\xf1\x01"])
async def test_who_speaks_something_else_is_left(said: bytes) -> None:
    async with listening() as (server, metrics), connected(port_of(server)) as sender:
        sender.writer.write(said)
        assert await sender.is_closed()
        assert metrics.value(HL7_REFUSED, reason="not MLLP") == 1


async def test_whatever_is_sent_the_next_is_answered(tmp_path: Path) -> None:
    rng = random.Random(1)
    pieces = [VT, FS, CR, b"\n", b"MSH|^~\\&|", b"|", framed(adt("A08", pid("P1")))[:-1], rng.randbytes(300)]
    async with origin(tmp_path / "home") as (port, node):
        for _ in range(60):
            async with connected(port) as sender:
                sender.writer.write(b"".join(rng.choices(pieces, k=rng.randint(1, 12))))
                sender.writer.write_eof()
                async with asyncio.timeout(20):
                    await sender.drained()
        async with connected(port) as sender:
            assert (await sender.send(adt("A08", pid("P1"), control_id="last")))["MSA"][1:3] == ["AA", "last"]
        await until(lambda: node.metrics.value(HL7_CONNECTIONS) == 0)


async def test_who_may_not_connect_is_left() -> None:
    async with listening(may_connect=False) as (server, metrics), connected(port_of(server)) as sender:
        assert await sender.is_closed()
        assert metrics.value(HL7_REFUSED, reason="address not known") == 1


@pytest.mark.parametrize("said", [b"", VT + b"MSH|"])
async def test_silence_has_an_end(said: bytes) -> None:
    limits = Limits(message_bytes=1000, idle_s=0.05, stall_s=0.05)
    async with listening(limits=limits) as (server, _), connected(port_of(server)) as sender:
        sender.writer.write(said)
        assert await sender.is_closed()


async def test_who_was_idle_longest_goes_for_a_new_one_and_who_is_answered_stays() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slowly(frame: Frame, address: str) -> list[bytes]:
        begun.set()
        await may_end.wait()
        return [frame.data]

    async with listening(slowly, Limits(message_bytes=1000, sockets_per_address=2)) as (server, metrics):
        async with connected(port_of(server)) as busy, connected(port_of(server)) as idle:
            busy.writer.write(framed(adt("A08")))
            await begun.wait()
            async with connected(port_of(server)) as third:
                assert await idle.is_closed()
                may_end.set()
                assert (await busy.answer())["MSH"][9] == "ADT^A08"
                assert (await third.send(adt("A08")))["MSH"][9] == "ADT^A08"
        assert metrics.value(HL7_REFUSED, reason="too many connections") == 1


async def test_what_is_being_worked_on_is_answered_before_the_end() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slowly(frame: Frame, address: str) -> list[bytes]:
        begun.set()
        await may_end.wait()
        return [frame.data]

    async with (
        listening(slowly) as (server, _),
        connected(port_of(server)) as busy,
        connected(port_of(server)) as idle,
    ):
        busy.writer.write(framed(adt("A08")))
        await begun.wait()
        stopping = asyncio.ensure_future(server.stop())
        assert await idle.is_closed()
        may_end.set()
        assert (await busy.answer())["MSH"][9] == "ADT^A08"
        await stopping


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"hl7": Address("0.0.0.0", 0)}, "--hl7 .* is reachable from other machines"),
        ({"hl7_character_set": "EBCDIC"}, "hl7_character_set"),
        ({"hl7_senders": ({"facility": "X"},)}, "hl7_senders"),
        ({"hl7_authorities": ({"authority": "X"},)}, "hl7_authorities"),
    ],
)
async def test_settings_that_cannot_be(tmp_path: Path, wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        async with origin(tmp_path / "home", **wrong):
            pass
