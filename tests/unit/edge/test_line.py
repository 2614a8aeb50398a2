"""The line as tasks see it, against a simulated line: a clock turned by hand, bytes at a fixed rate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from nearframe import tasks
from nearframe.clock import ManualClock
from nearframe.context import Urgency
from nearframe.edge.line import CHUNK_BYTES, LEAST_BYTES, MAX_WAITING, MOST_BYTES, Line, Transfer
from nearframe.edge.linewindow import MOST_HELD
from nearframe.edge.turns import Direction, User
from nearframe.errors import Busy
from nearframe.metrics import (
    LINE_BYTES,
    LINE_RAISED,
    LINE_RATE,
    LINE_ROUND_TRIP,
    LINE_WAIT_SECONDS,
    LINE_WAITING,
    Metrics,
)
from nearframe.units import MIB

RATE = 1_250_000.0  # 10 Mbit/s
ROUND_TRIP_S = 0.04
STEP_S = 0.004
SEGMENTS = 4  # of a step


@dataclass
class Served:
    """A transfer on the simulated line: asked for, on its way up, queueing, coming."""

    transfer: Transfer
    size: int
    arrives: asyncio.Event = field(default_factory=asyncio.Event)
    asked_at: float = 0.0
    is_answered: bool = False
    done_at: float = 0.0


class SimulatedLine:
    """An upstream behind a bottleneck.

    Attributes
    ----------
    is_fifo
        Whether it serves answers as they were asked for, as it does warm connections, or in turns,
        segment by segment, as a router with fair queues does.
    """

    def __init__(self, rate: float = RATE, *, is_fifo: bool = True) -> None:
        self.is_fifo = is_fifo
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.line = Line(self.clock, self.metrics)
        self._rate = rate
        self._flows: list[Served] = []
        self._credit = 0.0
        self._turn = 0

    async def fetch(self, user: User, urgency: Urgency, size: int) -> Served:
        transfer = self.line.transfer(user, urgency, size)
        served = Served(transfer, size)
        async with transfer.turn():
            transfer.asked()
            served.asked_at = self.clock.monotonic()
            self._flows.append(served)
            await served.arrives.wait()
        served.done_at = self.clock.monotonic()
        return served

    async def run(self, until: float) -> None:
        """Let time pass."""
        while self.clock.monotonic() < until:
            self.clock.advance(STEP_S)
            self._serve()
            for _ in range(6):
                await asyncio.sleep(0)

    def _serve(self) -> None:
        now = self.clock.monotonic()
        coming = [flow for flow in self._flows if flow.asked_at + ROUND_TRIP_S <= now]
        self._credit = self._credit + self._rate * STEP_S if coming else 0.0
        while self._credit > 0 and coming:
            flow = coming[0] if self.is_fifo else coming[self._turn % len(coming)]
            self._turn += 1
            if not flow.is_answered:
                flow.is_answered = True
                flow.transfer.answered(now - flow.asked_at)
            sent = min(max(1448, int(self._rate * STEP_S / SEGMENTS)), flow.size)
            flow.transfer.moved(sent)
            flow.size -= sent
            self._credit -= sent
            if not flow.size:
                coming.remove(flow)
                self._flows.remove(flow)
                flow.arrives.set()


@pytest.fixture
def simulated() -> SimulatedLine:
    return SimulatedLine()


class Background:
    """Fetches chunk after chunk, several at a time, as read-ahead does."""

    def __init__(self, on: SimulatedLine, user: User = User.READ_AHEAD, urgency: Urgency = Urgency.BULK) -> None:
        self._on, self._user, self._urgency = on, user, urgency
        self.moved = 0
        self.tasks = [tasks.spawn(self._run(), name="background") for _ in range(12)]

    async def _run(self) -> None:
        while True:
            size = self._on.line.piece_bytes(self._urgency) or 0
            await self._on.fetch(self._user, self._urgency, size)
            self.moved += size


@pytest.fixture
def backgrounds() -> Iterator[list[Background]]:
    made: list[Background] = []
    yield made
    for background in made:
        for task in background.tasks:
            task.cancel()


async def urgent_s(simulated: SimulatedLine, urgency: Urgency = Urgency.STAT) -> float:
    began = simulated.clock.monotonic()
    task = tasks.spawn(simulated.fetch(User.READER, urgency, 150_000), name="urgent")
    while not task.done():
        await simulated.run(simulated.clock.monotonic() + STEP_S)
    return task.result().done_at - began


async def test_rate_and_round_trip_are_found(simulated: SimulatedLine, backgrounds: list[Background]) -> None:
    backgrounds.append(Background(simulated))
    await simulated.run(5)
    assert abs(simulated.line.rate_bytes_s(Direction.DOWN) / RATE - 1) < 0.1
    assert simulated.line.round_trip.seconds is not None
    assert abs(simulated.line.round_trip.seconds - ROUND_TRIP_S) < 0.01


@pytest.mark.parametrize("rate", [RATE / 10, RATE, 5 * RATE])
async def test_an_urgent_transfer_hardly_notices_the_background(rate: float, backgrounds: list[Background]) -> None:
    simulated = SimulatedLine(rate)
    idle_s = await urgent_s(simulated)
    backgrounds.append(Background(simulated))
    await simulated.run(3)
    took = []
    for number in range(12):
        took.append(await urgent_s(simulated))
        await simulated.run(simulated.clock.monotonic() + 0.1 + number * 0.013)
    assert sorted(took)[6] < 1.35 * idle_s
    assert max(took) < 1.5 * idle_s


async def test_the_background_goes_on_at_once_between_urgent_transfers(
    simulated: SimulatedLine, backgrounds: list[Background]
) -> None:
    backgrounds.append(Background(simulated))
    await simulated.run(3)
    moved = 0
    for _ in range(12):
        await urgent_s(simulated)
        before = simulated.metrics.value(LINE_BYTES, urgency="bulk", user="read_ahead", direction="down")
        await simulated.run(simulated.clock.monotonic() + 0.25)
        after = simulated.metrics.value(LINE_BYTES, urgency="bulk", user="read_ahead", direction="down")
        moved += int(after - before)
    assert moved > 0.9 * 12 * 0.25 * RATE


async def test_a_router_with_fair_queues_hides_the_queue_but_not_for_long(backgrounds: list[Background]) -> None:
    simulated = SimulatedLine(is_fifo=False)
    backgrounds.append(Background(simulated))
    await simulated.run(3)
    chunk = simulated.line.piece_bytes(Urgency.BULK) or 0
    assert simulated.line.window_bytes(Direction.DOWN) - chunk < 1.1 * MOST_HELD * RATE * ROUND_TRIP_S


@pytest.mark.parametrize("rate", [RATE, 5 * RATE])
async def test_an_upstream_that_is_further_away_than_it_was_gets_its_share(
    rate: float, backgrounds: list[Background]
) -> None:
    simulated = SimulatedLine(rate)
    for _ in range(8):
        simulated.line.round_trip.answered(ROUND_TRIP_S / 20)
    backgrounds.append(Background(simulated))
    await simulated.run(2)
    before = backgrounds[0].moved
    await simulated.run(4)
    assert backgrounds[0].moved - before > 0.9 * 2 * rate


async def test_the_background_fills_a_line_that_is_idle_otherwise(
    simulated: SimulatedLine, backgrounds: list[Background]
) -> None:
    backgrounds.append(Background(simulated))
    await simulated.run(2)
    before = backgrounds[0].moved
    await simulated.run(5)
    assert backgrounds[0].moved - before > 0.9 * 3 * RATE


@pytest.mark.parametrize("rate", [RATE / 10, RATE, 5 * RATE, 20 * RATE])
async def test_it_fits_itself_to_the_line(rate: float, backgrounds: list[Background]) -> None:
    simulated = SimulatedLine(rate)
    backgrounds.append(Background(simulated))
    await simulated.run(4)
    assert 0.5 < simulated.line.rate_bytes_s(Direction.DOWN) / rate < 1.2
    before = backgrounds[0].moved
    await simulated.run(5)
    assert backgrounds[0].moved - before > 0.75 * rate


async def test_users_share(simulated: SimulatedLine, backgrounds: list[Background]) -> None:
    backgrounds += [Background(simulated, user) for user in (User.READ_AHEAD, User.READER, User.FORWARD)]
    await simulated.run(5)
    moved = [one.moved for one in backgrounds]
    assert max(moved) < 1.2 * min(moved)


async def test_what_is_raised_begins_and_is_counted(simulated: SimulatedLine) -> None:
    fetches = [tasks.spawn(simulated.fetch(User.READER, Urgency.STAT, 100_000), name="stat")]
    transfer = simulated.line.transfer(User.READER, Urgency.BULK, 10)
    begun = asyncio.Event()

    async def wait() -> None:
        async with transfer.turn():
            begun.set()

    waiting = tasks.spawn(wait(), name="bulk")
    await simulated.run(0.02)
    assert not begun.is_set()
    transfer.raise_to(Urgency.ARCHIVE)
    transfer.raise_to(Urgency.BULK)
    assert transfer.urgency is Urgency.ARCHIVE
    transfer.raise_to(Urgency.ACTIVE)
    await waiting
    assert simulated.metrics.value(LINE_RAISED) == 2
    await simulated.run(1)
    await asyncio.gather(*fetches)


async def test_one_that_stops_waiting_is_forgotten(simulated: SimulatedLine) -> None:
    stat = tasks.spawn(simulated.fetch(User.READER, Urgency.STAT, 100_000), name="stat")
    await simulated.run(0.01)
    waiting = [tasks.spawn(simulated.fetch(User.READER, Urgency.BULK, 10), name="bulk") for _ in range(3)]
    await simulated.run(0.02)
    assert simulated.metrics.value(LINE_WAITING) == 3
    await tasks.cancel(waiting)
    assert simulated.metrics.value(LINE_WAITING) == 0
    await simulated.run(1)
    await stat


async def test_of_several_answers_to_a_transfer_the_first_tells_the_round_trip(simulated: SimulatedLine) -> None:
    transfer = simulated.line.transfer(User.READER, Urgency.STAT, 100_000)
    async with transfer.turn():
        transfer.answered(ROUND_TRIP_S)
    for _ in range(8):
        transfer.answered(3 * ROUND_TRIP_S)
    assert simulated.line.round_trip.seconds == ROUND_TRIP_S


async def test_a_queue_is_bounded(simulated: SimulatedLine) -> None:
    stat = tasks.spawn(simulated.fetch(User.READER, Urgency.STAT, 100_000), name="stat")
    await simulated.run(0.01)
    waiting = [tasks.spawn(simulated.fetch(User.READER, Urgency.BULK, 10), name="bulk") for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await simulated.fetch(User.READER, Urgency.BULK, 10)
    await tasks.cancel(waiting)
    stat.cancel()


@pytest.mark.parametrize(
    ("rate", "chunk", "piece"),
    [
        (RATE / 100, LEAST_BYTES, CHUNK_BYTES),
        (RATE, 25_000, CHUNK_BYTES),
        (5 * RATE, CHUNK_BYTES, 250_000),
        (100 * RATE, 625_000, MOST_BYTES),
        (1e12, MIB, MIB),
    ],
)
def test_how_much_at_a_time(monkeypatch: pytest.MonkeyPatch, rate: float, chunk: int, piece: int) -> None:
    monkeypatch.setattr(Line, "rate_bytes_s", lambda *_: rate)
    line = SimulatedLine().line
    assert line.piece_bytes(Urgency.STAT) is line.piece_bytes(Urgency.ACTIVE) is None
    assert line.piece_bytes(Urgency.ROUTINE) == piece
    assert line.piece_bytes(Urgency.ARCHIVE) == line.piece_bytes(Urgency.BULK) == chunk
    assert line.window_bytes(Direction.DOWN) == int(rate * 0.04) + chunk


async def test_what_it_says_of_itself(simulated: SimulatedLine) -> None:
    fetch = tasks.spawn(simulated.fetch(User.READER, Urgency.ROUTINE, 400_000), name="fetch")
    await simulated.run(2)
    await fetch
    value = simulated.metrics.value
    assert value(LINE_BYTES, urgency="routine", user="reader", direction="down") == 400_000
    assert value(LINE_WAIT_SECONDS, urgency="routine") == 1
    assert value(LINE_RATE, direction="down") > 0
    assert value(LINE_RATE, direction="up") == 0
    assert value(LINE_ROUND_TRIP) > 0
