"""The replayed trace and the policies it compares: bounded, repeatable, and as their rules say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.policy import Event, generated, recorded, replay
from bench.replacement import LRU, POLICIES, SIEVE, WholeStudies
from nearframe.context import Urgency

accesses = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(1, 30)), max_size=200)


@pytest.mark.parametrize("name", POLICIES)
@given(accesses)
def test_a_cache_says_what_it_holds_and_keeps_within_its_size(name: str, wanted: list[tuple[int, int, int]]) -> None:
    cache = POLICIES[name](100)
    sizes: dict[tuple[int, int], int] = {}
    for now, (study, number, size) in enumerate(wanted):
        key = study, number
        if not cache.get(key, now, Urgency.ROUTINE):
            cache.put(key, sizes.setdefault(key, size), now, Urgency.ROUTINE)
    held = [key for key in sizes if cache.get(key, 10**6, Urgency.ROUTINE)]
    assert sum(sizes[key] for key in held) <= 100 + 30


def test_sieve_spares_what_was_read() -> None:
    cache = SIEVE(3)
    for number in range(3):
        cache.put((0, number), 1, 0, Urgency.ROUTINE)
    cache.get((0, 0), 0, Urgency.ROUTINE)
    cache.put((0, 3), 1, 0, Urgency.ROUTINE)
    assert [number for number in range(4) if cache.get((0, number), 0, Urgency.ROUTINE)] == [0, 2, 3]


def test_bulk_leaves_nothing_in_ours() -> None:
    cache = WholeStudies(100)
    cache.put((0, 0), 10, 0, Urgency.BULK)
    assert not cache.get((0, 0), 0, Urgency.ROUTINE)


def test_the_same_seed_gives_the_same_trace() -> None:
    trace = generated(1, 20)
    assert trace == generated(1, 20) == sorted(trace)
    assert trace != generated(2, 20)
    assert {event.urgency for event in trace} >= {Urgency.ROUTINE, Urgency.BULK}


def test_a_recorded_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("0,arrive,a,0,10,routine\n2,read,a,0,10,stat\n3,read,b,0,10,routine\n4,read,b,0,10,bulk\n")
    trace = recorded(path)
    assert trace[0] == Event(0.0, True, 0, 0, 10, Urgency.ROUTINE)
    assert replay(trace, LRU(100), pushed=True).shares() == (0.0, 1.0, 0.5)
    assert replay(trace, LRU(100), pushed=False).shares() == (1.0, 1.0, 1.0)
