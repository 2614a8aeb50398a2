"""The line to the upstream: everything that crosses it asks here first.

::

    stat, active     at once, and whole
    routine          in pieces of some 40 ms of the line
    archive, bulk    in chunks of some 20 ms, 64 KB on lines up to 100 Mbit/s

`turns` decides whose turn it is, `linemeter` measures, `linewindow` says how much may be under
way; this module lets tasks wait for their turn.
One line serves both directions: while an urgent transfer is open nothing else is begun
in the other one, since acknowledgements and requests share the path with uploads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from prometheus_client import Counter

from nearframe.clock import Clock
from nearframe.context import Urgency
from nearframe.edge.linemeter import Mark, RateMeter, RoundTripMeter
from nearframe.edge.linewindow import LineWindow
from nearframe.edge.turns import Claim, Direction, Turns, User
from nearframe.errors import Busy
from nearframe.metrics import (
    LINE_BYTES,
    LINE_RAISED,
    LINE_RATE,
    LINE_RESUMED,
    LINE_ROUND_TRIP,
    LINE_WAIT_SECONDS,
    LINE_WAITING,
    Metrics,
)
from nearframe.units import KIB, MIB

#: Assumed until measured: a modest line, so that the first minute is polite rather than quick.
ASSUMED_RATE_BYTES_S: Final = 10_000_000 / 8

CHUNK_S: Final = 0.02
CHUNK_BYTES: Final = 64 * KIB
#: On a quick line 64 KB pass in less time than asking for them takes; 5 ms of it delay nobody.
QUICK_CHUNK_S: Final = 0.005
PIECE_S: Final = 0.04
LEAST_BYTES: Final = 8 * KIB
MOST_BYTES: Final = MIB
MAX_WAITING: Final = 1000


class Transfer:
    """One exchange with the upstream, from the wish for it to its end.

    Attributes
    ----------
    waited_s
        How long it waited for its turn.
    """

    def __init__(self, line: Line, claim: Claim) -> None:
        self._line = line
        self._claim = claim
        self._mark = Mark(0.0, 0)
        self._flows = self._is_answered = False
        self.waited_s = 0.0

    @property
    def urgency(self) -> Urgency:
        return self._claim.urgency

    @property
    def found_line_full(self) -> bool:
        """Whether what was under way when it began fills the line for a round trip."""
        claim = self._claim
        return claim.before_bytes >= self._line.windows[claim.direction].bytes

    def raise_to(self, urgency: Urgency) -> None:
        """Make it as urgent as somebody who wants it too; it never becomes less urgent."""
        if urgency < self._claim.urgency:
            self._line.raised(self._claim, urgency)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for its turn, and keep it while the block runs.

        Raises
        ------
        Busy
            If too many wait already.
        """
        await self._line.begin(self, self._claim)
        self.asked()
        try:
            yield
        finally:
            if self._flows:
                now = self._line.clock.monotonic()
                self._line.rates[self._claim.direction].flow_ended(now, self._mark)
            self._line.end(self._claim)

    def asked(self) -> None:
        """Say that the request goes out now."""
        self._mark = self._line.rates[self._claim.direction].asked(self._line.clock.monotonic())

    def answered(self, took_s: float) -> None:
        """Say that the head of an answer came, and how long after a request that was small and was not held.

        Of several answers the first counts: the others have the bytes of this transfer before them.
        """
        if self._is_answered:
            return
        self._is_answered = True
        claim, now = self._claim, self._line.clock.monotonic()
        self._line.windows[claim.direction].answered(now, took_s, claim.before_bytes, claim.size_bytes)

    def moved(self, size_bytes: int) -> None:
        """Say that bytes of it passed."""
        rate, now = self._line.rates[self._claim.direction], self._line.clock.monotonic()
        if self._flows:
            rate.moved(now, size_bytes)
        else:
            self._flows = True
            rate.flow_began(now, size_bytes)
        self._line.moved(self._claim, size_bytes)


class Line:
    """Shares one uplink. For one event loop."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self.clock = clock
        self.rates = {direction: RateMeter() for direction in Direction}
        self.round_trip = RoundTripMeter()
        self.windows = {
            direction: LineWindow(partial(self.rate_bytes_s, direction), self.round_trip) for direction in Direction
        }
        self._metrics = metrics
        self._turns = Turns(self.window_bytes)
        self._wakers: dict[Claim, asyncio.Future[None]] = {}
        self._counters: dict[tuple[Urgency, User, Direction], Counter] = {}
        metrics.before_reading(self._show)

    # -- how much at a time ----------------------------------------------------------------

    def rate_bytes_s(self, direction: Direction) -> float:
        """Return the rate as measured, or as assumed before that."""
        return self.rates[direction].bytes_s or ASSUMED_RATE_BYTES_S

    def piece_bytes(self, urgency: Urgency, direction: Direction = Direction.DOWN) -> int | None:
        """Return how much of a content to ask for at a time; None for the whole of it."""
        if urgency <= Urgency.ACTIVE:
            return None
        rate = self.rate_bytes_s(direction)
        if urgency is Urgency.ROUTINE:
            return _bounded(max(PIECE_S * rate, CHUNK_BYTES))
        return _bounded(max(min(CHUNK_S * rate, CHUNK_BYTES), QUICK_CHUNK_S * rate))

    def window_bytes(self, direction: Direction) -> int:
        """Return how much may be under way: what the line holds, and one chunk to be at hand when it is through."""
        return self.windows[direction].bytes + (self.piece_bytes(Urgency.BULK, direction) or 0)

    # -- turns -----------------------------------------------------------------------------

    def transfer(
        self, user: User, urgency: Urgency, size_bytes: int, direction: Direction = Direction.DOWN
    ) -> Transfer:
        """Return a transfer to be begun with its `turn`; `size_bytes` as far as it is known."""
        return Transfer(self, Claim(user, urgency, size_bytes, direction))

    async def begin(self, transfer: Transfer, claim: Claim) -> None:
        """Wait for the turn of a claim; `Transfer.turn` calls it."""
        if self._turns.waiting >= MAX_WAITING:
            raise Busy("too much waits for the line to the upstream; try again shortly")
        asked_at = self.clock.monotonic()
        turn = self._wakers[claim] = asyncio.get_running_loop().create_future()
        self._turns.ask(claim)
        self._pump()
        try:
            await turn
        except asyncio.CancelledError:
            self.end(claim)
            raise
        finally:
            self._wakers.pop(claim, None)
        transfer.waited_s = self.clock.monotonic() - asked_at
        self._metrics.observe(LINE_WAIT_SECONDS, transfer.waited_s, urgency=_word(claim))

    def end(self, claim: Claim) -> None:
        """Give the turn, or the place in the queue, to others."""
        self._turns.over(claim)
        self._pump()

    def moved(self, claim: Claim, size_bytes: int) -> None:
        """Count bytes; room in the window is given to the next in the queue at once."""
        self._turns.moved(claim, size_bytes)
        self._counter(claim).inc(size_bytes)
        self._pump()

    def raised(self, claim: Claim, urgency: Urgency) -> None:
        """Make a claim more urgent."""
        self._metrics.add(LINE_RAISED, urgency=urgency.name.lower())
        claim.urgency = urgency
        self._pump()

    def resumed(self) -> None:
        """Count a content that is gone on with after its connection was lost."""
        self._metrics.add(LINE_RESUMED)

    def _counter(self, claim: Claim) -> Counter:
        """Return what counts the bytes of such a claim; looked up once, counted with every chunk."""
        key = claim.urgency, claim.user, claim.direction
        found = self._counters.get(key)
        if found is None:
            labels = {"urgency": _word(claim), "user": claim.user.value, "direction": claim.direction.value}
            found = self._counters[key] = self._metrics.counter(LINE_BYTES, **labels)
        return found

    def _pump(self) -> None:
        while self._turns.waiting and (claim := self._turns.next()) is not None:
            turn = self._wakers[claim]
            if not turn.done():  # else its task was cancelled this moment, and ends the claim
                turn.set_result(None)

    def _show(self) -> None:
        self._metrics.set(LINE_WAITING, self._turns.waiting)
        self._metrics.set(LINE_ROUND_TRIP, self.round_trip.seconds or 0)
        for direction, meter in self.rates.items():
            self._metrics.set(LINE_RATE, meter.bytes_s or 0, direction=direction.value)


def _bounded(size: float) -> int:
    return int(min(max(size, LEAST_BYTES), MOST_BYTES))


def _word(claim: Claim) -> str:
    return claim.urgency.name.lower()
