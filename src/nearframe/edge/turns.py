"""Who may use the line next: the rules, without a clock, a socket or a task.

- Urgent transfers (stat, active) begin at once.
- The others take turns: routine first. What can wait (archive, bulk) is shared by its users
  alike: the one that had least is next.
- They begin while all that is under way, urgent or not, is no more than fills the line: what an
  urgent transfer finds before it in the queue at the bottleneck is gone when its own bytes
  come, and beside it goes only what it leaves room for. In the other direction nothing
  begins while an urgent transfer is open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from nearframe.context import Urgency

#: Each transfer has a connection of its own. More urgent ones at once would each only take longer.
STAT_AT_ONCE: Final = 20
ACTIVE_AT_ONCE: Final = 16
OTHERS_AT_ONCE: Final = 16


class User(Enum):
    """On whose behalf the line is used. Users of the same urgency share it fairly."""

    READER = "reader"
    EXPORT = "export"
    READ_AHEAD = "read_ahead"
    PULL = "pull"
    FORWARD = "forward"


class Direction(Enum):
    """From the upstream, or to it."""

    DOWN = "down"
    UP = "up"


@dataclass(eq=False, slots=True)
class Claim:
    """A transfer as the rules see it.

    Attributes
    ----------
    under_way_bytes
        What was asked for and has not passed yet.
    before_bytes
        What was under way when it began, in its direction.
    """

    user: User
    urgency: Urgency
    size_bytes: int
    direction: Direction = Direction.DOWN
    number: int = 0
    under_way_bytes: int = field(init=False)
    before_bytes: int = 0

    def __post_init__(self) -> None:
        self.under_way_bytes = self.size_bytes

    @property
    def is_urgent(self) -> bool:
        return self.urgency <= Urgency.ACTIVE


class Turns:
    """Keeps the claims that wait and those that are open, and says which may begin.

    Parameters
    ----------
    window_bytes
        How much may be under way in a direction for another transfer that is not urgent to begin.
    """

    def __init__(self, window_bytes: Callable[[Direction], int]) -> None:
        self._window_bytes = window_bytes
        self._waiting: list[Claim] = []
        self._open: set[Claim] = set()
        #: Bytes that each user has begun. One that comes back is not owed what it did not ask for.
        self._begun: Counter[User] = Counter()
        self._present: Counter[User] = Counter()
        #: What was asked for and has not passed, by direction: the sum over what is open.
        self._under_way: Counter[Direction] = Counter()
        #: What the user that was served last had before: where one that comes back begins.
        self._served = 0
        self._numbers = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def open(self) -> int:
        return len(self._open)

    def under_way_bytes(self, direction: Direction) -> int:
        """Return what was asked for and has not passed."""
        return self._under_way[direction]

    def ask(self, claim: Claim) -> None:
        """Put a claim in the queue."""
        self._numbers += 1
        claim.number = self._numbers
        if not self._present[claim.user]:
            self._begun[claim.user] = max(self._begun[claim.user], self._served)
        self._present[claim.user] += 1
        self._waiting.append(claim)

    def next(self) -> Claim | None:
        """Open the claim whose turn it is and return it; None if it is nobody's now."""
        urgent = [claim for claim in self._waiting if claim.is_urgent]
        found = min(urgent, key=self._order, default=None)
        if found is None or not self._may_begin(found):
            if urgent or len(self._open) >= OTHERS_AT_ONCE:
                return None
            shut = {claim.direction for claim in self._open if claim.is_urgent}
            # The first of each direction: what comes after it must not overtake it.
            firsts = (self._first(direction) for direction in Direction if not shut - {direction})
            found = next((claim for claim in firsts if claim is not None and self._may_begin(claim)), None)
        if found is not None:
            found.before_bytes = self.under_way_bytes(found.direction)
            self._waiting.remove(found)
            self._open.add(found)
            self._under_way[found.direction] += found.under_way_bytes
            if not found.is_urgent:
                self._served = max(self._served, self._begun[found.user])
                self._begun[found.user] += found.size_bytes
        return found

    def _first(self, direction: Direction) -> Claim | None:
        if self.under_way_bytes(direction) > self._window_bytes(direction):
            return None  # the usual case while much waits: nobody need be looked at
        return min((one for one in self._waiting if one.direction is direction), key=self._order, default=None)

    def moved(self, claim: Claim, size_bytes: int) -> None:
        """Say that bytes of an open claim have passed."""
        passed = min(size_bytes, claim.under_way_bytes)
        claim.under_way_bytes -= passed
        if claim in self._open:
            self._under_way[claim.direction] -= passed

    def over(self, claim: Claim) -> None:
        """Say that a claim ended, or does not wait any more."""
        if claim in self._open:
            self._open.remove(claim)
            self._under_way[claim.direction] -= claim.under_way_bytes
        else:
            self._waiting.remove(claim)
        self._present[claim.user] -= 1

    def _order(self, claim: Claim) -> tuple[int, int, int]:
        begun = 0 if claim.is_urgent else self._begun[claim.user]
        return min(claim.urgency, Urgency.ARCHIVE), begun, claim.number

    def _may_begin(self, claim: Claim) -> bool:
        if claim.is_urgent:
            most = STAT_AT_ONCE if claim.urgency is Urgency.STAT else ACTIVE_AT_ONCE
            return sum(other.is_urgent for other in self._open) < most
        under_way = self.under_way_bytes(claim.direction)
        if not under_way:
            return True
        # A reader waits for the whole of a routine content: it may go beyond what fits, but not beside urgent ones.
        is_alone = not any(other.is_urgent for other in self._open)
        needed = 1 if claim.urgency is Urgency.ROUTINE and is_alone else claim.size_bytes
        return under_way + needed <= self._window_bytes(claim.direction)
