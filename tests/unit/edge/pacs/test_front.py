"""What is passed on to an archive, and what never is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import unquote

import pytest
from starlette.types import Message, Receive, Scope, Send

from nearframe.config import Settings
from nearframe.context import Context, Urgency
from nearframe.dicomweb.address import Addresses
from nearframe.edge.pacs.front import PacsFront
from nearframe.edge.pacs.mirror import Mirror
from nearframe.edge.pacs.passing import Passing
from nearframe.edge.pacs.webarchive import Passed, WebArchive

INSTANCE = "/dicomweb/studies/1.2/series/1.3/instances/1.4"


class FakeArchive:
    """Notes what comes to it: target, headers, body."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.stored: list[tuple[str, Mapping[str, str], bytes]] = []

    async def passed(self, target: str, headers: Mapping[str, str], urgency: Urgency) -> Passed:
        self.asked.append((target, headers))
        return Passed(200, {}, b"")

    async def store(
        self, target: str, headers: Mapping[str, str], urgency: Urgency, body: AsyncIterator[bytes]
    ) -> Passed:
        self.stored.append((target, headers, b"".join([chunk async for chunk in body])))
        return Passed(200, {}, b"")


async def call(archive: FakeArchive, method: str, raw_path: str, **headers: str) -> int:
    """Return the status of a request through the front; 299 where our own application answers."""
    sent: list[Message] = []

    async def ours(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"hello"}

    scope: dict[str, Any] = {
        "type": "http",
        "scheme": "http",
        "method": method,
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    mirror = SimpleNamespace(begin=lambda *_: None, age_s=lambda _: None, is_whole=lambda _: False)

    def gate(_: Scope) -> Context:
        return cast("Context", SimpleNamespace(tenant="main", urgency=Urgency.ROUTINE))

    passing = Passing(cast("WebArchive", archive), gate, Addresses(Settings(public_base_url="https://edge")))
    front = PacsFront(ours, passing, cast("Mirror", mirror), gate, lambda _, is_opening: None)
    await front(scope, receive, send)
    return int(sent[0]["status"])


async def test_a_question_goes_without_a_body() -> None:
    archive = FakeArchive()
    status = await call(
        archive, "GET", "/dicomweb/studies", accept="*/*", content_length="5", content_type="text/plain"
    )
    assert (status, archive.asked) == (200, [("/studies", {"accept": "*/*"})])


@pytest.mark.parametrize("path", ["/dicomweb/studies", "/dicomweb/studies/1.2"])
async def test_a_store_goes_as_it_comes(path: str) -> None:
    archive = FakeArchive()
    assert await call(archive, "POST", path, content_length="5") == 200
    assert archive.stored == [(path.removeprefix("/dicomweb"), {"content-length": "5"}, b"hello")]


@pytest.mark.parametrize(
    "path",
    [
        f"{INSTANCE}/../../../../../../../system",
        f"{INSTANCE}/bulk/..;x/1",
        f"{INSTANCE}/bulk/%2e%2E/1",
        f"{INSTANCE}/bulk/%252e%252e/1",
        f"{INSTANCE}/bulk/..%2f..%5c..",
        f"{INSTANCE}/bulk/./1",
        "/dicomweb/studies/../series",
    ],
)
async def test_a_path_leads_to_no_other_place_of_the_archive(path: str) -> None:
    archive = FakeArchive()
    assert await call(archive, "GET", path) in (299, 400)
    assert not archive.asked
    assert await call(archive, "GET", f"{INSTANCE}/bulk/7FE00010/1..2") == 200


@pytest.mark.parametrize("path", ["/dicomweb/../tools/shutdown", "/dicomweb/tools/shutdown", INSTANCE, "/dicomwebs"])
async def test_nothing_but_a_store_is_posted(path: str) -> None:
    archive = FakeArchive()
    assert await call(archive, "POST", path) == 299
    assert not archive.stored
