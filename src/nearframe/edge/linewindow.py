"""How much may be under way: as much as makes first bytes come a little later than over an empty line.

A measured rate alone is no guide to it. Connections that are new, or paused, begin slowly
whatever the line carries; taken for a slow line they are given little, and stay slow. The
time to the first byte does not depend on them: it is the round trip, and the queue that
what is under way makes at the bottleneck. While there is hardly any, more may go.

Pure: times are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nearframe.edge.linemeter import RoundTripMeter

#: Assumed until measured.
ROUND_TRIP_S: Final = 0.04
#: The queue that is aimed at, of the round trip: without any, more could go and nobody would know.
_QUEUE_SHARE: Final = 0.25
_LEAST_QUEUE_S: Final = 0.01  # less is lost in the noise of two busy machines
_MOST_GROWTH: Final = 1.5
_USED_SHARE: Final = 0.75  # what nobody fills does not grow
#: So little before an answer, of what it asked for, delays it by no more than a few milliseconds.
_HARDLY: Final = 0.25
#: Answers of which the quickest tells the queue: what else makes one late makes few late.
_ANSWERS: Final = 3
#: Where a router lets new flows pass by a queue, first bytes do not tell of it: no more than so many
#: times what the line was seen to hold.
MOST_HELD: Final = 1.25


class LineWindow:
    """A window that is led by the time to the first byte, for one direction.

    Parameters
    ----------
    rate_bytes_s
        Called for the rate as measured: no less may be under way than passes in a round trip.
    round_trip
        Told of the answers that hardly anything of ours was before.
    """

    def __init__(self, rate_bytes_s: Callable[[], float], round_trip: RoundTripMeter) -> None:
        self._rate_bytes_s = rate_bytes_s
        self._round_trip = round_trip
        self._led_bytes = 0
        self._least_s = float("inf")
        self._answers = 0
        self._is_used = False
        self._changed_at = 0.0

    @property
    def bytes(self) -> int:
        """What may be under way, urgent transfers included."""
        held_bytes = self._rate_bytes_s() * (self._round_trip.seconds or ROUND_TRIP_S)
        return int(min(max(self._led_bytes, held_bytes), MOST_HELD * held_bytes))

    def answered(self, now: float, took_s: float, before_bytes: int, size_bytes: int) -> None:
        """Say how long an answer took, what was under way when it was asked for, and how much it asked for."""
        if before_bytes <= _HARDLY * size_bytes:
            self._round_trip.answered(took_s)
        if now - took_s < self._changed_at:
            return  # asked for when the window was another one
        self._least_s = min(self._least_s, took_s)
        self._is_used = self._is_used or before_bytes + size_bytes > _USED_SHARE * self.bytes
        self._answers += 1
        if self._answers >= _ANSWERS:
            self._change(now)

    def _change(self, now: float) -> None:
        round_trip_s = self._round_trip.seconds or self._least_s
        aim_s = round_trip_s + max(_QUEUE_SHARE * round_trip_s, _LEAST_QUEUE_S)
        factor = min(aim_s / self._least_s, _MOST_GROWTH)
        if factor < 1 or self._is_used:
            self._led_bytes = int(self.bytes * factor)
        self._least_s, self._answers, self._is_used = float("inf"), 0, False
        self._changed_at = now
