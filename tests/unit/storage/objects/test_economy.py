"""What is worth rewriting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nearframe.storage.catalogue.values import microseconds
from nearframe.storage.objects.economy import MANY_SMALL, PACKED_BYTES, SETTLED, groups_worth_rewriting
from nearframe.storage.objects.index import ObjectUse
from nearframe.units import KIB, MIB

NOW = datetime(2026, 1, 2, tzinfo=UTC)
YESTERDAY = microseconds(NOW - timedelta(days=1))


def use(number: int, length: int, live: int, *, written_at: int = YESTERDAY, held: bool = False) -> ObjectUse:
    return ObjectUse(number, "", length, live, min(live, 1), live, written_at, held)


def chosen(*objects: ObjectUse) -> list[list[int]]:
    return [[one.id for one in group] for group in groups_worth_rewriting(objects, NOW)]


def test_what_is_mostly_alive_stays() -> None:
    assert chosen(use(1, 16 * MIB, 9 * MIB)) == []


def test_what_is_mostly_dead_is_rewritten() -> None:
    assert chosen(use(1, 16 * MIB, 7 * MIB)) == [[1]]


def test_a_few_dead_bytes_are_not_worth_the_requests() -> None:
    assert chosen(use(1, 100 * KIB, 10 * KIB)) == []


def test_what_is_wholly_dead_goes_however_small() -> None:
    assert chosen(use(1, 1 * KIB, 0)) == [[1]]


def test_small_objects_are_put_together_once_they_are_many() -> None:
    few = [use(number, 300 * KIB, 300 * KIB) for number in range(1, MANY_SMALL)]
    assert chosen(*few) == []
    assert chosen(*few, use(MANY_SMALL, 300 * KIB, 300 * KIB)) == [list(range(1, MANY_SMALL + 1))]


def test_what_is_young_or_under_a_hold_stays() -> None:
    young = microseconds(NOW - SETTLED) + 1
    assert chosen(use(1, 16 * MIB, MIB, written_at=young), use(2, 16 * MIB, MIB, held=True)) == []


def test_the_survivors_of_a_group_fit_one_object() -> None:
    sparse = [use(number, PACKED_BYTES, PACKED_BYTES // 3) for number in range(1, 8)]
    assert chosen(*sparse) == [[1, 2, 3], [4, 5, 6], [7]]
