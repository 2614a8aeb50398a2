"""Negative answers: for seconds, within bounds, and never across a change."""

from __future__ import annotations

from nearframe.cache.absences import Absences
from nearframe.clock import ManualClock


class State:
    """What an absence was found under."""


def test_for_a_while_and_while_nothing_changes() -> None:
    clock, state = ManualClock(), State()
    absences: Absences[str] = Absences(5, 10, clock.monotonic)
    absences.note("a", state)
    assert absences.holds("a", state)
    assert not absences.holds("b", state)
    clock.advance(5)
    assert not absences.holds("a", state)
    absences.note("a", state)
    assert not absences.holds("a", State()), "the study changed meanwhile"
    assert len(absences) == 0


def test_bounded() -> None:
    state = State()
    absences: Absences[int] = Absences(5, 10, ManualClock().monotonic)
    for number in range(100):
        absences.note(number, state)
    assert len(absences) == 10
    assert absences.holds(99, state)
    assert not absences.holds(0, state)
