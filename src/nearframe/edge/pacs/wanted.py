"""Instances that are wanted of an archive, and in which batches to ask for them. Pure but for its futures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count, islice
from typing import Final, TypeAlias

from nearframe.context import Urgency
from nearframe.dimse.scu_query import Level
from nearframe.errors import NearframeError
from nearframe.storage.ports import Buffer, StudyRef

#: In one request: few enough that what becomes urgent meanwhile does not wait long, and that no identifier is
#: long; enough that an archive which opens an association for each C-MOVE does so rarely.
MOST_IN_BATCH: Final = 32

Body: TypeAlias = AsyncIterator[Buffer]


class Way(Enum):
    """How an archive is asked to send: on our association, or on one of its own."""

    GET = Level.IMAGE.get_model
    MOVE = Level.IMAGE.move_model


@dataclass(eq=False, slots=True)
class Wanted:
    """An instance that somebody waits for.

    Attributes
    ----------
    sop_class
        Empty if it is not known.
    tried
        In which ways it was asked for in vain.
    is_alone
        Whether a batch did not bring it: it is asked for by itself next.
    came
        Its file, once it begins to arrive; or why it does not.
    raised
        Called when it became more urgent.
    kept
        Done when whoever waited is: None if it is durable, else why not.
    """

    study: StudyRef
    series: str
    instance: str
    sop_class: str
    urgency: Urgency
    number: int = 0
    tried: frozenset[Way] = frozenset()
    is_alone: bool = False
    is_under_way: bool = False
    raised: Callable[[], object] = lambda: None
    came: asyncio.Future[Body] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    kept: asyncio.Future[NearframeError | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def raise_to(self, urgency: Urgency) -> None:
        """Make it as urgent as somebody who wants it too."""
        if urgency < self.urgency:
            self.urgency = urgency
            self.raised()

    def fail(self, error: NearframeError) -> None:
        """Tell who waits that it does not come."""
        if not self.came.done():
            self.came.set_exception(error)
            self.came.exception()  # nobody need ask

    def settle(self, error: NearframeError | None) -> None:
        """Say that who waited has it, or why not."""
        if not self.kept.done():
            self.kept.set_result(error)


@dataclass(frozen=True, slots=True)
class Batch:
    """What is asked for at once: of one series, and as urgent."""

    wanted: Sequence[Wanted]
    is_background: bool

    @property
    def tried(self) -> frozenset[Way]:
        return self.wanted[0].tried

    def lacking(self) -> list[Wanted]:
        """Return what has not come."""
        return [one for one in self.wanted if not one.came.done()]

    def fail(self, error: NearframeError) -> None:
        """Tell who waits that the rest does not come."""
        for one in self.wanted:
            one.fail(error)

    def came_short(self, way: Way, others: Collection[Way], *, is_refused: bool = False) -> list[Wanted]:
        """Note that it was asked for; return what can be asked for in no way any more.

        Parameters
        ----------
        others
            What other ways there are. A batch of which nothing came is first tried in those.
        is_refused
            Nothing can be had in this way, one by one neither.
        """
        lacking = self.lacking()
        is_vain = is_refused or len(self.wanted) == 1
        is_vain |= len(lacking) == len(self.wanted) and bool(set(others) - self.tried)
        for one in lacking:
            one.is_alone = not is_vain
            if is_vain:
                one.tried |= {way}
        return [one for one in lacking if one.tried.issuperset({way, *others})]


class Queue:
    """What is wanted, most urgent first and then oldest. For one event loop."""

    def __init__(self) -> None:
        self._wanted: dict[Wanted, None] = {}
        self._numbers = count()

    def add(self, wanted: Wanted) -> None:
        wanted.number = next(self._numbers)
        self._wanted[wanted] = None

    def remove(self, wanted: Wanted) -> None:
        self._wanted.pop(wanted, None)

    def waiting(self) -> Iterator[Wanted]:
        """Yield what is wanted and not under way."""
        return (one for one in self._wanted if not one.is_under_way and not one.came.done())

    def batch(self, may: Callable[[Wanted], bool]) -> Batch | None:
        """Return what to ask for next, of what may be; what a batch did not bring goes alone."""
        first = min(filter(may, self.waiting()), key=_order, default=None)
        if first is None:
            return None
        others = (one for one in self.waiting() if one is not first and _goes_with(one, first) and may(one))
        chosen = [first, *islice(sorted(others, key=_order), 0 if first.is_alone else MOST_IN_BATCH - 1)]
        return Batch(chosen, first.urgency > Urgency.ROUTINE)

    def fail(self, error: NearframeError) -> None:
        """Tell everybody who waits."""
        for wanted in self._wanted:
            wanted.fail(error)


def _order(wanted: Wanted) -> tuple[Urgency, int]:
    return wanted.urgency, wanted.number


def _goes_with(one: Wanted, first: Wanted) -> bool:
    alike = (first.study, first.series, first.urgency, first.tried)
    return not one.is_alone and (one.study, one.series, one.urgency, one.tried) == alike
