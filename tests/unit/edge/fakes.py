"""An upstream in memory, that does what a test tells it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace

from nearframe.clock import ManualClock
from nearframe.context import Urgency
from nearframe.edge.line import Line, Transfer
from nearframe.errors import NotFound, UpstreamUnavailable
from nearframe.ids import Digest, sha256
from nearframe.metrics import Metrics
from nearframe.storage.ports import StudyRef
from nearframe.wire.contentstream import Absent, Data, Event, Opened


class FakeUpstream:
    """Holds contents; counts what is asked; fails, spoils or waits when told to."""

    def __init__(self, *contents: bytes) -> None:
        self.contents_held = {sha256(content): content for content in contents}
        self.asked: Counter[str] = Counter()
        #: Raised by the next requests, first come first.
        self.errors: list[Exception] = []
        #: Contents of this many answers are spoiled.
        self.spoil = 0
        #: While it is clear, nothing is answered; while `flow` is, nothing of a body comes.
        self.go, self.flow = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.flow.set()
        self.metrics = Metrics()
        self.line = Line(ManualClock(), self.metrics)
        self.chunk_bytes = 0
        self.ranges: list[tuple[int, int | None]] = []
        #: The line is cut each time so many bytes were sent in all.
        self.cuts: list[int] = []
        self.sent = 0
        self.breaker = SimpleNamespace(is_open=False, pause_s=0.0)
        self.is_away = False
        self.url = "http://origin"
        self.at_hand = 0
        #: Connections that can be opened.
        self.can_open = 0
        self.rank = 0

    async def connected(self, count: int) -> None:
        self.at_hand = max(self.at_hand, min(count, self.can_open))

    @asynccontextmanager
    async def content(
        self, study: StudyRef, digest: Digest, transfer: Transfer, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        self.asked["content"] += 1
        self.ranges.append((start, stop))
        await self._before()
        if digest not in self.contents_held:
            raise NotFound("content")
        data = self._spoiled(self.contents_held[digest])
        yield len(data), self._pieces(data[start:stop], transfer)

    @asynccontextmanager
    async def contents(
        self, study: StudyRef, digests: Sequence[Digest], max_length: int, transfer: Transfer
    ) -> AsyncIterator[AsyncIterator[Event]]:
        self.asked["contents"] += 1
        await self._before()
        yield self._events(digests)

    async def renditions(self, study: StudyRef, urgency: Urgency) -> bytes:
        self.asked["renditions"] += 1
        await self._before()
        return self.url.encode()

    async def probe(self) -> None:
        self.asked["probe"] += 1
        await self._before()

    async def close(self) -> None:
        self.asked["close"] += 1

    async def _events(self, digests: Sequence[Digest]) -> AsyncIterator[Event]:
        for digest in digests:
            content = self.contents_held.get(digest)
            if content is None:
                yield Absent(digest)
                continue
            yield Opened(digest, len(content))
            yield Data(self._spoiled(content), last=True)

    async def _before(self) -> None:
        await self.go.wait()
        if self.errors:
            raise self.errors.pop(0)

    async def _pieces(self, data: bytes, transfer: Transfer) -> AsyncIterator[bytes]:
        size = self.chunk_bytes or max(1, -(-len(data) // 2))
        for at in range(0, len(data), size):
            await self.flow.wait()
            if self.cuts and self.sent >= self.cuts[0]:
                self.cuts.pop(0)
                raise UpstreamUnavailable("cut")
            chunk = data[at : at + size]
            self.sent += len(chunk)
            transfer.moved(len(chunk))
            yield chunk

    def _spoiled(self, content: bytes) -> bytes:
        if not self.spoil:
            return content
        self.spoil -= 1
        return b"?" + content[1:]


async def settle() -> None:
    """Let every task go as far as it can without a thread."""
    for _ in range(20):
        await asyncio.sleep(0)
