"""One exchange with another node: what it may cost, what its failure means, what came over the line.

Every request names what it may cost: time to connect, to the first byte, between two bytes,
and in all; bodies are bounded. Bytes are counted by kind as they come over the line.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from nearframe.clock import Clock
from nearframe.edge.breaker import Breaker
from nearframe.edge.http1 import Answer, Client, RequestBody, Requester
from nearframe.edge.line import Line, Transfer
from nearframe.errors import (
    Gone,
    LoopDetected,
    NearframeError,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from nearframe.metrics import UPSTREAM_BYTES, UPSTREAM_ITEMS, Metrics
from nearframe.wire.via import with_via

TENANT_HEADER: Final = "Nearframe-Tenant"
MAX_CONNECTIONS: Final = 40  # what may be open on the line at once, the feed, and stores that pass through
#: What a picture that somebody waits for is divided among (`strands`), and as many that what is fetched ahead
#: or exported has in use: fewer strands would be longer ones, which a connection just opened carries in two
#: round trips instead of one.
READY_CONNECTIONS: Final = 16
#: Answers that break off at once tell of one cut of the line: a picture comes over eight connections.
TOGETHER_S: Final = 0.05
#: Least bytes of an answer in so many stalls' time of waiting for them: the thinnest of lines brings more.
_TRICKLE_BYTES: Final = 1024
_TRICKLE_STALLS: Final = 3
READY_S: Final = 1.0  # between two looks whether they are there still

#: ``Via`` of the request on whose behalf this one is made, so that a loop is found wherever it closes.
inbound_via: ContextVar[tuple[str, ...]] = ContextVar("inbound_via", default=())


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect; to the first byte of an answer; between two of its bytes; in all.

    `recorded_s`: to the answer to an offer, which records up to some hundred instances first;
    `archive_s`: to the first byte of an archive that is none of ours, which may search for long;
    `taken_s`: to the answer to a stream, after its end: contents that are made durable first, or a store;
    `probe_s`: to the answer to the question whether it is well.
    """

    connect_s: float = 2.0
    first_byte_s: float = 10.0
    stall_s: float = 10.0
    total_s: float = 3600.0
    recorded_s: float = 120.0
    archive_s: float = 60.0
    taken_s: float = 600.0
    probe_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose head has come, and the transfer that counts its bytes; the feed has none, it is held."""

    response: Answer
    transfer: Transfer | None

    @property
    def status(self) -> int:
        return self.response.status


class Exchanges:
    """Makes requests to one node. For one event loop.

    Parameters
    ----------
    url
        Base URL, without a slash at the end.
    node_name
        Who we are in ``Via``.
    ca
        PEM file of the authority that signed the upstream's certificate; None for the system's.
    rank
        Its place among the upstreams, the first to be asked being 0.
    line
        What its requests share; None for a line of its own.
    requester
        What carries requests; None for sockets.
    """

    def __init__(
        self,
        url: str,
        *,
        node_name: str,
        metrics: Metrics,
        clock: Clock,
        timeouts: Timeouts | None = None,
        ca: str | None = None,
        rng: random.Random | None = None,
        rank: int = 0,
        line: Line | None = None,
        requester: Requester | None = None,
    ) -> None:
        self.url = url
        self.rank = rank
        #: What went wrong last, for people; empty if nothing did.
        self.last_error = ""
        self.timeouts = timeouts or Timeouts()
        self.breaker = Breaker(clock, rng or random.Random())
        self.line = line or Line(clock, metrics)
        self._clock = clock
        self._node_name = node_name
        self._metrics = metrics
        self._contact: float | None = None
        self._ready_until = 0.0
        self._broke_at = float("-inf")
        self._requester = requester or Client(
            url,
            connect_s=self.timeouts.connect_s,
            stall_s=self.timeouts.stall_s,
            answer_s=self.timeouts.taken_s,
            max_connections=MAX_CONNECTIONS,
            ca=ca,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._requester.close()

    @property
    def last_contact_s(self) -> float | None:
        """Seconds since the upstream last answered, or None before it ever did."""
        return None if self._contact is None else self._clock.monotonic() - self._contact

    @property
    def shown_url(self) -> str:
        """Its URL for people, without what may be a password."""
        return re.sub(r"//[^/]*@", "//", self.url)

    @property
    def is_reachable(self) -> bool:
        return self._contact is not None and not self.breaker.is_open

    @property
    def at_hand(self) -> int:
        """How many connections stand open that are not in use."""
        return self._requester.at_hand

    def make_ready(self) -> None:
        """Somebody is at work here: have connections at hand for what they ask for next."""
        now = self._clock.monotonic()
        if now >= self._ready_until and self.is_reachable:
            self._ready_until = now + READY_S
            self._requester.have_at_hand(READY_CONNECTIONS)

    async def connected(self, count: int) -> None:
        """Return when so many connections stand open, or no more can be had; the next request says why."""
        if not self.breaker.is_open:
            await self._requester.until_at_hand(count)

    @asynccontextmanager
    async def asked(
        self,
        method: str,
        path: str,
        tenant: str,
        *,
        transfer: Transfer | None = None,
        headers: Mapping[str, str] | None = None,
        coding: str = "identity",
        first_byte_s: float | None = None,
        body: RequestBody = b"",
    ) -> AsyncIterator[Opened]:
        """Open an answer that is a success, or raise what its status means."""
        headers = {TENANT_HEADER: tenant, "Accept-Encoding": coding, **(headers or {})}
        patience_s = first_byte_s or self.timeouts.first_byte_s
        async with self.exchange(
            method, path, headers=headers, first_byte_s=patience_s, transfer=transfer, body=body
        ) as answer:
            try:
                raise_for_status(answer.status)
            except (UpstreamError, LoopDetected) as error:
                self.last_error = str(error)
                raise
            came_in = answer.response.headers.get("content-encoding", "identity")
            if came_in != coding and answer.status != HTTPStatus.NOT_MODIFIED:
                raise UpstreamError("the upstream answers in another coding than was asked for")
            yield answer

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        target: str,
        *,
        headers: dict[str, str],
        first_byte_s: float | None,
        transfer: Transfer | None = None,
        body: RequestBody = b"",
    ) -> AsyncIterator[Opened]:
        """Open whatever the node answers.

        Raises
        ------
        UpstreamUnavailable, UpstreamTimeout
            If it does not, or does not within `first_byte_s`; None waits as long as the whole may take.
        """
        self.breaker.check()
        headers = headers | {"Via": with_via(inbound_via.get(), self._node_name)}
        try:
            async with asyncio.timeout(self.timeouts.total_s):
                if transfer is not None:
                    transfer.asked()
                async with asyncio.timeout(first_byte_s):
                    with self._broken_line():
                        response = await self._requester.send(method, target, headers, body)
                self._answered()
                if transfer is not None:
                    transfer.answered(response.took_s)
                try:
                    yield Opened(response, transfer)
                finally:
                    await response.close()
        except TimeoutError as error:
            raise self._failed(UpstreamTimeout("the upstream did not answer in time")) from error

    @contextmanager
    def _broken_line(self, *, in_body: bool = False) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise
        except OSError as error:
            unavailable = UpstreamUnavailable(
                f"the upstream cannot be reached, or went away in the middle: {error.strerror or error}"
            )
            was_counted = in_body and self._clock.monotonic() - self._broke_at < TOGETHER_S
            if in_body:
                self._broke_at = self._clock.monotonic()
            raise (unavailable if was_counted else self._failed(unavailable)) from error

    def _failed(self, error: NearframeError) -> NearframeError:
        self.breaker.failed()
        self.last_error = str(error)
        return error

    def _answered(self) -> None:
        self._contact = self._clock.monotonic()
        self.breaker.succeeded()

    async def chunks(self, answer: Opened, kind: str) -> AsyncGenerator[bytes, None]:
        """Yield an answer's body, counted as `kind`."""
        now, stall_s = self._clock.monotonic, self.timeouts.stall_s
        trickle = _Trickle(_TRICKLE_STALLS * stall_s)
        counted = self._metrics.counter(UPSTREAM_BYTES, kind=kind)
        async with aclosing(answer.response.chunks()) as chunks:
            while True:
                asked_at = now()
                async with asyncio.timeout(stall_s):
                    with self._broken_line(in_body=True):
                        chunk = await anext(chunks, None)
                if chunk is None:
                    return
                if trickle.is_all_there_is(now() - asked_at, len(chunk)):
                    raise self._failed(UpstreamTimeout("the upstream sends next to nothing"))
                counted.inc(len(chunk))
                if answer.transfer is not None:
                    answer.transfer.moved(len(chunk))
                yield chunk

    async def read(self, answer: Opened, kind: str, items: int, limit: int) -> bytes:
        """Return an answer's body, counted as `items` of a `kind`; raises `UpstreamError` beyond a limit of bytes."""
        body = bytearray()
        async for chunk in self.chunks(answer, kind):
            body += chunk
            if len(body) > limit:
                raise UpstreamError("the upstream's answer is longer than any should be")
        self._metrics.add(UPSTREAM_ITEMS, items, kind=kind)
        return bytes(body)


class _Trickle:
    """Tells an answer that comes by drops, each just in time, from one that waits for its turn here."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._waited_s = 0.0
        self._came = 0

    def is_all_there_is(self, waited_s: float, came: int) -> bool:
        """Count what came; return whether it is less than any line would bring in the time waited for it."""
        self._waited_s += waited_s
        self._came += came
        if self._waited_s < self._patience_s:
            return False
        is_trickle = self._came < _TRICKLE_BYTES
        self._waited_s, self._came = 0.0, 0
        return is_trickle


def raise_for_status(status: int) -> None:
    """Raise what a node's status means, unless it is a success."""
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED):
        return
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound("thing upstream")
    if status == HTTPStatus.GONE:
        raise Gone("the upstream's change feed began anew")
    if status == LoopDetected.http_status:
        raise LoopDetected("upstream leads back to this node: correct the upstream of one of them")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise UpstreamError(f"the upstream answered {status}: it does not let this node in")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise UpstreamUnavailable("the upstream is busy, or its own upstream is away")
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        raise UpstreamTimeout("the upstream's own upstream did not answer in time")
    raise UpstreamError(f"the upstream answered {status}")
