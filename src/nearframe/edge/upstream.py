"""The node an edge follows and fetches from, over HTTP.

Every call names what it may cost: time to connect, to the first byte, between two bytes,
and in all; bodies are bounded. Bytes are counted by kind as they come over the line.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import zstandard

from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.edge.breaker import Breaker
from nearframe.edge.http1 import Answer, Client, RequestBody, Requester
from nearframe.edge.line import Line, Transfer
from nearframe.edge.turns import Direction, User
from nearframe.errors import (
    ConfigurationError,
    Gone,
    LimitExceeded,
    LoopDetected,
    MalformedRequest,
    NotFound,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from nearframe.ids import Digest
from nearframe.metrics import UPSTREAM_BYTES, UPSTREAM_ITEMS, Metrics
from nearframe.query.urgency import read_given
from nearframe.storage.ports import ContentKind, FeedCursor, GivenUrgency, StudyRef
from nearframe.sync.asked import MAX_UID_CHARS
from nearframe.sync.directory import Listed, read_listed
from nearframe.units import KIB, MIB
from nearframe.wire import contentstream, headerstream
from nearframe.wire.delta import Runs
from nearframe.wire.document import MAX_DOCUMENT_BYTES, load_json
from nearframe.wire.offer import Offer, OfferAnswer, encode_offer, read_answer
from nearframe.wire.via import with_via

TENANT_HEADER = "Nearframe-Tenant"
MAX_CONNECTIONS = 40  # what may be open on the line at once, the feed, and stores that pass through
#: What a picture that somebody waits for is divided among (`strands`).
READY_CONNECTIONS = 8
READY_S = 1.0  # between two looks whether they are there still
#: Compressed headers are opened in slices of this size, so that no chunk grows beyond bounds.
_SLICE_BYTES = 4 * KIB
_MAX_HEADER_BYTES = 64 * MIB
#: What a manifest, a delta or some headers weigh, as far as anybody knows before they come.
_PULL_BYTES = 32 * KIB
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19})")
_LENGTH = re.compile(r"[0-9]{1,19}")
_LEVEL = 9  # of compression: a header of a series costs some 100 bytes

#: ``Via`` of the request on whose behalf this one is made, so that a loop is found wherever it closes.
inbound_via: ContextVar[tuple[str, ...]] = ContextVar("inbound_via", default=())


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect; to the first byte of an answer; between two of its bytes; in all.

    `recorded_s`: to the answer to an offer, which records up to some hundred instances first.
    """

    connect_s: float = 2.0
    first_byte_s: float = 10.0
    stall_s: float = 10.0
    total_s: float = 3600.0
    recorded_s: float = 120.0


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A study that changed upstream."""

    seq: int
    study_instance_uid: str
    instances: int
    #: The class of urgency that the upstream gives it.
    given: GivenUrgency | None = None


@dataclass(frozen=True, slots=True)
class FeedAnswer:
    """Changes, in order, and the cursor after them."""

    entries: tuple[FeedEntry, ...]
    next: str


class Upstream:
    """Asks the upstream. For one event loop.

    Parameters
    ----------
    url
        Base URL, without a slash at the end.
    node_name
        Who we are in ``Via``.
    ca
        PEM file of the authority that signed the upstream's certificate; None for the system's.
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
        line: Line | None = None,
        requester: Requester | None = None,
    ) -> None:
        self.url = url
        self.timeouts = timeouts or Timeouts()
        self.breaker = Breaker(clock, rng or random.Random())
        self.line = line or Line(clock, metrics)
        self._clock = clock
        self._node_name = node_name
        self._metrics = metrics
        self._contact: float | None = None
        self._ready_until = 0.0
        self._requester = requester or Client(
            url, connect_s=self.timeouts.connect_s, max_connections=MAX_CONNECTIONS, ca=ca
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._requester.close()

    @property
    def last_contact_s(self) -> float | None:
        """Seconds since the upstream last answered, or None before it ever did."""
        return None if self._contact is None else self._clock.monotonic() - self._contact

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

    # -- how studies stand -----------------------------------------------------------------

    async def feed(self, tenant: str, after: str | None, wait_s: int) -> FeedAnswer:
        """Return the changes after a cursor; the upstream holds the request for `wait_s` while there are none.

        Raises
        ------
        Gone
            If the cursor is of another epoch.
        UpstreamError
        """
        params = {"wait": str(wait_s)} | ({} if after is None else {"after": after})
        patience_s = wait_s + self.timeouts.first_byte_s
        target = f"/api/feed?{urlencode(params)}"
        async with self._asked("GET", target, tenant, first_byte_s=patience_s) as answer:
            body = await self._read(answer, "feed", 1, MAX_DOCUMENT_BYTES)
        try:
            page = load_json(body)
            # Kept and sent back: what the upstream would not take again must not become our place in its feed.
            after = str(FeedCursor.parse(page["next"]))
            return FeedAnswer(tuple(_feed_entry(entry) for entry in page["studies"]), after)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, MalformedRequest) as error:
            raise UpstreamError("the upstream's change feed cannot be read") from error

    async def announce(self, tenant: str, node: Listed | None) -> list[Listed]:
        """Say where clients find this edge, if they may; return which nodes the upstream knows.

        Raises
        ------
        NotFound
            If the upstream keeps no list.
        UpstreamError
        """
        body = json.dumps({} if node is None else node.as_json()).encode()
        headers = {"Content-Type": "application/json"}
        async with self._asked("POST", "/api/edges", tenant, headers=headers, body=body) as answer:
            found = await self._read(answer, "list", 1, MAX_DOCUMENT_BYTES)
        try:
            return [read_listed(one) for one in load_json(found)["nodes"]]
        except (KeyError, TypeError, MalformedRequest) as error:
            raise UpstreamError("the upstream's list of nodes cannot be read") from error

    async def manifest(self, study: StudyRef) -> bytes:
        """Return the encoded manifest of a study; raises `NotFound` if it is not there."""
        async with self._pulled("GET", study, "manifest") as answer:
            return await self._read(answer, "manifest", 1, MAX_DOCUMENT_BYTES)

    async def delta(self, study: StudyRef, root: Digest) -> bytes | None:
        """Return the encoded delta from a root, or None if it is the current one.

        Raises
        ------
        NotFound
            If there is no delta from it: take the manifest.
        """
        async with self._pulled("GET", study, f"delta?from={root.hex()}") as answer:
            if answer.status == HTTPStatus.NOT_MODIFIED:
                return None
            return await self._read(answer, "delta", 1, MAX_DOCUMENT_BYTES)

    async def renditions(self, study: StudyRef, urgency: Urgency) -> bytes:
        """Return the encoded list of the renditions there are by now."""
        async with self._pulled("GET", study, "renditions", urgency=urgency) as answer:
            return await self._read(answer, "renditions", 1, MAX_DOCUMENT_BYTES)

    # -- contents --------------------------------------------------------------------------

    @asynccontextmanager
    async def headers(self, study: StudyRef, root: Digest, at: Runs) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the headers of instances of the state with a root, in its order.

        Raises
        ------
        NotFound
            If the upstream does not remember the root.
        """
        wanted = json.dumps({"root": root.hex(), "at": at}).encode()
        async with (
            self._pulled("POST", study, "headers", wanted) as answer,
            aclosing(self._headers(answer)) as blobs,
        ):
            yield blobs

    @asynccontextmanager
    async def content(
        self, study: StudyRef, digest: Digest, transfer: Transfer, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open bytes ``start:stop`` of a content: the length of the whole, and those bytes, unverified.

        It is the caller's to wait for the turn of `transfer`.

        Raises
        ------
        NotFound
            If the study has no such content upstream.
        """
        headers = _range(start, stop)
        if headers:
            headers["If-Range"] = f'"{digest.hex()}"'
        path = _path(study, f"contents/{digest.hex()}")
        async with self._ranged(path, study, transfer, headers, start, stop, "frame") as opened:
            yield opened

    @asynccontextmanager
    async def recipe(
        self, study: StudyRef, enc: Digest, ask: str, transfer: Transfer, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Open bytes ``start:stop`` of the recipe of a frame, as `content` does.

        Parameters
        ----------
        ask
            Of `wire.recipeask`: the same gives the same recipe.
        """
        path = _path(study, f"recipes/{enc.hex()}?{ask}")
        async with self._ranged(path, study, transfer, _range(start, stop), start, stop, "recipe") as opened:
            yield opened

    @asynccontextmanager
    async def _ranged(
        self,
        path: str,
        study: StudyRef,
        transfer: Transfer,
        headers: Mapping[str, str],
        start: int,
        stop: int | None,
        kind: str,
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        async with self._asked("GET", path, study.tenant, transfer=transfer, headers=headers) as answer:
            first, length = _extent(answer)
            if answer.status == HTTPStatus.PARTIAL_CONTENT and first != start:
                raise UpstreamError("the upstream sent another range than was asked for")
            async with aclosing(self._chunks(answer, kind)) as chunks:
                is_whole = answer.status == HTTPStatus.OK
                yield length, _part(chunks, start, stop) if is_whole and headers else chunks
            if stop is None or stop >= length:
                self._metrics.add(UPSTREAM_ITEMS, kind=kind)

    @asynccontextmanager
    async def contents(
        self, study: StudyRef, digests: Sequence[Digest], max_length: int, transfer: Transfer
    ) -> AsyncIterator[AsyncIterator[contentstream.Event]]:
        """Open a batch of contents, in the order asked for, unverified.

        It is the caller's to wait for the turn of `transfer`.
        """
        body = json.dumps({"digests": [digest.hex() for digest in digests]}).encode()
        reader = contentstream.ContentStreamReader(digests, max_length=max_length)
        async with (
            self._asked("POST", _path(study, "contents"), study.tenant, body=body, transfer=transfer) as answer,
            aclosing(self._events(answer, reader)) as events,
        ):
            yield events

    async def _headers(self, answer: _Answer) -> AsyncGenerator[bytes, None]:
        reader = headerstream.HeaderStreamReader(max_bytes=_MAX_HEADER_BYTES)
        opener = zstandard.ZstdDecompressor().decompressobj()
        try:
            async for chunk in self._chunks(answer, "header"):
                for start in range(0, len(chunk), _SLICE_BYTES):
                    for blob in reader.feed(opener.decompress(chunk[start : start + _SLICE_BYTES])):
                        self._metrics.add(UPSTREAM_ITEMS, kind="header")
                        yield blob
            reader.close()
        except (zstandard.ZstdError, MalformedRequest, LimitExceeded) as error:
            raise UpstreamError("the upstream's headers cannot be read") from error

    async def _events(
        self, answer: _Answer, reader: contentstream.ContentStreamReader
    ) -> AsyncGenerator[contentstream.Event, None]:
        try:
            async for chunk in self._chunks(answer, "frame"):
                for event in reader.feed(chunk):
                    if isinstance(event, contentstream.Data) and event.last:
                        self._metrics.add(UPSTREAM_ITEMS, kind="frame")
                    yield event
            reader.close()
        except MalformedRequest as error:
            raise UpstreamError("the upstream's stream of contents cannot be read") from error

    # -- what was taken in here -------------------------------------------------------------

    async def offer(self, study: StudyRef, offered: Offer, urgency: Urgency) -> OfferAnswer:
        """Offer instances of a study; what is complete upstream is recorded by that.

        Raises
        ------
        UpstreamError
            If it cannot be asked, or takes nothing in.
        """
        body = encode_offer(offered)
        headers = {TENANT_HEADER: study.tenant, "Content-Type": "application/json"}
        async with self.line.transfer(User.FORWARD, urgency, len(body), Direction.UP).turn():
            pass  # recording takes the upstream longer than the offer takes the line: others need not wait for that
        async with self._exchange(
            "POST", "/api/offers", headers=headers, body=body, first_byte_s=self.timeouts.recorded_s
        ) as opened:
            _raise_for_status(opened.status)
            answer = await self._read(opened, "offer", 1, MAX_DOCUMENT_BYTES)
        try:
            return read_answer(load_json(answer))
        except MalformedRequest as error:
            raise UpstreamError("the upstream's answer to an offer cannot be read") from error

    async def send(self, study: StudyRef, kind: ContentKind, stream: AsyncIterator[bytes], urgency: Urgency) -> None:
        """Send contents of one kind, framed as in `wire.contentstream`; on return they are durable upstream.

        Headers are compressed on the way: each is much like those before.
        """
        headers = {TENANT_HEADER: study.tenant, "Content-Type": contentstream.MEDIA_TYPE}
        if kind is ContentKind.HEADER:
            headers["Content-Encoding"] = "zstd"
            stream = _compressed(stream)
        target = f"{_path(study, 'contents')}?kind={kind.name.lower()}"
        body = self._in_turns(stream, urgency)
        async with self._exchange("PUT", target, headers=headers, body=body, first_byte_s=None) as sent:
            _raise_for_status(sent.status)
            await self._read(sent, "offer", 0, MAX_DOCUMENT_BYTES)

    async def _in_turns(self, stream: AsyncIterator[bytes], urgency: Urgency) -> AsyncIterator[bytes]:
        """Yield a stream in pieces, each when it is its turn on the line."""
        async for chunk in stream:
            piece_bytes = self.line.piece_bytes(urgency, Direction.UP) or len(chunk)
            for start in range(0, len(chunk), piece_bytes):
                piece = chunk[start : start + piece_bytes]
                transfer = self.line.transfer(User.FORWARD, urgency, len(piece), Direction.UP)
                async with transfer.turn():
                    yield piece
                    transfer.moved(len(piece))

    # -- passing on ------------------------------------------------------------------------

    @asynccontextmanager
    async def forward(
        self, method: str, path: str, headers: dict[str, str], body: AsyncIterator[bytes]
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        """Pass a request on and open whatever the upstream answers: status, headers, body."""
        async with (
            self._exchange(method, quote(path), headers=headers, body=body, first_byte_s=None) as answer,
            aclosing(self._chunks(answer, "answer")) as chunks,
        ):
            yield answer.status, answer.response.headers, chunks

    # -- one exchange ----------------------------------------------------------------------

    @asynccontextmanager
    async def _pulled(
        self, method: str, study: StudyRef, what: str, body: RequestBody = b"", urgency: Urgency = Urgency.ROUTINE
    ) -> AsyncIterator[_Answer]:
        """Open a compressed answer about how a study stands, when it is its turn on the line."""
        transfer = self.line.transfer(User.PULL, urgency, _PULL_BYTES)
        async with (
            transfer.turn(),
            self._asked(
                method, _path(study, what), study.tenant, transfer=transfer, coding="zstd", body=body
            ) as answer,
        ):
            yield answer

    @asynccontextmanager
    async def _asked(
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
    ) -> AsyncIterator[_Answer]:
        """Open an answer that is a success, or raise what its status means."""
        headers = {TENANT_HEADER: tenant, "Accept-Encoding": coding, **(headers or {})}
        patience_s = first_byte_s or self.timeouts.first_byte_s
        async with self._exchange(
            method, path, headers=headers, first_byte_s=patience_s, transfer=transfer, body=body
        ) as answer:
            _raise_for_status(answer.status)
            came_in = answer.response.headers.get("content-encoding", "identity")
            if came_in != coding and answer.status != HTTPStatus.NOT_MODIFIED:
                raise UpstreamError("the upstream answers in another coding than was asked for")
            yield answer

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        target: str,
        *,
        headers: dict[str, str],
        first_byte_s: float | None,
        transfer: Transfer | None = None,
        body: RequestBody = b"",
    ) -> AsyncIterator[_Answer]:
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
                    yield _Answer(response, transfer)
                finally:
                    await response.close()
        except TimeoutError as error:
            self.breaker.failed()
            raise UpstreamTimeout("the upstream did not answer in time") from error

    @contextmanager
    def _broken_line(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise
        except OSError as error:
            self.breaker.failed()
            raise UpstreamUnavailable("the upstream cannot be reached, or went away in the middle") from error

    def _answered(self) -> None:
        self._contact = self._clock.monotonic()
        self.breaker.succeeded()

    async def _chunks(self, answer: _Answer, kind: str) -> AsyncGenerator[bytes, None]:
        async with aclosing(answer.response.chunks()) as chunks:
            while True:
                async with asyncio.timeout(self.timeouts.stall_s):
                    with self._broken_line():
                        chunk = await anext(chunks, None)
                if chunk is None:
                    return
                self._metrics.add(UPSTREAM_BYTES, len(chunk), kind=kind)
                if answer.transfer is not None:
                    answer.transfer.moved(len(chunk))
                yield chunk

    async def _read(self, answer: _Answer, kind: str, items: int, limit: int) -> bytes:
        body = bytearray()
        async for chunk in self._chunks(answer, kind):
            body += chunk
            if len(body) > limit:
                raise UpstreamError("the upstream's answer is longer than any should be")
        self._metrics.add(UPSTREAM_ITEMS, items, kind=kind)
        return bytes(body)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer whose head has come, and the transfer that counts its bytes; the feed has none, it is held."""

    response: Answer
    transfer: Transfer | None

    @property
    def status(self) -> int:
        return self.response.status


def _range(start: int, stop: int | None) -> dict[str, str]:
    return {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}


def _extent(answer: _Answer) -> tuple[int, int]:
    """Return the first byte of what an answer holds, and the length of the whole content."""
    headers = answer.response.headers
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        if found is None:
            raise UpstreamError("the upstream does not say which range it sends")
        return int(found[1]), int(found[2])
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        raise UpstreamError("the upstream does not say how long a content is")
    return 0, int(length)


async def _part(chunks: AsyncIterator[bytes], start: int, stop: int | None) -> AsyncIterator[bytes]:
    """Yield bytes ``start:stop`` of the whole that an upstream without ranges sends."""
    at = 0
    async for chunk in chunks:
        wanted = chunk[max(0, start - at) : None if stop is None else max(0, stop - at)]
        if wanted:
            yield wanted
        at += len(chunk)
        if stop is not None and at >= stop:
            return


async def _compressed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    async for chunk in chunks:
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush()


def _feed_entry(entry: Any) -> FeedEntry:
    uid = str(entry["study"])
    if not 0 < len(uid) <= MAX_UID_CHARS:
        raise ValueError("a study UID of the feed is no UID")
    return FeedEntry(int(entry["seq"]), uid, int(entry["instances"]), _given(entry.get("urgency")))


def _given(document: Any) -> GivenUrgency | None:
    """Read a class that a feed gives; one that this release cannot read is none: the study is followed all the same."""
    try:
        return read_given(document, datetime.now(UTC)) if isinstance(document, dict) else None
    except MalformedRequest:
        return None


def _path(study: StudyRef, rest: str) -> str:
    return f"/api/studies/{quote(study.study_instance_uid, safe='')}/{rest}"


def _raise_for_status(status: int) -> None:
    if status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED):
        return
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound("such thing upstream")
    if status == HTTPStatus.GONE:
        raise Gone("the upstream's change feed began anew")
    if status == LoopDetected.http_status:
        raise ConfigurationError("upstream leads back to this node: correct the upstream of one of them")
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        raise UpstreamUnavailable("the upstream is busy, or its own upstream is away")
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        raise UpstreamTimeout("the upstream's own upstream did not answer in time")
    raise UpstreamError(f"the upstream answered {status}")
