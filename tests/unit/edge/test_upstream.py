"""What an upstream's answers, and its silence, become."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from nearframe.clock import ManualClock
from nearframe.context import Urgency
from nearframe.edge.breaker import FAILURES_TO_OPEN
from nearframe.edge.http1 import RequestBody
from nearframe.edge.line import Transfer
from nearframe.edge.turns import User
from nearframe.edge.upstream import FeedEntry, Timeouts, Upstream, inbound_via
from nearframe.edge.upstream.exchange import READY_CONNECTIONS, READY_S
from nearframe.errors import (
    Gone,
    LoopDetected,
    NearframeError,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from nearframe.metrics import UPSTREAM_BYTES, Metrics
from nearframe.storage.ports import StudyRef
from nearframe.wire.contentstream import Data, Opened, ending, opening
from nearframe.wire.document import compress

STUDY = StudyRef("ward 1", "1.2.3")
ROOT = bytes(32)
Handler = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


def upstream(handler: Handler, **timeouts: float) -> Upstream:
    return Upstream(
        "http://origin",
        node_name="edge-a",
        metrics=Metrics(),
        clock=ManualClock(),
        timeouts=Timeouts(**timeouts),
        rng=random.Random(1),
        requester=Answering(handler),
    )


def zstd(body: bytes) -> httpx.Response:
    return httpx.Response(200, stream=Bytes(body), headers={"content-encoding": "zstd"})


class Answering:
    """Carries requests to a function, as `http1.Requester`."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.at_hand = 0

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: RequestBody = b"") -> Answered:
        request = httpx.Request(method, f"http://origin{target}", headers=dict(headers), content=body)
        answer: Any = self._handler(request)
        return Answered(await answer if inspect.isawaitable(answer) else answer)

    def have_at_hand(self, count: int) -> None:
        self.at_hand = count

    async def until_at_hand(self, count: int) -> None:
        self.have_at_hand(count)

    async def close(self) -> None:
        return


class Answered:
    """An answer of such a function, as `http1.Answer`."""

    took_s = 0.04

    def __init__(self, response: httpx.Response) -> None:
        self.status, self.headers, self._stream = response.status_code, response.headers, response.stream

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        assert isinstance(self._stream, httpx.AsyncByteStream)
        async for chunk in self._stream:
            yield chunk

    async def close(self) -> None:
        return


class Bytes(httpx.AsyncByteStream):
    """A body that is not looked at on its way."""

    def __init__(self, *chunks: bytes, then: BaseException | None = None, stall: bool = False) -> None:
        self._chunks, self._then, self._stall = chunks, then, stall

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._stall:
            await asyncio.Event().wait()
        if self._then is not None:
            raise self._then


async def test_the_feed() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        body = b'{"next": "e:7", "studies": [{"seq": 7, "study": "1.2", "instances": 3}]}'
        return httpx.Response(200, stream=Bytes(body))

    inbound_via.set(("1.1 edge-b",))
    asked = upstream(answer)
    page = await asked.feed("ward 1", "e:4", 20)
    assert (page.entries, page.next) == ((FeedEntry(7, "1.2", 3),), "e:7")
    (request,) = seen
    assert request.url.params["after"] == "e:4"
    assert request.headers["via"] == "1.1 edge-b, 1.1 edge-a"
    assert request.headers["nearframe-tenant"] == "ward 1"
    assert asked.is_reachable
    assert asked._metrics.value(UPSTREAM_BYTES, kind="feed") == 72
    await asked.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"next": 1}',
        b'{"next": 1, "studies": []}',
        b'{"next": "nowhere", "studies": []}',
        b'{"next": "e:1", "studies": [{"seq": "x"}]}',
        b'{"next": "e:1", "studies": [{"seq": 1e999, "study": "1.2", "instances": 1}]}',
        b'{"next": "e:1", "studies": [{"seq": 1, "study": "", "instances": 1}]}',
        b'{"next": "e:1", "studies": [{"seq": 1, "study": "' + b"1." * 70_000 + b'", "instances": 1}]}',
    ],
)
async def test_a_feed_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        await upstream(lambda _: httpx.Response(200, stream=Bytes(body))).feed("main", None, 0)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (410, Gone),
        (500, UpstreamError),
        (503, UpstreamUnavailable),
        (504, UpstreamTimeout),
        (508, LoopDetected),
        (302, UpstreamError),
        (204, UpstreamError),
    ],
)
async def test_what_a_status_means(status: int, error: type[NearframeError]) -> None:
    asked = upstream(lambda _: httpx.Response(status))
    with pytest.raises(error) as raised:
        await asked.manifest(STUDY)
    assert type(raised.value) is error
    assert asked.is_reachable, "it answered"


async def test_nothing_new_is_no_delta() -> None:
    assert await upstream(lambda _: httpx.Response(304)).delta(STUDY, ROOT) is None
    assert await upstream(lambda _: zstd(b"delta")).delta(STUDY, ROOT) == b"delta"


async def test_another_coding_than_was_asked_for() -> None:
    with pytest.raises(UpstreamError, match="coding"):
        await upstream(lambda _: httpx.Response(200, content=b"{}")).manifest(STUDY)


async def test_one_that_cannot_be_reached_is_asked_less_and_less() -> None:
    tries = 0

    def refuse(_: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        raise ConnectionRefusedError("refused")

    asked = upstream(refuse)
    for _ in range(10):
        with pytest.raises(UpstreamUnavailable):
            await asked.manifest(STUDY)
    assert tries == FAILURES_TO_OPEN
    assert not asked.is_reachable


async def test_connections_are_made_ready_where_the_upstream_answers() -> None:
    answering = Answering(lambda _: zstd(b"manifest"))
    clock = ManualClock()
    asked = Upstream("http://o", node_name="a", metrics=Metrics(), clock=clock, requester=answering)
    asked.make_ready()
    assert asked.at_hand == 0, "it was never heard of"
    await asked.manifest(STUDY)
    asked.make_ready()
    assert asked.at_hand == READY_CONNECTIONS
    answering.at_hand = 0
    asked.make_ready()
    assert asked.at_hand == 0, "not at every request"
    clock.advance(READY_S)
    asked.make_ready()
    assert asked.at_hand == READY_CONNECTIONS


async def test_silence_before_the_first_byte_and_after_it() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    asked = upstream(never, first_byte_s=0.01)
    with pytest.raises(UpstreamTimeout):
        await asked.manifest(STUDY)
    half = Bytes(b"x", stall=True)
    asked = upstream(lambda _: httpx.Response(200, stream=half, headers={"content-encoding": "zstd"}), stall_s=0.01)
    with pytest.raises(UpstreamTimeout):
        await asked.manifest(STUDY)
    asked = upstream(lambda _: httpx.Response(200, stream=half, headers={"content-encoding": "zstd"}), total_s=0.01)
    with pytest.raises(UpstreamTimeout):
        await asked.manifest(STUDY)


async def pieces_each_second(piece: bytes, count: int) -> int:
    """Return how many of the pieces of a content come, one a second."""

    class Slowly(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(count):
                asked._clock.advance(1.0)  # type: ignore[attr-defined] # a manual clock
                yield piece

    headers = {"content-length": str(count * len(piece))}
    asked = upstream(lambda _: httpx.Response(200, stream=Slowly(), headers=headers), stall_s=10.0)
    async with transfer(asked) as turn, asked.content(STUDY, ROOT, turn) as (_, chunks):
        return len([chunk async for chunk in chunks])


async def test_an_answer_that_comes_by_drops_ends() -> None:
    with pytest.raises(UpstreamTimeout, match="next to nothing"):
        await pieces_each_second(b"x", 64)
    assert await pieces_each_second(b"x", 20) == 20, "what is short may end"


async def test_an_answer_over_a_very_thin_line_does_not() -> None:
    assert await pieces_each_second(b"x" * 100, 200) == 200


async def test_one_that_goes_away_in_the_middle() -> None:
    cut = Bytes(b"x", then=ConnectionResetError("reset"))
    asked = upstream(lambda _: httpx.Response(200, stream=cut, headers={"content-encoding": "zstd"}))
    with pytest.raises(UpstreamUnavailable):
        await asked.manifest(STUDY)


async def test_headers_come_one_by_one() -> None:
    stream = b"\x03\0\0\0one\x03\0\0\0two"
    async with upstream(lambda _: zstd(compress(stream))).headers(STUDY, ROOT, ((0, 2),)) as blobs:
        assert [blob async for blob in blobs] == [b"one", b"two"]


@pytest.mark.parametrize("body", [b"no zstd", compress(b"\x03\0\0\0on"), compress(b"\xff\xff\xff\xff")])
async def test_headers_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        async with upstream(lambda _: zstd(body)).headers(STUDY, ROOT, ((0, 1),)) as blobs:
            async for _ in blobs:
                pass


async def test_contents_come_as_events() -> None:
    digest = b"d" * 32
    body = Bytes(opening(digest, 3) + b"ab", b"c" + ending(1))
    asked = upstream(lambda _: httpx.Response(200, stream=body))
    async with transfer(asked) as turn, asked.contents(STUDY, [digest], 10, turn) as events:
        assert [event async for event in events] == [Opened(digest, 3), Data(b"ab", False), Data(b"c", True)]


async def test_contents_that_are_cut() -> None:
    body = Bytes(opening(b"d" * 32, 3) + b"ab")
    asked = upstream(lambda _: httpx.Response(200, stream=body))
    with pytest.raises(UpstreamError):
        async with transfer(asked) as turn, asked.contents(STUDY, [b"d" * 32], 10, turn) as events:
            async for _ in events:
                pass


@asynccontextmanager
async def transfer(asked: Upstream) -> AsyncIterator[Transfer]:
    wanted = asked.line.transfer(User.READER, Urgency.ROUTINE, 3)
    async with wanted.turn():
        yield wanted


async def content(answer: Handler, start: int = 0, stop: int | None = None) -> tuple[int, bytes]:
    """Ask for a range of a content; return the length of the whole and what came."""
    asked = upstream(answer)
    async with transfer(asked) as turn, asked.content(STUDY, b"d" * 32, turn, start, stop) as (length, chunks):
        return length, b"".join([chunk async for chunk in chunks])


async def test_a_content_and_ranges_of_it() -> None:
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        if "range" not in request.headers:
            return httpx.Response(200, stream=Bytes(b"abc", b"def"), headers={"content-length": "6"})
        return httpx.Response(206, stream=Bytes(b"cd"), headers={"content-range": "bytes 2-3/6"})

    assert await content(answer) == (6, b"abcdef")
    assert await content(answer, 2, 4) == (6, b"cd")
    assert seen[1]["range"] == "bytes=2-3"
    assert seen[1]["if-range"] == f'"{(b"d" * 32).hex()}"'
    assert (await content(answer, 2))[1] == b"cd"
    assert seen[2]["range"] == "bytes=2-"


@pytest.mark.parametrize(("start", "stop", "part"), [(4, None, b"ef"), (2, 4, b"cd"), (0, 2, b"ab"), (3, 6, b"def")])
async def test_an_upstream_that_does_not_know_ranges(start: int, stop: int | None, part: bytes) -> None:
    whole = Bytes(b"abc", b"def")
    answered = await content(lambda _: httpx.Response(200, stream=whole, headers={"content-length": "6"}), start, stop)
    assert answered == (6, part)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {}),
        (200, {"content-length": "six"}),
        (206, {}),
        (206, {"content-range": "bytes */6"}),
        (206, {"content-range": "bytes 1-3/6"}),
    ],
)
async def test_an_extent_that_cannot_be_right(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(UpstreamError):
        await content(lambda _: httpx.Response(status, stream=Bytes(b"abc"), headers=headers), 2, 4)
