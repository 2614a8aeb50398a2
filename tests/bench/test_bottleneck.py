"""The line of the benchmarks: rate, delay, queue and counting, against their definitions."""

from __future__ import annotations

import pytest

from bench.bottleneck import Direction, Line

TEN_MEGABIT = Line(rate_bits_s=10e6, round_trip_s=0.04, queue_s=0.2505)
PACKET = bytes(1250)  # one millisecond at 10 Mbit/s


def test_a_packet_takes_its_time_on_the_line_and_half_the_round_trip() -> None:
    way = Direction(TEN_MEGABIT)
    way.offer(5.0, PACKET)
    assert way.next_at == pytest.approx(5.0 + 0.001 + 0.02)
    assert list(way.due(5.0209)) == []
    assert list(way.due(5.0211)) == [PACKET]
    assert way.next_at == float("inf")


def test_packets_leave_no_faster_than_the_rate_and_in_order() -> None:
    way = Direction(TEN_MEGABIT)
    packets = [number.to_bytes(2) + PACKET[2:] for number in range(100)]
    for packet in packets:
        way.offer(0.0, packet)
    assert list(way.due(0.0201 + 0.050)) == packets[:50]
    assert list(way.due(1.0)) == packets[50:]


def test_an_idle_line_saves_nothing_up() -> None:
    way = Direction(TEN_MEGABIT)
    way.offer(0.0, PACKET)
    way.offer(10.0, PACKET)
    way.offer(10.0, PACKET)
    assert len(list(way.due(10.0 + 0.02 + 0.0015))) == 2
    assert way.next_at == pytest.approx(10.022)


def test_the_queue_drops_its_tail_and_counts_it() -> None:
    way = Direction(TEN_MEGABIT)
    for _ in range(300):  # the queue holds 250 of them
        way.offer(0.0, PACKET)
    assert way.passed.dropped == 50
    way.offer(0.010, PACKET)  # ten have left
    assert way.passed.dropped == 50
    assert len(list(way.due(2.0))) == 251


def test_what_arrived_is_counted_what_is_dropped_or_under_way_is_not() -> None:
    way = Direction(TEN_MEGABIT)
    for _ in range(260):
        way.offer(0.0, PACKET)
    list(way.due(0.1005))
    assert (way.passed.packets, way.passed.bytes, way.passed.dropped) == (80, 80 * 1250, 10)


def test_a_queue_takes_at_least_one_packet() -> None:
    way = Direction(Line(rate_bits_s=64e3, round_trip_s=0.0, queue_s=0.0))
    way.offer(0.0, PACKET)
    assert way.passed.dropped == 0
