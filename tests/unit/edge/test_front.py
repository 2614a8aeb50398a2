"""What an edge's answers say about caching and the line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Message, Receive, Scope, Send

from nearframe.context import Context, Urgency
from nearframe.dicomweb.fastframes import HeldFrame
from nearframe.edge.cachestatus import note_fetch
from nearframe.edge.front import EdgeFront, HeldFirst, RemembersVia
from nearframe.edge.upstream import Upstreams, inbound_via

Headers = list[tuple[bytes, bytes]]


async def headers_of(
    *,
    route: str = "retrieve_frames",
    status: int = 200,
    below: Headers | None = None,
    fetches: list[dict[str, Any]] | None = None,
    contact_s: float | None = 1.0,
    reachable: bool = True,
) -> dict[bytes, bytes]:
    """Return the headers of an answer of an application that does as told."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert inbound_via.get() == ("1.1 edge-b",)
        scope["state"] = {"route": route}
        for fetch in fetches or []:
            note_fetch(0.25, 0.1, **fetch)
        await send({"type": "http.response.start", "status": status, "headers": below or []})
        await send({"type": "http.response.body", "body": b""})

    upstream = SimpleNamespace(is_reachable=reachable, last_contact_s=contact_s)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def requested(path: str) -> None:
        seen.append(path)

    scope = {"type": "http", "path": "/dicomweb/studies/1.2/metadata", "headers": [(b"via", b"1.1 edge-b (office)")]}
    front = EdgeFront(app, cast("Upstreams", upstream), requested, lambda _: None)
    await RemembersVia(front)(scope, receive, send)
    assert seen == ["/dicomweb/studies/1.2/metadata"]
    return dict(sent[0]["headers"])


FRAME: Headers = [(b"cache-status", b"nearframe; hit"), (b"etag", b'"x"')]
KEPT = {"stored": True, "collapsed": False}


@pytest.mark.parametrize(
    ("circumstances", "said"),
    [
        ({"below": FRAME}, b"nearframe-edge; hit"),
        ({"below": FRAME, "fetches": [KEPT]}, b"nearframe-edge; fwd=miss; stored"),
        ({"fetches": [KEPT, {**KEPT, "stored": False}]}, b"nearframe-edge; fwd=miss"),
        ({"fetches": [{**KEPT, "collapsed": True}]}, b"nearframe-edge; fwd=miss; stored; collapsed"),
        ({"route": "search_studies"}, b"nearframe-edge; hit"),
        ({"route": "retrieve_study_metadata"}, b"nearframe-edge; hit"),
        ({"route": "retrieve_study"}, None),
        ({"route": "sync_study", "status": 204}, b"nearframe-edge; hit"),
        ({"route": "sync_study"}, None),
        ({"below": FRAME, "status": 404}, None),
    ],
)
async def test_cache_status(circumstances: dict[str, Any], said: bytes | None) -> None:
    assert (await headers_of(**circumstances)).get(b"cache-status") == said


async def test_time_spent_upstream() -> None:
    headers = await headers_of(fetches=[KEPT, KEPT])
    assert headers[b"server-timing"] == b"upstream;dur=300.0, queue;dur=200.0"


@pytest.mark.parametrize(
    ("circumstances", "said"),
    [
        ({}, (None, None)),
        ({"reachable": False, "contact_s": 90.4}, (b"away", b"90")),
        ({"reachable": False, "contact_s": None}, (b"away", None)),
    ],
)
async def test_staleness(circumstances: dict[str, Any], said: tuple[bytes | None, bytes | None]) -> None:
    headers = await headers_of(**circumstances)
    assert (headers.get(b"nearframe-upstream"), headers.get(b"age")) == said


@pytest.mark.parametrize(
    ("path", "is_of_images"),
    [
        ("/dicomweb/studies", True),
        ("/api/studies/1.2/sync", True),
        ("/api/studies/1.2/contents/ab", True),
        ("/api/studies/1.2/delta", False),
        ("/api/studies/1.2/urgency", False),
        ("/healthz", False),
    ],
)
async def test_only_who_reads_images_is_told_of_the_line(path: str, is_of_images: bool) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        return

    async def requested(asked: str) -> None:
        seen.append(asked)

    front = EdgeFront(app, cast("Upstreams", None), requested, lambda _: None)
    await front({"type": "http", "path": path, "headers": []}, cast("Receive", None), cast("Send", None))
    assert seen == [path] * is_of_images


@pytest.mark.parametrize(
    ("reachable", "away"), [(True, []), (False, [(b"nearframe-upstream", b"away"), (b"age", b"90")])]
)
async def test_what_is_held_goes_past_everything_else(reachable: bool, away: Headers) -> None:
    passed: list[str] = []
    made_ready: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["path"])

    def held(scope: Scope) -> HeldFrame | None:
        context = Context("reader", "main", urgency=Urgency.STAT)
        return HeldFrame(context, [(b"etag", b'"x"')], b"frame") if scope["path"] == "/held" else None

    upstream = SimpleNamespace(
        is_reachable=reachable, last_contact_s=90.4, make_ready=lambda: made_ready.append(reachable)
    )
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    front = HeldFirst(app, cast("Upstreams", upstream), held)
    for path in ("/held", "/other"):
        await front({"type": "http", "path": path}, cast("Receive", None), send)
    assert (passed, made_ready) == (["/other"], [reachable])
    said = [(b"etag", b'"x"'), (b"cache-status", b"nearframe-edge; hit"), (b"priority", b"u=0"), *away]
    assert sent == [
        {"type": "http.response.start", "status": 200, "headers": said},
        {"type": "http.response.body", "body": b"frame"},
    ]
