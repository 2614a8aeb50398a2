"""What nodes ask each other, by name: how studies stand, contents, offers, and the list of nodes."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from urllib.parse import quote, urlencode

import zstandard

from nearframe.context import Urgency
from nearframe.edge.http1 import RequestBody
from nearframe.edge.line import Transfer
from nearframe.edge.turns import Direction, User
from nearframe.edge.upstream.exchange import TENANT_HEADER, Exchanges, Opened, raise_for_status
from nearframe.edge.upstream.feed import FeedAnswer, read_page
from nearframe.errors import LimitExceeded, MalformedRequest, NotFound, UpstreamError, UpstreamUnavailable
from nearframe.ids import Digest, parse_digest
from nearframe.metrics import UPSTREAM_ITEMS
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.sync.directory import Listed, read_listed
from nearframe.units import KIB, MIB
from nearframe.wire import contentstream, headerstream
from nearframe.wire.delta import Runs
from nearframe.wire.document import MAX_DOCUMENT_BYTES, load_json
from nearframe.wire.offer import Offer, OfferAnswer, encode_offer, read_answer
from nearframe.wire.via import names_after, names_in_via
from nearframe.wire.zstdstream import ZstdStream

_MAX_HEADER_BYTES = 64 * MIB
#: A page of the feed, or the list of nodes: read on the event loop, so it is short. 5000 entries are 1 MB.
_MAX_PAGE_BYTES = 2 * MIB
#: What a manifest, a delta or some headers weigh, as far as anybody knows before they come.
_PULL_BYTES = 32 * KIB
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19})")
_LENGTH = re.compile(r"[0-9]{1,19}")
_LEVEL = 9  # of compression: a header of a series costs some 100 bytes


class Upstream(Exchanges):
    """A node that an edge follows and fetches from. For one event loop.

    Attributes
    ----------
    came_through
        Whom its changes came through, the node itself last, as far as it said so.
    """

    came_through: Sequence[str] = ()

    async def probe(self) -> None:
        """Find out whether it answers and is well.

        Raises
        ------
        UpstreamError
            If not.
        """
        async with self.exchange("GET", "/healthz", headers={}, first_byte_s=self.timeouts.probe_s) as answer:
            if answer.status != HTTPStatus.OK:
                self.breaker.failed()
                raise UpstreamUnavailable("the upstream says that it is not well")

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
        try:
            async with self.asked("GET", target, tenant, first_byte_s=patience_s) as answer:
                body = await self.read(answer, "feed", 1, _MAX_PAGE_BYTES)
                came_through = names_in_via([answer.response.headers.get("via", "")])
        except NotFound as error:
            raise UpstreamError(
                "the upstream has no change feed: name a node by its URL without /dicomweb; "
                "before another archive set upstream_kind to dicomweb"
            ) from error
        self.came_through = names_after(self._node_name, came_through)
        return read_page(body, leads_back=self._node_name in came_through)

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
        async with self.asked("POST", "/api/edges", tenant, headers=headers, body=body) as answer:
            found = await self.read(answer, "list", 1, _MAX_PAGE_BYTES)
        try:
            return [read_listed(one) for one in load_json(found)["nodes"]]
        except (KeyError, TypeError, MalformedRequest) as error:
            raise UpstreamError("the upstream's list of nodes cannot be read") from error

    async def manifest(self, study: StudyRef) -> bytes:
        """Return the encoded manifest of a study; raises `NotFound` if it is not there."""
        async with self._pulled("GET", study, "manifest") as answer:
            return await self.read(answer, "manifest", 1, MAX_DOCUMENT_BYTES)

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
            return await self.read(answer, "delta", 1, MAX_DOCUMENT_BYTES)

    async def renditions(self, study: StudyRef, urgency: Urgency) -> bytes:
        """Return the encoded list of the renditions there are by now."""
        async with self._pulled("GET", study, "renditions", urgency=urgency) as answer:
            return await self.read(answer, "renditions", 1, MAX_DOCUMENT_BYTES)

    async def hashes(self, study: StudyRef) -> bytes:
        """Return the encoded list of what the study's frames look like; raises `NotFound` if there is none."""
        async with self._pulled("GET", study, "hashes", urgency=Urgency.ARCHIVE) as answer:
            return await self.read(answer, "hashes", 1, MAX_DOCUMENT_BYTES)

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
        async with self.asked("GET", path, study.tenant, transfer=transfer, headers=headers) as answer:
            first, length = _extent(answer)
            if answer.status == HTTPStatus.PARTIAL_CONTENT and first != start:
                raise UpstreamError("the upstream sent another range than was asked for")
            async with aclosing(self.chunks(answer, kind)) as chunks:
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
            self.asked("POST", _path(study, "contents"), study.tenant, body=body, transfer=transfer) as answer,
            aclosing(self._events(answer, reader)) as events,
        ):
            yield events

    async def _headers(self, answer: Opened) -> AsyncGenerator[bytes, None]:
        reader = headerstream.HeaderStreamReader(max_bytes=_MAX_HEADER_BYTES)
        opener = ZstdStream()
        try:
            async for chunk in self.chunks(answer, "header"):
                for piece in opener.feed(chunk):
                    for blob in reader.feed(piece):
                        self._metrics.add(UPSTREAM_ITEMS, kind="header")
                        yield blob
            reader.close()
        except (MalformedRequest, LimitExceeded) as error:
            raise UpstreamError("the upstream's headers cannot be read") from error

    async def _events(
        self, answer: Opened, reader: contentstream.ContentStreamReader
    ) -> AsyncGenerator[contentstream.Event, None]:
        try:
            async for chunk in self.chunks(answer, "frame"):
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
        async with self.exchange(
            "POST", "/api/offers", headers=headers, body=body, first_byte_s=self.timeouts.recorded_s
        ) as opened:
            raise_for_status(opened.status)
            answer = await self.read(opened, "offer", 1, MAX_DOCUMENT_BYTES)
        try:
            return read_answer(load_json(answer))
        except MalformedRequest as error:
            raise UpstreamError("the upstream's answer to an offer cannot be read") from error

    async def send(
        self,
        study: StudyRef,
        kind: ContentKind,
        stream: AsyncIterator[bytes],
        urgency: Urgency,
        *,
        by_recipe: bool = False,
    ) -> frozenset[Digest]:
        """Send contents of one kind, framed as in `wire.contentstream`; on return they are durable upstream.

        Headers are compressed on the way: each is much like those before. Returns what was refused
        of frames that were sent as recipes.
        """
        headers = {TENANT_HEADER: study.tenant, "Content-Type": contentstream.MEDIA_TYPE}
        if kind is ContentKind.HEADER:
            headers["Content-Encoding"] = "zstd"
            stream = _compressed(stream)
        target = f"{_path(study, 'contents')}?kind={kind.name.lower()}{'&as=recipe' if by_recipe else ''}"
        async with (
            aclosing(self.in_turns(stream, urgency)) as body,
            self.exchange("PUT", target, headers=headers, body=body, first_byte_s=None) as sent,
        ):
            raise_for_status(sent.status)
            answer = await self.read(sent, "offer", 0, MAX_DOCUMENT_BYTES)
        return _refused(answer) if by_recipe else frozenset()

    async def in_turns(self, stream: AsyncIterator[bytes], urgency: Urgency) -> AsyncGenerator[bytes, None]:
        """Yield a stream that goes to the upstream in pieces, each when it is its turn on the line."""
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
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: RequestBody,
        transfer: Transfer | None = None,
        *,
        kind: str = "answer",
        first_byte_s: float | None = None,
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        """Pass a request on and open whatever the upstream answers: status, headers, body.

        Parameters
        ----------
        target
            Path and query, quoted as they go over the line.
        transfer
            It is the caller's to wait for its turn.
        kind
            As what the answer's bytes are counted.
        first_byte_s
            Longest time to the head of the answer; None leaves it to how the body goes.
        """
        async with (
            self.exchange(
                method, target, headers=headers, body=body, first_byte_s=first_byte_s, transfer=transfer
            ) as answer,
            aclosing(self.chunks(answer, kind)) as chunks,
        ):
            yield answer.status, answer.response.headers, chunks

    @asynccontextmanager
    async def _pulled(
        self, method: str, study: StudyRef, what: str, body: RequestBody = b"", urgency: Urgency = Urgency.ROUTINE
    ) -> AsyncIterator[Opened]:
        """Open a compressed answer about how a study stands, when it is its turn on the line."""
        transfer = self.line.transfer(User.PULL, urgency, _PULL_BYTES)
        async with (
            transfer.turn(),
            self.asked(method, _path(study, what), study.tenant, transfer=transfer, coding="zstd", body=body) as answer,
        ):
            yield answer


def _range(start: int, stop: int | None) -> dict[str, str]:
    return {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"} if start or stop is not None else {}


def _extent(answer: Opened) -> tuple[int, int]:
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


def _refused(answer: bytes) -> frozenset[Digest]:
    try:
        return frozenset(parse_digest(text) for text in load_json(answer)["refused"])
    except (KeyError, TypeError, ValueError, AttributeError, MalformedRequest) as error:
        raise UpstreamError("the upstream does not say which recipes it refused") from error


async def _compressed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
    async for chunk in chunks:
        if compressed := compressor.compress(chunk):
            yield compressed
    yield compressor.flush()


def _path(study: StudyRef, rest: str) -> str:
    return f"/api/studies/{quote(study.study_instance_uid, safe='')}/{rest}"
