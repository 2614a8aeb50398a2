"""Since when studies are out of view, and when what is kept of them goes."""

from __future__ import annotations

from nearframe.clock import ManualClock
from nearframe.edge.departing import KEPT_S, Departing
from nearframe.errors import BackendFailed
from nearframe.storage.ports import StudyRef

ONE, TWO = StudyRef("main", "1.1"), StudyRef("main", "1.2")


class Shelf:
    """Lets go of studies, unless it is told not to."""

    def __init__(self) -> None:
        self.gone: list[StudyRef] = []
        self.answers: list[bool | Exception] = []

    async def let_go(self, study: StudyRef) -> bool:
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        if answer:
            self.gone.append(study)
        return answer


async def test_what_is_out_of_view_for_long_enough_goes() -> None:
    shelf, clock = Shelf(), ManualClock()
    departing = Departing(shelf.let_go, clock)
    departing.left(ONE)
    clock.advance(KEPT_S / 2)
    departing.left(TWO)
    departing.left(ONE)  # said again, it is not younger
    assert not await departing.let_go(KEPT_S)
    clock.advance(KEPT_S / 2)
    assert await departing.let_go(KEPT_S)
    assert shelf.gone == [ONE]
    assert await departing.let_go()
    assert shelf.gone == [ONE, TWO]
    assert not await departing.let_go()


async def test_what_came_back_stays() -> None:
    shelf = Shelf()
    departing = Departing(shelf.let_go, ManualClock())
    departing.left(ONE)
    assert departing.came_back(ONE)
    assert not departing.came_back(ONE)
    assert not await departing.let_go()
    assert shelf.gone == []


async def test_what_was_out_of_view_at_the_start_goes_at_the_first_look() -> None:
    shelf = Shelf()
    departing = Departing(shelf.let_go, ManualClock())
    departing.left_earlier(ONE)
    assert await departing.let_go(KEPT_S)
    assert shelf.gone == [ONE]


async def test_what_is_in_use_or_fails_is_tried_again() -> None:
    shelf = Shelf()
    departing = Departing(shelf.let_go, ManualClock())
    departing.left(ONE)
    shelf.answers = [False, BackendFailed("the disk failed")]
    assert [await departing.let_go() for _ in range(3)] == [False, False, True]
    assert shelf.gone == [ONE]
