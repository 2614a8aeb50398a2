"""The window that first bytes lead: how it grows and shrinks, and between which bounds."""

from __future__ import annotations

import pytest

from nearframe.edge.linemeter import RoundTripMeter
from nearframe.edge.linewindow import MOST_HELD, LineWindow

RATE = 1_250_000.0
ROUND_TRIP_S = 0.04
HELD = int(RATE * ROUND_TRIP_S)


class Answers:
    """A window, and the answers it is told of, one after the other."""

    def __init__(self, rate: float = RATE) -> None:
        self.rate = rate
        self.round_trip = RoundTripMeter()
        self.window = LineWindow(lambda: self.rate, self.round_trip)
        self.now = 0.0
        self.come(ROUND_TRIP_S, before=0)

    def come(self, took_s: float, before: int | None = None, times: int = 3) -> None:
        for _ in range(times):
            self.now += took_s
            self.window.answered(self.now, took_s, self.window.bytes if before is None else before, 1)


def test_it_begins_with_what_the_line_holds() -> None:
    assert Answers().window.bytes == HELD


def test_it_grows_while_first_bytes_come_at_once_and_not_beyond_reason() -> None:
    answers, sizes = Answers(), []
    for _ in range(8):
        answers.come(ROUND_TRIP_S)
        sizes.append(answers.window.bytes)
    assert sizes == sorted(sizes)
    assert sizes[0] == pytest.approx(1.25 * HELD, rel=0.01)
    assert sizes[-1] == int(MOST_HELD * HELD)


def test_it_stays_where_first_bytes_come_as_late_as_aimed_at() -> None:
    answers = Answers()
    answers.come(ROUND_TRIP_S)
    before = answers.window.bytes
    answers.come(1.25 * ROUND_TRIP_S, times=9)
    assert answers.window.bytes == pytest.approx(before, rel=0.01)


def test_it_shrinks_when_they_come_late_but_not_below_what_the_line_holds() -> None:
    answers = Answers()
    answers.come(ROUND_TRIP_S, times=6)
    answers.come(1.5 * ROUND_TRIP_S)
    assert HELD < answers.window.bytes < 1.5 * HELD
    answers.come(5 * ROUND_TRIP_S, times=9)
    assert answers.window.bytes == HELD


def test_one_late_answer_among_others_says_nothing() -> None:
    answers = Answers()
    answers.come(9 * ROUND_TRIP_S, times=1)
    answers.come(ROUND_TRIP_S, times=2)
    assert answers.window.bytes > HELD


def test_what_nobody_fills_does_not_grow() -> None:
    answers = Answers()
    answers.come(ROUND_TRIP_S, before=HELD // 2, times=9)
    assert answers.window.bytes == HELD


def test_what_was_asked_for_before_a_change_does_not_speak_of_it() -> None:
    answers = Answers()
    answers.come(ROUND_TRIP_S)
    grown, now = answers.window.bytes, answers.now
    for _ in range(9):
        answers.window.answered(now, 9 * ROUND_TRIP_S, HELD, 1)
    assert answers.window.bytes == grown


def test_a_way_that_became_longer_is_believed_once_nothing_is_before_an_answer() -> None:
    answers = Answers()
    answers.come(10 * ROUND_TRIP_S, times=30)
    assert answers.window.bytes == HELD, "with something before them it is a queue"
    answers.come(10 * ROUND_TRIP_S, before=0, times=8)
    assert answers.window.bytes == 10 * HELD
