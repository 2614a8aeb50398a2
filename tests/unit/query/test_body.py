from __future__ import annotations

from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st

from nearframe.query.body import CHUNK_BYTES, Body, Held, Streamed


class Counted:
    """A segment that remembers what was read of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read: list[tuple[int, int | None]] = []

    @property
    def length(self) -> int:
        return len(self.data)

    async def open(self, start: int, stop: int | None) -> AsyncIterator[bytes]:
        self.read.append((start, stop))
        yield self.data[start:stop]


async def collect(body: Body, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in body.open(start, stop)])


@given(st.lists(st.binary(max_size=10), max_size=5), st.integers(0, 50), st.integers(0, 50))
async def test_any_range_of_any_segments(parts: list[bytes], start: int, length: int) -> None:
    whole = b"".join(parts)
    stop = min(start + length, len(whole))
    assert await collect(Body.of(*parts), min(start, stop), stop) == whole[min(start, stop) : stop]


async def test_a_range_opens_only_what_it_touches() -> None:
    segments = [Counted(b"abc"), Counted(b"defg"), Counted(b"hi")]
    assert await collect(Body(segments), 4, 6) == b"ef"
    assert [segment.read for segment in segments] == [[], [(1, 3)], []]


async def test_bytes_in_memory_go_in_bounded_chunks() -> None:
    data = bytes(3 * CHUNK_BYTES - 1)
    chunks = [chunk async for chunk in Held(data).open(0, None)]
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert b"".join(chunks) == data


async def test_a_body_that_does_not_know_its_size() -> None:
    async def opener(start: int, stop: int | None) -> AsyncIterator[bytes]:
        yield b"made"

    body = Body([Held(b"head "), Streamed(None, opener)])
    assert body.size is None
    assert await body.read() == b"head made"
