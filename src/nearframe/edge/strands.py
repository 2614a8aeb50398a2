"""A range of a content over several connections at once.

A connection that is new, or has idled, carries ten segments and then waits for a round trip
before it carries more (RFC 6928; RFC 5681 section 4.1). What somebody waits for is therefore
divided among connections that stand open: together they carry in one round trip what one of
them would need three for::

    ─── strand 1 ───── strand 2 ───── strand 3 ───
       handed on       read ahead until it is next

On a line that is full already this gains nothing, and each strand is a request more to be
answered: there only what is urgent is divided.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from nearframe import tasks
from nearframe.context import Urgency
from nearframe.edge.line import Transfer
from nearframe.edge.turns import User
from nearframe.edge.upstream import Upstreams
from nearframe.errors import UpstreamError
from nearframe.ids import Digest
from nearframe.storage.ports import StudyRef

T = TypeVar("T")

#: Ten segments of 1460 bytes, less the head of the answer and what TLS adds.
STRAND_BYTES: Final = 14_000
#: More take an upstream longer to answer than they gain.
MOST_STRANDS: Final = 8
_ITEMS_HELD: Final = 16
#: Strands so many times as long as they should be take two round trips more.
_FEW: Final = 3

#: The length of the whole content, and some bytes of it.
Chunk: TypeAlias = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A content to be fetched; `length` is 0 if it is not known."""

    study: StudyRef
    digest: Digest
    length: int
    user: User


class Ahead(Generic[T]):
    """Reads a generator before its items are wanted, a few of them."""

    def __init__(self, items: AsyncGenerator[T, None], name: str) -> None:
        self._queue: asyncio.Queue[T | None] = asyncio.Queue(_ITEMS_HELD)
        self._task = tasks.spawn(self._fill(items), name=name)

    async def items(self) -> AsyncGenerator[T, None]:
        """Yield what the generator yields, and raise what it raises."""
        while (held := await self._queue.get()) is not None:
            yield held
        error = await self._task
        if error is not None:
            raise error

    async def close(self) -> None:
        """Stop reading."""
        await tasks.cancel([self._task])

    async def _fill(self, items: AsyncGenerator[T, None]) -> Exception | None:
        error: Exception | None = None
        try:
            async with aclosing(items):
                async for item in items:
                    await self._queue.put(item)
        except Exception as failure:  # noqa: BLE001 - raised where the items are taken
            error = failure
        await self._queue.put(None)
        return error


async def chunks_of(
    upstream: Upstreams, wanted: Wanted, transfer: Transfer, start: int, stop: int | None
) -> AsyncGenerator[Chunk, None]:
    """Yield bytes ``start:stop`` of a content in order, over as many connections as are at hand and worth it."""
    end = stop or wanted.length
    count = _worth(end - start) if _is_divided(wanted, transfer) else 1
    if count > 1 and upstream.at_hand * _FEW < count:
        # Connections are opened in two round trips, all at once; over a few the content takes more than that.
        await upstream.connected(count)
    places = _divided(start, end, stop, min(count, upstream.at_hand))
    carry = _strand if len(places) == 1 else _lasting
    strands = [carry(upstream, wanted, transfer, *place) for place in places]
    async with AsyncExitStack() as stack:
        read = [strands[0]]
        for strand in strands[1:]:
            ahead = Ahead(strand, "strand")
            stack.push_async_callback(ahead.close)
            read.append(ahead.items())
        for chunks in read:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk


def _is_divided(wanted: Wanted, transfer: Transfer) -> bool:
    if wanted.user is not User.READER:
        return False
    return transfer.urgency <= Urgency.ACTIVE or not transfer.found_line_full


def _divided(start: int, end: int, stop: int | None, count: int) -> list[tuple[int, int | None]]:
    """Return the beginning and end of each strand."""
    starts = [start + (end - start) * number // count for number in range(count)] if count > 1 else [start]
    return list(zip(starts, [*starts[1:], stop], strict=True))


def _worth(size: int) -> int:
    """Return how many strands carry so much in one round trip, within bounds."""
    return max(1, min(MOST_STRANDS, -(-size // STRAND_BYTES)))


async def _strand(
    upstream: Upstreams, wanted: Wanted, transfer: Transfer, start: int, stop: int | None
) -> AsyncGenerator[Chunk, None]:
    async with upstream.content(wanted.study, wanted.digest, transfer, start, stop) as (total, chunks):
        async for chunk in chunks:
            yield total, chunk
        if not total:
            yield 0, b""


async def _lasting(
    upstream: Upstreams, wanted: Wanted, transfer: Transfer, start: int, stop: int | None
) -> AsyncGenerator[Chunk, None]:
    """Yield a strand that is gone on with where its connection was lost: what the others carry is not carried twice."""
    at, end = start, stop or wanted.length
    while at < end:
        asked_from = at
        try:
            async with aclosing(_strand(upstream, wanted, transfer, at, stop)) as chunks:
                async for chunk in chunks:
                    at += len(chunk[1])
                    yield chunk
            return
        except UpstreamError:
            if at == asked_from or upstream.is_away:
                raise
            upstream.line.resumed()
