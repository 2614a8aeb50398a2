"""What the listener promises to applications, over both protocols and real sockets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from nearframe.config import Settings
from nearframe.listener import LEAVING, ClientGone, Listener, TLSFiles, serve
from nearframe.listener.devtls import DevelopmentTLS, ensure
from nearframe.listener.testing import running
from nearframe.metrics import HTTP_CUT, HTTP_REQUESTS, Metrics
from nearframe.settingkinds import Address
from tests.integration.listener.http2client import HTTP2Client

MIB = 1 << 20


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


@pytest.fixture(scope="session")
def development_tls(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentTLS:
    return ensure(tmp_path_factory.mktemp("tls"), datetime.now(UTC))


@pytest.fixture(params=["http/1.1", "http/1.1 tls", "http/2"])
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def tls(protocol: str, development_tls: DevelopmentTLS) -> TLSFiles | None:
    return None if protocol == "http/1.1" else development_tls.files


@pytest.fixture
async def client(protocol: str, development_tls: DevelopmentTLS) -> AsyncIterator[httpx.AsyncClient]:
    trust = ssl.create_default_context(cafile=development_tls.authority)
    async with httpx.AsyncClient(http2=protocol == "http/2", verify=trust, timeout=10) as client:
        yield client


async def small(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(start((b"content-length", b"4")))
    await send(body(b"data"))


async def test_get(client: httpx.AsyncClient, tls: TLSFiles | None, protocol: str) -> None:
    metrics = Metrics()
    async with running(small, tls=tls, metrics=metrics) as url:
        answer = await client.get(url)
    assert answer.content == b"data"
    assert answer.http_version.lower() == protocol.removesuffix(" tls")
    assert metrics.value(HTTP_REQUESTS, status="2xx") == 1


async def test_head_has_length_and_no_body(client: httpx.AsyncClient, tls: TLSFiles | None) -> None:
    async with running(small, tls=tls) as url:
        answer = await client.head(url)
        assert (answer.headers["content-length"], answer.content) == ("4", b"")
        assert (await client.get(url)).content == b"data"


async def test_an_upload_is_handed_out_as_it_comes(client: httpx.AsyncClient, tls: TLSFiles | None) -> None:
    """The server holds back a client that sends faster than we take: at most a few messages wait."""
    sent_mib = 0
    behind: list[int] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        received = 0
        while True:
            message = await receive()
            received += len(message["body"])
            behind.append(sent_mib - received // MIB)
            if not message["more_body"]:
                break
            if received < 4 * MIB:
                await asyncio.sleep(0.01)
        await send(start())
        await send(body(b"%d" % received))

    async def upload() -> AsyncIterator[bytes]:
        nonlocal sent_mib
        for _ in range(32):
            yield bytes(MIB)
            sent_mib += 1

    async with running(app, tls=tls) as url:
        answer = await client.post(url, content=upload())
    assert answer.content == b"%d" % (32 * MIB)
    assert max(behind) < 16


@pytest.mark.parametrize("how", ["reset", "abort"])
async def test_a_cut_upload_ends_in_a_disconnect(
    client: httpx.AsyncClient, tls: TLSFiles | None, protocol: str, how: str
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            assert message["more_body"], "a cut upload passed for a whole one"
            begun.set()
        ended.set()

    class Broken(Exception):
        pass

    async def upload() -> AsyncIterator[bytes]:
        yield bytes(1000)
        await begun.wait()
        raise Broken

    async with running(app, tls=tls) as url:
        if protocol == "http/2":
            async with HTTP2Client.connect(url) as peer:
                await peer.post("/", bytes(1000))
                await begun.wait()
                if how == "reset":
                    await peer.reset()
                    await asyncio.wait_for(ended.wait(), 5)
        elif how == "abort":
            with pytest.raises(Broken):
                await client.post(url, content=upload())
        else:
            pytest.skip("HTTP/1.1 has no other way to cut")
        await asyncio.wait_for(ended.wait(), 5)


async def test_an_upload_without_length_arrives(client: httpx.AsyncClient, tls: TLSFiles | None) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        data = b""
        while True:
            message = await receive()
            data += message["body"]
            if not message["more_body"]:
                break
        await send(start())
        await send(body(data))

    async def upload() -> AsyncIterator[bytes]:
        yield b"to"
        yield b"gether"

    async with running(app, tls=tls) as url:
        assert (await client.post(url, content=upload())).content == b"together"
        assert (await client.post(url, content=b"whole")).content == b"whole"
        assert (await client.post(url)).content == b""


@pytest.mark.parametrize("finish", ["return", "raise", "cancel"])
@pytest.mark.parametrize("declared", [True, False], ids=["length", "chunked"])
async def test_an_unfinished_answer_is_an_error_at_the_client(
    client: httpx.AsyncClient, tls: TLSFiles | None, finish: str, declared: bool
) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start(*([(b"content-length", b"100")] if declared else [])))
        await send(body(b"x" * 50, more=True))
        if finish == "raise":
            raise ValueError
        if finish == "cancel":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)

    async with running(app, tls=tls) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url)


class Flood:
    """An application that sends without end, and tells how far it came and how it ended."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.waiting = asyncio.Event()
        self.ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send(start())
            while True:
                sending = asyncio.ensure_future(send(body(bytes(MIB // 4), more=True)))
                done, _ = await asyncio.wait([sending], timeout=0.3)
                if not done:
                    self.waiting.set()
                await sending
                self.sent_bytes += MIB // 4
        except BaseException as error:
            self.ended.set_result(error)
            raise


async def test_a_slow_reader_holds_the_application_back_and_its_going_is_seen(
    client: httpx.AsyncClient, tls: TLSFiles | None, protocol: str
) -> None:
    flood, metrics = Flood(), Metrics()
    async with running(flood, tls=tls, metrics=metrics) as url:
        if protocol == "http/2":
            # httpx does not reset a stream that is closed early.
            async with HTTP2Client.connect(url) as peer:
                await peer.get("/")
                await flood.waiting.wait()
                held_bytes = flood.sent_bytes
                await peer.reset()
                await asyncio.wait([flood.ended], timeout=5)
        else:
            async with client.stream("GET", url) as answer:
                parts = answer.aiter_raw()  # kept: a collected iterator closes the stream
                await anext(parts)
                await flood.waiting.wait()
                held_bytes = flood.sent_bytes
        assert isinstance(await asyncio.wait_for(flood.ended, 5), ClientGone)
    assert held_bytes < 32 * MIB
    assert metrics.value(HTTP_CUT) == 1


async def test_a_vanished_connection_is_seen(tls: TLSFiles | None, protocol: str) -> None:
    if protocol != "http/2":
        pytest.skip("closing a stream closes the connection: tested above")
    flood = Flood()
    async with running(flood, tls=tls) as url:
        async with HTTP2Client.connect(url) as peer:
            await peer.get("/")
            await flood.waiting.wait()
        assert isinstance(await asyncio.wait_for(flood.ended, 5), ClientGone)


async def test_stop_lets_a_running_request_finish(
    client: httpx.AsyncClient, tls: TLSFiles | None, protocol: str
) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.set()
        await go.wait()
        await small(scope, receive, send)

    async def ask() -> bytes:
        if protocol != "http/2":
            return (await client.get(listener.url)).content
        # httpx takes the announcement that the server will stop for an error.
        async with HTTP2Client.connect(listener.url) as peer:
            await peer.get("/")
            return await peer.read_raw_until(b"data")

    listener = Listener(app, Address("127.0.0.1", 0), metrics=Metrics(), tls=tls)
    await listener.start()
    asking = asyncio.ensure_future(ask())
    await asked.wait()
    stopping = asyncio.ensure_future(listener.stop())
    await asyncio.sleep(0)
    go.set()
    assert await asking == b"data"
    await client.aclose()
    await asyncio.wait_for(stopping, 5)


async def test_stop_cuts_what_outlasts_the_grace(client: httpx.AsyncClient, tls: TLSFiles | None) -> None:
    flood = Flood()
    listener = Listener(flood, Address("127.0.0.1", 0), metrics=Metrics(), tls=tls)
    await listener.start()
    async with client.stream("GET", listener.url) as answer:
        parts = answer.aiter_raw()
        await anext(parts)
        await asyncio.wait_for(listener.stop(grace_s=0.1), 5)
    assert isinstance(await flood.ended, asyncio.CancelledError)


async def test_silent_connections_do_not_hold_up_the_stop(tls: TLSFiles | None) -> None:
    listener = Listener(small, Address("127.0.0.1", 0), metrics=Metrics(), tls=tls)
    await listener.start()
    _, writer = await asyncio.open_connection(listener.address.host, listener.address.port)
    await asyncio.wait_for(listener.stop(grace_s=5), 2)
    writer.close()


async def test_two_listeners_share_a_loop(client: httpx.AsyncClient) -> None:
    async with running(small) as one, running(small) as other:
        assert one != other
        assert (await client.get(one)).content == (await client.get(other)).content == b"data"


async def test_serve_announces_and_stops() -> None:
    stop, urls = asyncio.Event(), asyncio.Queue[str]()
    settings = Settings(insecure=True, http=Address("127.0.0.1", 0))
    serving = asyncio.ensure_future(serve(small, settings, Metrics(), ready=urls.put_nowait, stop=stop))
    url = await urls.get()
    async with httpx.AsyncClient() as client:
        assert (await client.get(url)).status_code == 200
        assert (await client.get(url, headers={"Host": "rebound.example"})).status_code == 421
    stop.set()
    await asyncio.wait_for(serving, 5)


def resources() -> dict[str, int]:
    return {kind: len(list(Path("/proc/self", kind).iterdir())) for kind in ("fd", "task")}


async def test_fifty_rounds_leave_nothing_behind(client: httpx.AsyncClient, tls: TLSFiles | None) -> None:
    async def round_() -> None:
        async with running(small, tls=tls) as url, httpx.AsyncClient(verify=client_trust) as once:
            await once.get(url)

    client_trust: Any = ssl.create_default_context()
    client_trust.check_hostname, client_trust.verify_mode = False, ssl.CERT_NONE
    await round_()
    before = resources()
    for _ in range(50):
        await round_()
    after = resources()
    assert after["fd"] <= before["fd"] + 2
    assert after["task"] <= before["task"] + 2


async def test_a_node_that_is_about_to_stop_answers_and_asks_to_go_elsewhere(
    protocol: str, client: httpx.AsyncClient, tls: TLSFiles | None
) -> None:
    left: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        left.append(scope[LEAVING].is_set())
        await small(scope, receive, send)

    listener = Listener(app, Address("127.0.0.1", 0), metrics=Metrics(), tls=tls)
    await listener.start()
    url = listener.url.replace("127.0.0.1", "localhost")
    assert "connection" not in (await client.get(url)).headers
    draining = asyncio.ensure_future(listener.drain(30))
    await asyncio.sleep(0)
    asked = await client.get(url)
    assert asked.text == "data"
    assert asked.headers.get("connection") == (None if protocol == "http/2" else "close")
    assert left == [False, True]
    draining.cancel()
    await listener.stop()
