"""Rates and round trips from what passes."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from nearframe.edge.linemeter import RateMeter, RoundTripMeter

RATE = 1_250_000.0


def transfer(meter: RateMeter, at: float, size: int, reads: int, rate: float = RATE) -> float:
    """Pass bytes at the line's rate, in so many reads; return when the last came."""
    mark = meter.asked(at - 0.04)
    meter.flow_began(at, size // reads)
    for _ in range(reads - 1):
        at += size / reads / rate
        meter.moved(at, size // reads)
    meter.flow_ended(at, mark)
    return at


@given(st.integers(0, 1000), st.floats(0, 5))
def test_pauses_between_transfers_do_not_count(seed: int, pause_s: float) -> None:
    meter, at, rng = RateMeter(), 0.0, random.Random(seed)
    for _ in range(40):
        at = transfer(meter, at + pause_s, rng.randrange(10_000, 300_000), rng.randrange(2, 30))
    assert meter.bytes_s is not None
    assert abs(meter.bytes_s / RATE - 1) < 0.1


def test_an_upstream_that_dawdles_now_and_then_does_not_make_the_line_slow() -> None:
    meter, at = RateMeter(), 0.0
    for number in range(40):
        at = transfer(meter, at, 200_000, 20, RATE / 10 if number % 8 == 0 else RATE)
    assert meter.bytes_s is not None
    assert meter.bytes_s > 0.9 * RATE


def test_flows_at_the_same_time_share_the_line() -> None:
    meter = RateMeter()
    meter.flow_began(0.0, 1000)
    meter.flow_began(0.01, 1000)
    at = 0.01
    for _ in range(100):
        at += 0.01
        meter.moved(at, int(RATE * 0.01))
    assert meter.bytes_s is not None
    assert abs(meter.bytes_s / RATE - 1) < 0.05


def test_what_a_buffer_gives_at_once_is_no_more_than_came_since_it_was_asked_for() -> None:
    meter = RateMeter()
    for at in range(100):
        mark = meter.asked(float(at))
        meter.flow_began(at + 0.5, 200_000)
        meter.flow_ended(at + 0.5, mark)
    assert meter.bytes_s == 400_000


def test_the_line_becomes_quicker_or_slower() -> None:
    meter, at = RateMeter(), 0.0
    for rate in (RATE, 10 * RATE, RATE / 4):
        for _ in range(100):
            at = transfer(meter, at, 200_000, 20, rate)
        assert meter.bytes_s is not None
        assert abs(meter.bytes_s / rate - 1) < 0.1


def test_the_round_trip_is_the_shortest_of_the_last_few() -> None:
    meter = RoundTripMeter()
    for took_s in (0.3, 0.04, 0.2, 0.25):
        meter.answered(took_s)
    assert meter.seconds == 0.04, "an upstream that dawdles is not far away"
    for _ in range(8):
        meter.answered(0.09)
    assert meter.seconds == 0.09, "the way is longer now"
