"""Who goes when room is needed: properties that hold for any set of studies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.cache.tiers import Lifetimes, Resident, combined, departures, is_admitted
from nearframe.context import Urgency

HOUR = 3600.0
LIFETIMES = Lifetimes()

residents = st.lists(
    st.builds(
        Resident,
        key=st.integers(0, 10**6),
        urgency=st.sampled_from(Urgency),
        used_at=st.floats(0, 30 * 24 * HOUR),
        held_bytes=st.integers(0, 1000),
        is_pinned=st.booleans(),
    ),
    unique_by=lambda one: one.key,
    max_size=40,
)
NOW = 30 * 24 * HOUR


@given(residents, st.integers(-10, 20_000))
def test_what_goes_is_enough_and_no_more(studies: list[Resident[int]], needed: int) -> None:
    going = [departure.key for departure in departures(studies, needed, NOW, LIFETIMES)]
    by_key = {one.key: one for one in studies}
    sizes = [by_key[key].held_bytes for key in going]
    may_go = sum(one.held_bytes for one in studies if not one.is_pinned)
    assert sum(sizes) >= min(needed, may_go)
    assert not sizes or sum(sizes[:-1]) < needed
    assert not any(by_key[key].is_pinned or not by_key[key].held_bytes for key in going)
    assert len(set(going)) == len(going)


@given(residents, st.integers(1, 20_000))
def test_nothing_fresh_or_recent_goes_before_what_is_less_so(studies: list[Resident[int]], needed: int) -> None:
    going = departures(studies, needed, NOW, LIFETIMES)
    gone = {departure.key for departure in going}
    by_key = {one.key: one for one in studies}

    def worth(one: Resident[int]) -> tuple[bool, float]:
        return one.deadline(LIFETIMES) > NOW, one.used_at

    left = [one for one in studies if one.key not in gone and one.held_bytes and not one.is_pinned]
    assert all(worth(by_key[key]) <= worth(one) for key in gone for one in left)
    assert all(departure.is_expired == (by_key[departure.key].deadline(LIFETIMES) <= NOW) for departure in going)


def test_a_passed_deadline_goes_before_a_longer_rest() -> None:
    """A study of the list unopened for three days stays; an old one read yesterday morning goes."""
    old = Resident("old", Urgency.ARCHIVE, NOW - 25 * HOUR, 10)
    listed = Resident("listed", Urgency.ACTIVE, NOW - 72 * HOUR, 10)
    (going,) = departures([listed, old], 5, NOW, LIFETIMES)
    assert (going.key, going.is_expired) == ("old", True)


def test_bulk_is_never_fresh() -> None:
    bulk = Resident("bulk", Urgency.BULK, NOW, 10)
    routine = Resident("routine", Urgency.ROUTINE, NOW - HOUR, 10)
    assert [going.key for going in departures([routine, bulk], 1, NOW, LIFETIMES)] == ["bulk"]


@pytest.mark.parametrize(
    ("urgency", "study_bytes", "admitted"),
    [
        (Urgency.STAT, 0, True),
        (Urgency.ARCHIVE, 50, True),
        (Urgency.ROUTINE, 51, False),
        (Urgency.BULK, 0, False),
    ],
)
def test_admission(urgency: Urgency, study_bytes: int, admitted: bool) -> None:
    assert is_admitted(urgency, study_bytes, 100) is admitted


@given(st.sampled_from(Urgency), st.sampled_from(Urgency))
def test_a_study_raises_a_request_and_never_lowers_it(asked: Urgency, of_study: Urgency) -> None:
    found = combined(asked, of_study)
    assert found <= asked
    assert (found is Urgency.BULK) == (asked is Urgency.BULK)
