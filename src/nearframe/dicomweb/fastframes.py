"""The short way for a single frame: what nine of ten requests of a viewer are.

The first request for a frame is planned in the ordinary way: catalogue, negotiation,
labels. The plan is kept under the exact path and Accept header, and while the study's
stamp holds a repeated request costs a few look-ups and the content itself: no routing, no
parsing (`FastFrames.held`). Authorisation comes first, here as everywhere. Requests with a
query string or several ranges take the ordinary way.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nearframe.cache.sizedlru import SizedLRU
from nearframe.context import Context
from nearframe.dicomweb.address import ROOT
from nearframe.dicomweb.answers import REVALIDATE, etag_matches
from nearframe.dicomweb.boundary import NOSNIFF, name_route, refusal
from nearframe.dicomweb.call import Gate
from nearframe.dicomweb.frames import FrameAnswer, plan
from nearframe.dicomweb.frameservices import FrameServices
from nearframe.errors import AccessError, NearframeError
from nearframe.ids import Digest
from nearframe.query.freshness import Stamp
from nearframe.query.retrieve_frames import Source
from nearframe.storage.ports import Buffer
from nearframe.units import MIB
from nearframe.wire.accept import parse_accept
from nearframe.wire.byterange import ByteRange, requested_ranges

#: UIDs as they should be; those with other characters take the ordinary way.
_PATH: Final = re.compile(
    ROOT + r"/studies/([0-9.]{1,64})/series/([0-9.]{1,64})/instances/([0-9.]{1,64})/frames/([1-9][0-9]{0,8})"
)
_PLANS_KEPT: Final = 10_000  # some 2 KB each
#: A rendition may have been made meanwhile that would be sent instead of the stored frame.
_REPLAN_S: Final = 30.0
#: Below this a body goes out in one piece: copying it costs less than watching a client between pieces.
_JOIN_BYTES: Final = 8 * MIB

_ROUTE: Final = "retrieve_frames"
_HIT: Final = (b"cache-status", b"nearframe; hit")
_MISS: Final = (b"cache-status", b"nearframe; fwd=miss")


class _Key(NamedTuple):
    tenant: str
    path: str
    accept: bytes


@dataclass(slots=True)
class _Plan:
    """An answer but for the payload.

    Attributes
    ----------
    digest
        Of the payload, where it is a content.
    head, tail
        What goes before and behind the payload; with its first use the length is known, and
        `head` and `headers` are complete.
    replan_at
        Monotonic time.
    """

    stamp: Stamp
    answer: FrameAnswer
    digest: Digest | None
    etag: bytes
    validators: list[tuple[bytes, bytes]]
    replan_at: float
    tail: bytes
    size: int = 0
    head: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class _Wanted(NamedTuple):
    """The headers that matter here; empty where absent."""

    accept: bytes
    if_none_match: bytes
    range: bytes
    if_range: bytes


_NOTHING: Final = _Wanted(b"", b"", b"", b"")


class HeldFrame(NamedTuple):
    """A whole answer, known without waiting.

    Attributes
    ----------
    context
        Of the request.
    headers
        All but those that say where the body comes from.
    """

    context: Context
    headers: list[tuple[bytes, bytes]]
    body: Buffer

    async def answer(self, send: Send, *more: tuple[bytes, bytes]) -> None:
        """Send it, with more headers."""
        await _send(send, 200, [*self.headers, *more], self.body)


class AnswerCut(Exception):
    """What was being sent turned out not to be the frame, or stopped coming: the answer stays unfinished."""


class FastFrames:
    """Answers ``GET …/frames/N``; leaves everything else to `app`."""

    def __init__(
        self, app: ASGIApp, services: FrameServices, gate: Gate, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._frames = services.frames
        self._contents = services.contents
        self._records = services.records
        self._gate = gate
        self._monotonic = monotonic
        self._plans: SizedLRU[_Key, _Plan] = SizedLRU(_PLANS_KEPT)

    def held(self, scope: Scope) -> HeldFrame | None:
        """Return the answer to a request for a whole frame that is planned and held; None says nothing of others."""
        path: str = scope["path"]
        if "/frames/" not in path or not _is_plain_get(scope):
            return None
        wanted = _wanted(scope)
        if wanted.range or wanted.if_none_match:
            return None
        try:
            context = self._gate(scope)
        except NearframeError:
            return None  # the ordinary way says why
        found = self._plans.get(_Key(context.tenant, path, wanted.accept))
        if found is None or found.digest is None or not found.size or not self._holds(found):
            return None
        study = found.answer.record.study
        if not context.scope.admits(study.study_instance_uid):
            return None
        body = self._contents.read_framed(study, found.digest, found.head, found.tail)
        if body is None:
            return None
        name_route(scope, _ROUTE)
        return HeldFrame(context, found.headers, body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_plain_get(scope):
            await self._app(scope, receive, send)
            return
        held = self.held(scope)
        if held is not None:
            await held.answer(send, _HIT)
            return
        path: str = scope["path"]
        match = None if "/frames/" not in path else _PATH.fullmatch(path)
        wanted = _NOTHING if match is None else _wanted(scope)
        if match is None or b"," in wanted.range:
            await self._app(scope, receive, send)
            return
        name_route(scope, _ROUTE)
        try:
            await self._answer(self._gate(scope), send, match, wanted)
        except NearframeError as error:
            response = refusal(_ROUTE, error)
            response.raw_headers.append(NOSNIFF)
            await response(scope, receive, send)

    async def _answer(self, context: Context, send: Send, match: re.Match[str], wanted: _Wanted) -> None:
        if not context.scope.admits(match[1]):
            raise AccessError("this study is outside what the session may reach")
        key = _Key(context.tenant, match[0], wanted.accept)
        found = self._plans.get(key)
        if found is None or not self._holds(found):
            found = await self._plan(context, key, match)
        if wanted.if_none_match and _matches(wanted.if_none_match, found.etag):
            await _send(send, 304, found.validators, b"")
            return
        answer = found.answer
        payload = self._frames.held(answer.record, answer.frame_numbers[0], answer.form)
        if payload is None and self._frames.comes_over_the_line(answer.form):
            try:
                await self._stream(context, send, found, wanted)
            except NearframeError:
                self._plans.discard(key)
                raise
            return
        status = _HIT
        if payload is None:
            status = _MISS
            try:
                payload = await self._frames.read(context, answer.record, answer.frame_numbers[0], answer.form)
            except NearframeError:
                self._plans.discard(key)  # a plan that cannot be kept is made anew
                raise
        if not found.size:
            _complete(found, len(payload))
        if wanted.range:
            await _send_ranges(send, found, payload, status, wanted)
        else:
            await _send_whole(send, found, payload, status)

    def _holds(self, planned: _Plan) -> bool:
        return planned.stamp.valid and self._monotonic() < planned.replan_at

    async def _stream(self, context: Context, send: Send, found: _Plan, wanted: _Wanted) -> None:
        """Pass a frame on as it comes. The answer begins with its first bytes: until then it can become a refusal."""
        record, number, form = found.answer.record, found.answer.frame_numbers[0], found.answer.form
        size = self._frames.size_of(record, number, form) or 0
        if not found.size:
            _complete(found, size)
        one = _one_range(found, wanted)
        start, stop = (0, found.size) if one is None else (one.start, one.stop)
        first, last = (min(max(at - len(found.head), 0), size) for at in (start, stop))
        async with aclosing(self._frames.stream(context, record, number, form, first, last)) as chunks:
            chunk = await anext(chunks, b"") if first < last else b""
            await send(_start(found, one, _MISS))
            await send({"type": "http.response.body", "body": found.head[start:stop] + chunk, "more_body": True})
            try:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except NearframeError as error:
                raise AnswerCut from error
        behind = len(found.head) + size
        tail = found.tail[max(start - behind, 0) : max(stop - behind, 0)]
        await send({"type": "http.response.body", "body": tail})

    async def _plan(self, context: Context, key: _Key, match: re.Match[str]) -> _Plan:
        study, series, instance, frame = match.groups()
        stamp = self._records.freshness.stamp(self._records.study(context, study))
        record = await self._records.find(context, study, series, instance)
        answer = await plan(self._frames, record, (int(frame),), parse_accept(key.accept.decode("latin-1") or None))
        etag = answer.etag.encode()
        validators = [(b"etag", etag), (b"cache-control", REVALIDATE.encode()), (b"vary", b"Accept"), NOSNIFF]
        source = answer.form.source
        is_content = source is not Source.MADE
        planned = _Plan(
            stamp=stamp,
            answer=answer,
            digest=self._frames.etag_digest(record, int(frame), answer.form) if is_content else None,
            etag=etag,
            validators=validators,
            # What is made later may be better; a rendition is the best there is.
            replan_at=float("inf") if source is Source.RENDITION else self._monotonic() + _REPLAN_S,
            tail=answer.tail,
        )
        self._plans.put(key, planned, 1)
        return planned


def _is_plain_get(scope: Scope) -> bool:
    return scope["method"] == "GET" and not scope["query_string"]


def _wanted(scope: Scope) -> _Wanted:
    accept = if_none_match = range_ = if_range = b""
    for name, value in scope["headers"]:
        if name == b"accept":
            accept = accept + b", " + value if accept else value
        elif name == b"if-none-match":
            if_none_match = if_none_match + b", " + value if if_none_match else value
        elif name == b"range":
            range_ = value
        elif name == b"if-range":
            if_range = value
    return _Wanted(accept, if_none_match, range_, if_range)


def _complete(planned: _Plan, payload_bytes: int) -> None:
    """Fill in what depends on the length of the payload, which never changes under one plan."""
    planned.head = planned.answer.head(0, payload_bytes)
    planned.size = len(planned.head) + payload_bytes + len(planned.tail)
    planned.headers = [
        *planned.validators,
        (b"content-type", planned.answer.content_type.encode()),
        (b"accept-ranges", b"bytes"),
        (b"content-length", b"%d" % planned.size),
    ]


async def _send_whole(send: Send, planned: _Plan, payload: bytes, status: tuple[bytes, bytes]) -> None:
    headers = [*planned.headers, status]
    if planned.size <= _JOIN_BYTES or not planned.head:
        body = b"".join((planned.head, payload, planned.tail)) if planned.head else payload
        await _send(send, 200, headers, body)
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": planned.head, "more_body": True})
    await send({"type": "http.response.body", "body": payload, "more_body": True})
    await send({"type": "http.response.body", "body": planned.tail})


async def _send_ranges(
    send: Send, planned: _Plan, payload: bytes, status: tuple[bytes, bytes], wanted: _Wanted
) -> None:
    """Send the one range that progressive viewers ask for, or the whole if it does not apply."""
    one = _one_range(planned, wanted)
    if one is None:
        await _send_whole(send, planned, payload, status)
        return
    await send(_start(planned, one, status))
    body = b"".join((planned.head, payload, planned.tail))[one.start : one.stop]
    await send({"type": "http.response.body", "body": body})


def _one_range(planned: _Plan, wanted: _Wanted) -> ByteRange | None:
    if not wanted.range:
        return None
    ranges = requested_ranges(
        wanted.range.decode("latin-1"),
        planned.size,
        if_range=wanted.if_range.decode("latin-1") or None,
        etag=planned.etag.decode("latin-1"),
    )
    return ranges[0] if len(ranges) == 1 else None


def _start(planned: _Plan, one: ByteRange | None, cache_status: tuple[bytes, bytes]) -> Message:
    """Return the head of an answer with the whole, or with one range of it."""
    if one is None:
        return {"type": "http.response.start", "status": 200, "headers": [*planned.headers, cache_status]}
    headers = [header for header in planned.headers if header[0] != b"content-length"]
    headers += [
        (b"content-length", b"%d" % len(one)),
        (b"content-range", one.content_range(planned.size).encode()),
        cache_status,
    ]
    return {"type": "http.response.start", "status": 206, "headers": headers}


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: Buffer) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _matches(if_none_match: bytes, etag: bytes) -> bool:
    return if_none_match == etag or etag_matches(if_none_match.decode("latin-1"), etag.decode("latin-1"))
