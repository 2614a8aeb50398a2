"""How long what was looked up may be believed."""

from __future__ import annotations

from nearframe.clock import ManualClock
from nearframe.storage.objects.freshness import STALE_S, Freshness


def test_the_number_is_asked_for_once_in_a_while() -> None:
    clock, numbers, heard = ManualClock(), iter([1, 1, 2]), list[str]()
    freshness = Freshness(lambda: next(numbers), clock, lambda: heard.append("changed"))
    for _ in range(2):
        freshness.refresh()
    assert (freshness.generation, heard) == (1, [])
    clock.advance(STALE_S)
    assert not freshness.is_fresh()
    freshness.refresh()
    assert (freshness.generation, heard) == (2, ["changed"])


def test_a_change_while_the_number_is_on_its_way_is_not_missed() -> None:
    changed: list[Freshness] = []

    def read() -> int:
        for one in changed:
            one.end()
        return 1

    freshness = Freshness(read, ManualClock(), lambda: None)
    changed.append(freshness)
    freshness.refresh()
    assert not freshness.is_fresh()
