"""The client between nodes: what it sends, and that it believes nothing it should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.edge.http1 import Client, RequestBody
from nearframe.edge.http1answer import MAX_HEAD_BYTES, Broken

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: 1\r\nx-a:  2 \r\n\r\nabc"


class Server:
    """Answers each request with the next of the given bytes, in pieces, and closes where told to.

    Attributes
    ----------
    heads, bodies
        What came.
    connections
        How many were made.
    """

    def __init__(self, *answers: bytes | None, pieces: int = 1) -> None:
        self._answers = list(answers)
        self._pieces = pieces
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                self.bodies.append(await self._body(reader))
                answer = self._answers.pop(0)
                if answer is None:  # close
                    break
                size = max(1, len(answer) // self._pieces)
                for at in range(0, len(answer), size):
                    writer.write(answer[at : at + size])
                    await writer.drain()
                if not self._answers or self._answers[0] is None:
                    self._answers = self._answers[1:]
                    break
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _body(self, reader: asyncio.StreamReader) -> bytes:
        head = self.heads[-1].lower()
        if b"transfer-encoding: chunked" in head:
            return await reader.readuntil(b"0\r\n\r\n")
        length = next((line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b"0")
        return await reader.readexactly(int(length))


@asynccontextmanager
async def client(server: Server, path: str = "") -> AsyncIterator[Client]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    made = Client(f"http://127.0.0.1:{port}{path}", connect_s=5, max_connections=4)
    try:
        yield made
    finally:
        await made.close()
        listening.close()


async def ask(made: Client, method: str = "GET", target: str = "/x", body: RequestBody = b"") -> tuple[int, bytes]:
    answer = await made.send(method, target, {"Via": "1.1 a"}, body)
    try:
        return answer.status, b"".join([chunk async for chunk in answer.chunks()])
    finally:
        await answer.close()


async def test_requests_share_a_connection_one_after_the_other() -> None:
    server = Server(OK, OK, OK)
    async with client(server, "/behind/a/proxy") as made:
        answer = await made.send("GET", "/x?y=1", {"Via": "1.1 a"})
        assert (answer.status, answer.headers["x-a"]) == (200, "1, 2")
        assert [chunk async for chunk in answer.chunks()] == [b"abc"]
        await answer.close()
        await answer.close()
        assert await ask(made, "POST", "/x", b"{}") == (200, b"abc")
    assert server.connections == 1
    assert server.heads[0].startswith(b"GET /behind/a/proxy/x?y=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nVia: 1.1 a\r\n" in server.heads[0]
    assert server.bodies == [b"", b"{}"]


async def test_requests_at_the_same_time_have_connections_of_their_own() -> None:
    server = Server(*[OK] * 9)
    async with client(server) as made:
        answers = await asyncio.gather(*(ask(made) for _ in range(8)))
    assert set(answers) == {(200, b"abc")}
    assert 1 < server.connections <= 4, "and no more than there may be"


async def test_an_answer_that_is_not_wanted_to_its_end_costs_its_connection() -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc"
    server = Server(long, refusal, OK)
    async with client(server) as made:
        for _ in range(2):
            await (await made.send("GET", "/x", {})).close()
        assert await ask(made) == (200, b"abc")
    assert server.connections == 2, "the words of a refusal are read over"


async def test_a_connection_that_was_closed_while_it_idled() -> None:
    server = Server(OK, None, OK, None)
    async with client(server) as made:
        assert await ask(made) == (200, b"abc")
        await asyncio.sleep(0)
        assert await ask(made) == (200, b"abc")
    assert server.connections == 2


async def chunks(*data: bytes) -> AsyncIterator[bytes]:
    for one in data:
        yield one


async def test_bodies_that_are_streamed() -> None:
    server = Server(OK, OK)
    async with client(server) as made:
        assert await ask(made, "POST", "/x", chunks(b"one", b"", b"fourteen bytes")) == (200, b"abc")
    assert server.bodies == [b"3\r\none\r\ne\r\nfourteen bytes\r\n0\r\n\r\n"]


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=5), st.integers(1, 50))
def test_chunked_answers(parts: list[bytes], pieces: int) -> None:
    body = b"".join(b"%X;name=value\r\n%b\r\n" % (len(part), part) for part in parts)
    raw = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = Server(raw + body + b"0\r\nTrailer: x\r\n\r\n", pieces=pieces)

    async def run() -> tuple[int, bytes]:
        async with client(server) as made:
            return await ask(made)

    assert asyncio.run(run()) == (200, b"".join(parts))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 2 * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n\r\nas long as it lasts",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000 + OK,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK,
    ],
)
async def test_what_is_not_believed(raw: bytes) -> None:
    server = Server(raw)
    async with client(server) as made:
        with pytest.raises(OSError) as raised:
            await ask(made)
        assert isinstance(raised.value, Broken | ConnectionError)
        with pytest.raises(OSError):
            await ask(made)  # its slot is free again


async def test_nothing_is_smuggled_into_a_request() -> None:
    async with client(Server()) as made:
        with pytest.raises(ValueError, match="target"):
            await made.send("GET", "/x HTTP/1.1\r\nA: b", {})
        with pytest.raises(ValueError, match="two lines"):
            await made.send("GET", "/x", {"A": "b\r\nC: d"})


async def test_nobody_listens() -> None:
    made = Client("http://127.0.0.1:1", connect_s=5, max_connections=1)
    for _ in range(3):
        with pytest.raises(OSError):
            await made.send("GET", "/x", {})


async def test_bodiless_answers_end_with_their_head() -> None:
    unchanged = b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"
    server = Server(unchanged, OK)
    async with client(server) as made:
        assert await ask(made) == (304, b"")
        assert await ask(made) == (200, b"abc")
    assert server.connections == 1


@pytest.mark.parametrize("takes", [0, 1 << 30], ids=["takes nothing", "takes all"])
async def test_an_upload_that_is_not_taken_or_not_answered_ends(takes: int) -> None:
    connected: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        while takes and await reader.read(takes):
            pass

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64 if takes else 1_000_000):
            yield bytes(65536)

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    made = Client(f"http://127.0.0.1:{port}", connect_s=5, stall_s=0.2, answer_s=0.2, max_connections=1)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await made.send("PUT", "/x", {}, endless())
    listening.close()
    for writer in connected:
        writer.close()


async def test_what_was_not_asked_for_answers_nothing() -> None:
    server = Server(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad", None, OK)
    async with client(server) as made:
        assert await ask(made) == (200, b"abc")
        assert await ask(made) == (200, b"abc")
    assert server.connections == 2


async def test_spaces_in_a_field_take_no_time_by_their_square() -> None:
    spaces = b" " * (MAX_HEAD_BYTES - 200)
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b" + spaces + b"c \t\r\n\r\nabc"
    async with client(Server(raw)) as made, asyncio.timeout(2):
        answer = await made.send("GET", "/x", {})
        assert answer.headers["a"] == f"b{spaces.decode()}c"
        await answer.close()


async def test_an_answer_in_crumbs_lets_others_run() -> None:
    crumbs = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 5000 + b"0\r\n\r\n"
    async with client(Server(crumbs)) as made:
        answer = await made.send("GET", "/x", {})
        turns, most, pending = 0, 0, 0

        def turn() -> None:
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(turn)

        turn()
        before = turns
        async for _ in answer.chunks():
            pending = 0 if turns > before else pending + 1
            before, most = turns, max(most, pending)
        await answer.close()
    assert most < 200


async def test_connections_are_opened_before_they_are_needed() -> None:
    server = Server(*[OK] * 3)
    async with client(server) as made:
        made.have_at_hand(3)
        async with asyncio.timeout(5):
            while made.at_hand < 3:
                await asyncio.sleep(0)
        await asyncio.gather(*(ask(made) for _ in range(3)))
    assert server.connections == 3
