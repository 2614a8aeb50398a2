"""The breaker, by hand-turned clock."""

from __future__ import annotations

import random

import pytest

from nearframe.clock import ManualClock
from nearframe.edge.breaker import FAILURES_TO_OPEN, LONGEST_PAUSE_S, Breaker
from nearframe.errors import UpstreamUnavailable


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    return Breaker(clock, random.Random(1))


def open_it(breaker: Breaker) -> None:
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed()


def test_a_failure_now_and_then_opens_nothing(breaker: Breaker) -> None:
    for _ in range(10):
        breaker.failed()
        breaker.check()
        breaker.succeeded()
    assert not breaker.is_open


def test_it_opens_and_lets_one_probe_through(breaker: Breaker, clock: ManualClock) -> None:
    open_it(breaker)
    with pytest.raises(UpstreamUnavailable, match="line is back"):
        breaker.check()
    clock.advance(breaker.pause_s)
    breaker.check()
    with pytest.raises(UpstreamUnavailable):
        breaker.check()
    breaker.succeeded()
    breaker.check()
    assert breaker.pause_s == 0


def test_pauses_grow_to_a_limit(breaker: Breaker, clock: ManualClock) -> None:
    open_it(breaker)
    pauses = []
    for _ in range(20):
        pauses.append(breaker.pause_s)
        clock.advance(breaker.pause_s)
        breaker.check()
        breaker.failed()
    assert 0 < pauses[0] <= 0.5
    assert max(pauses) <= LONGEST_PAUSE_S
    assert pauses[-1] >= LONGEST_PAUSE_S / 2
