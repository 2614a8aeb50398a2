"""Nodes for a client to ask, and lines to them that cut, spoil and lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nearframe.app import open_origin
from nearframe.client import Client, Progress, Study
from nearframe.edgeapp import open_edge
from nearframe.listener.testing import running
from tests.integration.edge.nodes import Node, settings, until_followed

#: What goes wrong with the bytes of one answer: ``(offset, chunk) -> chunk``, or None to cut it there.
Harm = Callable[[int, bytes], bytes | None]


class CutShort(Exception):
    """The line is cut in the middle of an answer."""


@dataclass
class Line:
    """The line to a node: counts requests for streams, and harms the next ones as it is told."""

    app: ASGIApp
    asked: list[str] = field(default_factory=list)
    harms: list[Harm] = field(default_factory=list)
    always: Harm | None = None
    priority: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].endswith("/sync"):
            await self.app(scope, receive, send)
            return
        self.asked.append(scope["method"])
        self.priority = dict(scope["headers"]).get(b"priority", b"").decode()
        harm = self.harms.pop(0) if self.harms else self.always
        offset = 0

        async def harmed(message: Message) -> None:
            nonlocal offset
            body = message.get("body", b"")
            if harm is not None and message["type"] == "http.response.body" and body:
                made = harm(offset, body)
                offset += len(body)
                if made is None:
                    raise CutShort
                message = {**message, "body": made}
            await send(message)

        await self.app(scope, receive, harmed)


def cut_at(place: int) -> Harm:
    """Cut an answer after so many bytes."""

    def harm(offset: int, chunk: bytes) -> bytes | None:
        return chunk if offset + len(chunk) <= place else None

    return harm


def flip_at(place: int) -> Harm:
    """Change one byte of an answer."""

    def harm(offset: int, chunk: bytes) -> bytes:
        if offset <= place < offset + len(chunk):
            changed = bytearray(chunk)
            changed[place - offset] ^= 0x40
            return bytes(changed)
        return chunk

    return harm


@dataclass
class Served:
    """A running node and the line to it."""

    node: Node
    line: Line

    @property
    def url(self) -> str:
        return self.node.url


@asynccontextmanager
async def origin(home: Path, **more: object) -> AsyncIterator[Served]:
    async with open_origin(settings(home, **more)) as (app, metrics):
        line = Line(app)
        async with running(line) as url, httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            yield Served(Node(url, client, metrics), line)


@asynccontextmanager
async def edge(home: Path, upstream: Served) -> AsyncIterator[Served]:
    async with open_edge(settings(home, upstream=(upstream.url,))) as (app, metrics):
        line = Line(app)
        async with running(line) as url, httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            node = Node(url, client, metrics)
            await until_followed(node, upstream.node)
            yield Served(node, line)


async def synced(client: Client, uid: str, *, levels: int | None = 2, progress: Progress | None = None) -> Study:
    """Sync without holding up the nodes, which live on this thread's loop."""
    return await asyncio.to_thread(client.sync, uid, levels=levels, progress=progress)
