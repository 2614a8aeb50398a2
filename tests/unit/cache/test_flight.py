"""Flights: everybody follows one writer, and nobody ever holds a whole answer that is wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe import tasks
from nearframe.cache.flight import WITHHELD_BYTES, Flight, Flights, MemoryShelf
from nearframe.context import Urgency
from nearframe.errors import IntegrityError, UpstreamUnavailable

DATA = random.Random(1).randbytes(3 * WITHHELD_BYTES)


class Writer:
    """Writes a content as a test tells it."""

    def __init__(self) -> None:
        self.flights = 0
        self.cancelled = 0
        self.closed = 0
        self.steps: asyncio.Queue[Callable[[Flight], Coroutine[Any, Any, None]]] = asyncio.Queue()

    async def __call__(self, flight: Flight) -> None:
        self.flights += 1
        try:
            while not flight.is_over:
                await (await self.steps.get())(flight)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def begin(self, length: int = len(DATA)) -> None:
        async def step(flight: Flight) -> None:
            flight.begin(length, MemoryShelf(self._close))

        self.steps.put_nowait(step)

    def append(self, data: bytes) -> None:
        self.steps.put_nowait(lambda flight: flight.append(data))

    def end(self) -> None:
        async def step(flight: Flight) -> None:
            flight.prove()
            flight.land(stored=True)

        self.steps.put_nowait(step)

    def anew(self) -> None:
        async def step(flight: Flight) -> None:
            flight.begin_anew()

        self.steps.put_nowait(step)

    def fail(self, error: Exception) -> None:
        async def step(_: Flight) -> None:
            raise error

        self.steps.put_nowait(step)

    def _close(self) -> None:
        self.closed += 1


class Reader:
    """Follows a flight and keeps what it was given."""

    def __init__(
        self, flights: Flights[str], writer: Writer, urgency: Urgency = Urgency.ROUTINE, start: int = 0
    ) -> None:
        self._flights, self._writer, self._urgency, self._start = flights, writer, urgency, start
        self.got = b""
        self.task = tasks.spawn(self._read(), name="reader")

    async def _read(self) -> None:
        async with self._flights.join("a", self._urgency, self._writer) as flight:
            async for chunk in flight.read(self._start):
                self.got += chunk

    async def fails(self) -> Exception | None:
        (error,) = await asyncio.gather(self.task, return_exceptions=True)
        assert error is None or isinstance(error, Exception)
        return error


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def flights() -> Flights[str]:
    return Flights("test")


async def test_bytes_are_passed_on_as_they_come_but_for_the_last(flights: Flights[str]) -> None:
    writer = Writer()
    first = Reader(flights, writer)
    writer.begin()
    writer.append(DATA[:10_000])
    await settle()
    late = Reader(flights, writer)
    await settle()
    assert first.got == late.got == DATA[:10_000]
    writer.append(DATA[10_000:])
    await settle()
    assert first.got == DATA[:-WITHHELD_BYTES], "the end is withheld until the whole is proved"
    writer.end()
    await first.task
    await late.task
    assert first.got == late.got == DATA
    assert (writer.flights, writer.closed, "a" in flights) == (1, 1, False)


async def test_a_wrong_content_cuts_those_who_saw_some_of_it(flights: Flights[str]) -> None:
    writer = Writer()
    first, patient = Reader(flights, writer), Reader(flights, writer, start=len(DATA) - 10)
    writer.begin()
    writer.append(b"?" * len(DATA))
    await settle()
    assert (len(first.got), patient.got) == (len(DATA) - WITHHELD_BYTES, b"")
    writer.anew()
    assert isinstance(await first.fails(), IntegrityError)
    writer.begin()
    writer.append(DATA)
    writer.end()
    await patient.task
    assert patient.got == DATA[-10:]
    assert len(first.got) == len(DATA) - WITHHELD_BYTES
    assert (writer.flights, writer.closed) == (1, 2)


async def test_ranges_withhold_their_own_end(flights: Flights[str]) -> None:
    writer = Writer()
    got = b""

    async def read() -> None:
        nonlocal got
        async with flights.join("a", Urgency.ROUTINE, writer) as flight:
            async for chunk in flight.read(1000, 2 * WITHHELD_BYTES):
                got += chunk

    task = tasks.spawn(read(), name="reader")
    writer.begin()
    writer.append(DATA)
    await settle()
    assert got == DATA[1000:WITHHELD_BYTES], "a range that is complete and wrong would be a wrong answer"
    writer.end()
    await task
    assert got == DATA[1000 : 2 * WITHHELD_BYTES]


async def test_the_first_reader_may_leave_and_the_last_ends_it(flights: Flights[str]) -> None:
    writer = Writer()
    first, second = Reader(flights, writer), Reader(flights, writer)
    writer.begin()
    await settle()
    first.task.cancel()
    await settle()
    assert writer.cancelled == 0
    second.task.cancel()
    await settle()
    assert (writer.cancelled, writer.closed, "a" in flights) == (1, 1, False)


async def test_what_is_proved_is_kept_though_nobody_waits(flights: Flights[str]) -> None:
    writer = Writer()
    reader = Reader(flights, writer)
    writer.begin()
    writer.append(DATA)

    async def prove(flight: Flight) -> None:
        flight.prove()

    writer.steps.put_nowait(prove)
    await reader.task
    await settle()
    assert writer.cancelled == 0
    await Reader(flights, writer).task
    assert writer.flights == 1, "who asks while it is being stored joins"
    writer.end()
    await settle()
    assert (writer.cancelled, writer.closed) == (0, 1)


async def test_what_is_home_may_be_joined_as_long_as_it_is_followed(flights: Flights[str]) -> None:
    writer = Writer()
    async with flights.join("a", Urgency.BULK, writer):
        writer.begin()
        writer.append(DATA)
        writer.end()
        await settle()
        reader = Reader(flights, writer)
        await reader.task
        assert (reader.got, writer.flights, writer.closed) == (DATA, 1, 0)
    assert (writer.closed, "a" in flights) == (1, False)


async def test_everyone_gets_the_failure_after_what_came(flights: Flights[str]) -> None:
    writer = Writer()
    readers = [Reader(flights, writer) for _ in range(3)]
    writer.begin()
    writer.append(DATA[:1000])
    writer.fail(UpstreamUnavailable("away"))
    for reader in readers:
        assert isinstance(await reader.fails(), UpstreamUnavailable)
        assert reader.got == DATA[:1000]
    assert writer.closed == 1


async def test_somebody_urgent_raises_it_and_nobody_lowers_it(flights: Flights[str]) -> None:
    writer = Writer()
    raised: list[Urgency] = []

    async def watch(flight: Flight) -> None:
        flight.raised = raised.append

    Reader(flights, writer, Urgency.BULK)
    writer.steps.put_nowait(watch)
    await settle()
    for urgency in (Urgency.ARCHIVE, Urgency.STAT, Urgency.ROUTINE):
        Reader(flights, writer, urgency)
        await settle()
    assert raised == [Urgency.ARCHIVE, Urgency.STAT]
    writer.begin(0)
    writer.end()
    await settle()


async def test_who_joined_takes_over_what_a_leader_leaves(flights: Flights[str]) -> None:
    writer = Writer()
    async with flights.lead("a", Urgency.BULK) as flight:
        reader = Reader(flights, writer)
        await settle()
        flight.begin(len(DATA), MemoryShelf(lambda: None))
        await flight.append(DATA[:30_000])
        await settle()
    await settle()
    assert writer.flights == 1
    writer.append(DATA[30_000:])
    writer.end()
    await reader.task
    assert reader.got == DATA


@given(
    st.lists(st.integers(1, len(DATA)), max_size=8),
    st.integers(0, len(DATA)),
    st.integers(0, len(DATA)),
    st.booleans(),
)
def test_any_range_in_any_chunks_is_right_or_short(cuts: list[int], start: int, stop: int, spoiled: bool) -> None:
    asyncio.run(check_range(cuts, start, stop, spoiled))


async def check_range(cuts: list[int], start: int, stop: int, spoiled: bool) -> None:
    flights: Flights[str] = Flights("test")
    writer = Writer()
    got = b""

    async def read() -> None:
        nonlocal got
        async with flights.join("a", Urgency.ROUTINE, writer) as flight:
            async for chunk in flight.read(start, stop):
                got += chunk

    task = tasks.spawn(read(), name="reader")
    for data in (b"?" * len(DATA), DATA)[0 if spoiled else 1 :]:
        writer.begin()
        at = 0
        for cut in [*sorted(cuts), len(DATA)]:
            writer.append(data[at:cut])
            at = max(at, cut)
        if data is not DATA:
            writer.anew()
    writer.end()
    (error,) = await asyncio.gather(task, return_exceptions=True)
    if error is None:
        assert got == DATA[start:stop]
    else:
        assert isinstance(error, IntegrityError)
        assert len(got) <= max(0, stop - start - WITHHELD_BYTES)
