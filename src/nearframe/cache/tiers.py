"""What a bounded cache of studies keeps: classes, deadlines, and who goes when room is needed.

Pure: times are seconds of one clock, keys are whatever names a study.

- What a class's lifetime means: for so long after it was last opened (or came) a study is
  *fresh*. Nothing is deleted because a lifetime has passed; the study is then the first to go.
- Room is made by whole studies: half a series is of no use to a reader. First go those whose
  deadline has passed, then those not opened for longest. Study recency beats the clever
  policies where studies are pushed before anybody reads them.
- What is pinned never goes.
- Bulk reading leaves no trace: what it fetches is not kept, and it makes nothing look recent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from nearframe.context import Urgency

K = TypeVar("K")

_BULK = Urgency.BULK
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Seconds after its last use for which a study of a class is fresh."""

    stat: float = 24 * _HOUR_S
    active: float = 7 * 24 * _HOUR_S
    routine: float = 72 * _HOUR_S
    archive: float = 24 * _HOUR_S

    def of(self, urgency: Urgency) -> float:
        """Return the lifetime of a class; bulk has none."""
        if urgency is Urgency.BULK:
            return 0.0
        return (self.stat, self.active, self.routine, self.archive)[urgency]


@dataclass(frozen=True, slots=True)
class Resident(Generic[K]):
    """A study that takes room.

    Attributes
    ----------
    used_at
        When it was last opened, or came.
    is_pinned
        True while it may not go: pinned by a person, in an open consult, or not upstream yet.
    """

    key: K
    urgency: Urgency
    used_at: float
    held_bytes: int
    is_pinned: bool = False

    def deadline(self, lifetimes: Lifetimes) -> float:
        """Return the time until which it is fresh."""
        return self.used_at + lifetimes.of(self.urgency)


@dataclass(frozen=True, slots=True)
class Departure(Generic[K]):
    """A study that goes, and whether its deadline had passed."""

    key: K
    is_expired: bool


def departures(
    residents: Iterable[Resident[K]], needed_bytes: int, now: float, lifetimes: Lifetimes
) -> list[Departure[K]]:
    """Return the studies that go to make room, in order; fewer than needed where the rest is pinned."""
    order = sorted(
        (
            (now < one.deadline(lifetimes), one.used_at, one)
            for one in residents
            if one.held_bytes and not one.is_pinned
        ),
        key=lambda place: place[:2],
    )
    going: list[Departure[K]] = []
    for is_fresh, _, one in order:
        if needed_bytes <= 0:
            break
        going.append(Departure(one.key, not is_fresh))
        needed_bytes -= one.held_bytes
    return going


def is_admitted(urgency: Urgency, study_bytes: int, budget_bytes: int) -> bool:
    """Return whether what is fetched at a class is kept.

    A study that alone takes half of the room is kept that far and no further, lest it put out all others.
    """
    return urgency is not Urgency.BULK and study_bytes * 2 <= budget_bytes


def combined(asked: Urgency, of_study: Urgency) -> Urgency:
    """Return the class of a request for something of a study.

    The study's class may raise it. A request that says it is bulk is: an export of today's list is still an export.
    """
    return asked if asked <= of_study or asked is _BULK else of_study
