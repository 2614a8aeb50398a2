"""The short way for a single frame: what nine of ten requests of a viewer are.

The first request for a frame is planned in the ordinary way: catalogue, negotiation,
labels. The plan is kept under the exact path and Accept header, and while the study's
stamp holds a repeated request costs a few look-ups and the content itself: no routing, no
parsing. Authorisation comes first, here as everywhere. Requests with a Range or a query
string take the ordinary way.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from nearframe.cache.sizedlru import SizedLRU
from nearframe.context import Context
from nearframe.dicomweb.address import ROOT
from nearframe.dicomweb.answers import REVALIDATE, etag_matches
from nearframe.dicomweb.boundary import NOSNIFF
from nearframe.dicomweb.call import Gate
from nearframe.dicomweb.frames import FrameAnswer, plan
from nearframe.dicomweb.problems import problem_of
from nearframe.dicomweb.services import Services
from nearframe.errors import AccessError, NearframeError
from nearframe.query.freshness import Stamp
from nearframe.query.retrieve_frames import Source
from nearframe.wire.accept import parse_accept

#: UIDs as they should be; those with other characters take the ordinary way.
_PATH: Final = re.compile(
    ROOT + r"/studies/([0-9.]{1,64})/series/([0-9.]{1,64})/instances/([0-9.]{1,64})/frames/([1-9][0-9]{0,8})"
)
_PLANS_KEPT: Final = 10_000  # some 2 KB each
#: A rendition may have been made meanwhile that would be sent instead of the stored frame.
_REPLAN_S: Final = 30.0
#: Below this a body goes out in one piece: copying it costs less than two further writes.
_JOIN_BYTES: Final = 256 * 1024

_STARTED_CACHED: Final = (b"cache-status", b"nearframe; hit")
_STARTED_READ: Final = (b"cache-status", b"nearframe; fwd=miss")


class _Key(NamedTuple):
    tenant: str
    path: str
    accept: bytes


@dataclass(slots=True)
class _Plan:
    """An answer but for the payload; `replan_at` is monotonic time."""

    stamp: Stamp
    study_instance_uid: str
    answer: FrameAnswer
    etag: bytes
    validators: list[tuple[bytes, bytes]]
    headers: list[tuple[bytes, bytes]]
    replan_at: float


class FastFrames:
    """Answers ``GET …/frames/N``; leaves everything else to `app`."""

    def __init__(
        self, app: ASGIApp, services: Services, gate: Gate, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._frames = services.frames
        self._records = services.records
        self._gate = gate
        self._monotonic = monotonic
        self._plans: SizedLRU[_Key, _Plan] = SizedLRU(_PLANS_KEPT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or scope["query_string"]
            or "/frames/" not in scope["path"]
        ):
            await self._app(scope, receive, send)
            return
        accept = if_none_match = b""
        for name, value in scope["headers"]:
            if name == b"accept":
                accept = accept + b", " + value if accept else value
            elif name == b"if-none-match":
                if_none_match = value
            elif name == b"range":
                await self._app(scope, receive, send)
                return
        try:
            context = self._gate(scope)
            key = _Key(context.tenant, scope["path"], accept)
            found = self._plans.get(key)
            if found is None or not found.stamp.valid or self._monotonic() >= found.replan_at:
                match = _PATH.fullmatch(key.path)
                if match is None:
                    await self._app(scope, receive, send)
                    return
                found = await self._plan(context, key, *match.groups())
            elif not context.scope.admits(found.study_instance_uid):
                raise AccessError("this study is outside what the session may reach")
            scope["route_name"] = "retrieve_frames"
            if if_none_match and (if_none_match == found.etag or _matches(if_none_match, found.etag)):
                await _send(send, 304, found.validators, b"")
                return
            payload = self._frames.held(found.answer.record, found.answer.frame_numbers[0], found.answer.form)
            status = _STARTED_CACHED
            if payload is None:
                status = _STARTED_READ
                answer = found.answer
                payload = await self._frames.read(context, answer.record, answer.frame_numbers[0], answer.form)
        except NearframeError as error:
            response = problem_of(error)
            response.raw_headers.append(NOSNIFF)
            await response(scope, receive, send)
            return
        await _send_frame(send, found, payload, status)

    async def _plan(self, context: Context, key: _Key, study: str, series: str, instance: str, frame: str) -> _Plan:
        stamp = self._records.freshness.stamp(self._records.study(context, study))
        record = await self._records.find(context, study, series, instance)
        answer = await plan(self._frames, record, (int(frame),), parse_accept(key.accept.decode("latin-1") or None))
        validators = [
            (b"etag", answer.etag.encode()),
            (b"cache-control", REVALIDATE.encode()),
            (b"vary", b"Accept"),
            NOSNIFF,
        ]
        headers = [*validators, (b"content-type", answer.content_type.encode()), (b"accept-ranges", b"bytes")]
        settled = answer.form.source is Source.RENDITION
        replan_at = float("inf") if settled else self._monotonic() + _REPLAN_S
        planned = _Plan(stamp, study, answer, answer.etag.encode(), validators, headers, replan_at)
        self._plans.put(key, planned, 1)
        return planned


async def _send_frame(send: Send, planned: _Plan, payload: bytes, status: tuple[bytes, bytes]) -> None:
    head, tail = planned.answer.head(0, len(payload)), planned.answer.tail
    length = len(head) + len(payload) + len(tail)
    headers = [*planned.headers, (b"content-length", b"%d" % length), status]
    if length <= _JOIN_BYTES or not head:
        await _send(send, 200, headers, head + payload + tail if head else payload)
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": head, "more_body": True})
    await send({"type": "http.response.body", "body": payload, "more_body": True})
    await send({"type": "http.response.body", "body": tail})


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _matches(if_none_match: bytes, etag: bytes) -> bool:
    return etag_matches(if_none_match.decode("latin-1"), etag.decode("latin-1"))
