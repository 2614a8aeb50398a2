"""The exchange alone: a playbook of messages, no sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from nearframe.listener import ClientGone
from nearframe.listener.exchange import Exchange, host_without_port
from nearframe.metrics import (
    HTTP_CUT,
    HTTP_IN_FLIGHT,
    HTTP_REQUEST_BYTES,
    HTTP_REQUESTS,
    HTTP_RESPONSE_BYTES,
    HTTP_SECONDS,
    Metrics,
)

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}


def body(data: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


class Client:
    """What the server would do: hands out messages, keeps what was sent."""

    def __init__(self, incoming: Sequence[Message] = ()) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        for message in incoming or [{"type": "http.request", "body": b"", "more_body": False}]:
            self.incoming.put_nowait(message)
        self.sent: list[Message] = []

    def leave(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def ask(app: Any, client: Client, method: str = "GET", host: str = "localhost:1", **options: Any) -> Metrics:
    metrics = Metrics()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "headers": [(b"host", host.encode())],
        "state": {},
    }
    await Exchange(app, metrics, **options)(scope, client.incoming.get, client.send)
    assert metrics.value(HTTP_IN_FLIGHT) == 0
    return metrics


async def small(scope: Scope, _receive: Receive, send: Send) -> None:
    scope.setdefault("state", {})["route"] = "small"
    await send(START)
    await send(body(b"data"))


async def test_answer_passes_and_is_counted() -> None:
    client = Client()
    metrics = await ask(small, client)
    assert client.sent == [START, body(b"data")]
    assert metrics.value(HTTP_REQUESTS, route="small", status="2xx") == 1
    assert metrics.value(HTTP_RESPONSE_BYTES, route="small") == 4
    assert metrics.value(HTTP_SECONDS, route="small") == 1
    assert metrics.value(HTTP_CUT) == 0


async def test_head_gets_the_headers_only() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"da", more=True))
        await send(body(b"ta"))

    client = Client()
    metrics = await ask(app, client, method="HEAD")
    assert client.sent == [START, {"type": "http.response.body", "body": b""}]
    assert metrics.value(HTTP_RESPONSE_BYTES) == metrics.value(HTTP_CUT) == 0


async def test_uploaded_bytes_are_counted() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        await small(scope, receive, send)

    client = Client([{"type": "http.request", "body": b"abc", "more_body": more} for more in (True, False)])
    assert (await ask(app, client)).value(HTTP_REQUEST_BYTES, route="small") == 6


async def test_fewer_bytes_than_declared_are_a_disconnect() -> None:
    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        assert (await receive())["more_body"]
        assert await receive() == {"type": "http.disconnect"}

    client = Client([{"type": "http.request", "body": b"abc", "more_body": more} for more in (True, False)])
    scope = {"type": "http", "http_version": "2", "method": "POST", "headers": [(b"content-length", b"7")]}
    await Exchange(app, Metrics())(scope, client.incoming.get, client.send)
    assert not client.sent


async def test_sending_to_a_client_that_has_gone_raises() -> None:
    raised: list[bool] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"d", more=True))
        client.leave()
        while not client.incoming.empty():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            await send(body(b"ata"))
        except ClientGone:
            raised.append(True)
            raise

    client = Client()
    metrics = await ask(app, client)
    assert raised == [True]
    assert client.sent == [START, body(b"d", more=True)]
    assert metrics.value(HTTP_CUT) == 1


async def test_the_application_may_wait_for_the_end_itself() -> None:
    """Starlette's StreamingResponse does so while it sends."""

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"d", more=True))
        client.leave()
        assert await receive() == {"type": "http.disconnect"}
        with pytest.raises(ClientGone):
            await send(body(b""))

    client = Client()
    await ask(app, client)


async def test_failure_before_the_answer_is_a_plain_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError("with a value")

    client = Client()
    with caplog.at_level(logging.ERROR):
        metrics = await ask(app, client)
    assert client.sent[0]["status"] == 500
    assert b"value" not in client.sent[1]["body"]
    assert metrics.value(HTTP_REQUESTS, status="5xx") == 1
    assert [record.message for record in caplog.records] == ["request_failed"]


async def test_failure_half_way_leaves_the_answer_unfinished() -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(body(b"d", more=True))
        raise ValueError

    client = Client()
    metrics = await ask(app, client)
    assert client.sent == [START, body(b"d", more=True)]
    assert metrics.value(HTTP_CUT) == 1


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:8042", 200), ("LOCALHOST", 200), ("[::1]:8042", 200), ("evil.example:8042", 421)]
)
async def test_other_host_names_are_refused(host: str, status: int) -> None:
    client = Client()
    await ask(small, client, host=host, hosts=["localhost", "::1"])
    assert client.sent[0]["status"] == status


@pytest.mark.parametrize("hosts", [[], [b"localhost", b"evil.example"], [b"localhost", b"localhost"]])
async def test_a_request_that_does_not_name_one_host_is_refused(hosts: list[bytes]) -> None:
    client = Client()
    scope = {"type": "http", "method": "GET", "headers": [(b"host", host) for host in hosts]}
    await Exchange(small, Metrics(), ["localhost"])(scope, client.incoming.get, client.send)
    assert client.sent[0]["status"] == 421


async def test_cancelling_what_runs() -> None:
    waiting = asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        waiting.set()
        await asyncio.Event().wait()

    client = Client()
    exchange = Exchange(app, Metrics())
    scope = {"type": "http", "method": "GET", "headers": []}
    task = asyncio.create_task(exchange(scope, client.incoming.get, client.send))
    await waiting.wait()
    assert await exchange.cancel_running() == 1
    assert task.done()
    assert await exchange.cancel_running() == 0


@pytest.mark.parametrize(("given", "host"), [("A.b:80", "a.b"), ("a", "a"), ("[::1]:80", "::1"), ("[::1]", "::1")])
def test_host_without_port(given: str, host: str) -> None:
    assert host_without_port(given) == host
