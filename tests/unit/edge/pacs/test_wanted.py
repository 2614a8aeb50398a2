"""In which batches instances are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator

from nearframe.context import Urgency
from nearframe.edge.pacs.wanted import MOST_IN_BATCH, Batch, Queue, Wanted, Way
from nearframe.errors import UpstreamError
from nearframe.storage.ports import StudyRef

STUDY = StudyRef("main", "1.2")


def wanted(queue: Queue, instance: str, urgency: Urgency = Urgency.ARCHIVE, series: str = "1.2.1") -> Wanted:
    one = Wanted(STUDY, series, instance, "", urgency)
    queue.add(one)
    return one


def next_of(queue: Queue, most: Urgency = Urgency.BULK) -> list[str]:
    batch = queue.batch(lambda one: one.urgency <= most)
    return [] if batch is None else [one.instance for one in batch.wanted]


async def test_a_batch_is_of_one_series_and_as_urgent_oldest_first() -> None:
    queue = Queue()
    for name in ("a", "b", "c"):
        wanted(queue, name)
    wanted(queue, "other", series="1.2.2")
    assert next_of(queue) == ["a", "b", "c"]
    urgent = wanted(queue, "urgent", Urgency.ROUTINE)
    assert next_of(queue) == ["urgent"]
    queue.remove(urgent)
    for number in range(MOST_IN_BATCH):
        wanted(queue, f"more {number}")
    assert len(next_of(queue)) == MOST_IN_BATCH


async def test_who_wants_it_too_makes_it_more_urgent_and_never_less() -> None:
    queue = Queue()
    wanted(queue, "a")
    raised = wanted(queue, "b")
    raised.raise_to(Urgency.STAT)
    raised.raise_to(Urgency.BULK)
    assert next_of(queue) == ["b"]
    assert next_of(queue, most=Urgency.STAT) == ["b"]


async def test_what_was_asked_for_in_vain_goes_alone() -> None:
    queue = Queue()
    first, _, _ = (wanted(queue, name) for name in ("a", "b", "c"))
    first.is_alone = True
    assert next_of(queue) == ["a"]
    first.is_under_way = True
    assert next_of(queue) == ["b", "c"]


def came(one: Wanted) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b""

    one.came.set_result(body())


async def test_what_a_batch_did_not_bring_is_asked_for_by_itself() -> None:
    queue = Queue()
    first, second = wanted(queue, "a"), wanted(queue, "b")
    batch = Batch([first, second], is_background=True)
    came(first)
    assert batch.came_short(Way.GET, [Way.MOVE]) == []
    assert (second.is_alone, second.tried) == (True, frozenset())
    alone = Batch([second], is_background=True)
    assert alone.came_short(Way.GET, [Way.MOVE]) == []
    assert (second.is_alone, second.tried) == (False, frozenset({Way.GET}))
    assert alone.came_short(Way.MOVE, [Way.GET]) == [second]


async def test_a_batch_of_which_nothing_came_is_asked_for_in_the_other_way_and_then_one_by_one() -> None:
    queue = Queue()
    both = [wanted(queue, "a"), wanted(queue, "b")]
    batch = Batch(both, is_background=True)
    assert batch.came_short(Way.GET, [Way.MOVE]) == []
    assert [(one.is_alone, one.tried) for one in both] == [(False, frozenset({Way.GET}))] * 2
    assert batch.came_short(Way.MOVE, [Way.GET]) == []
    assert [one.is_alone for one in both] == [True, True]
    assert Batch(both[:1], is_background=True).came_short(Way.MOVE, [Way.GET]) == both[:1]


async def test_what_is_refused_is_not_asked_for_one_by_one() -> None:
    queue = Queue()
    both = [wanted(queue, "a"), wanted(queue, "b")]
    assert Batch(both, is_background=True).came_short(Way.GET, [], is_refused=True) == both


async def test_where_there_is_one_way_it_is_tried_one_by_one() -> None:
    queue = Queue()
    both = [wanted(queue, "a"), wanted(queue, "b")]
    assert Batch(both, is_background=True).came_short(Way.GET, []) == []
    assert Batch(both[:1], is_background=True).came_short(Way.GET, []) == both[:1]


async def test_what_came_or_failed_is_not_asked_for() -> None:
    queue = Queue()
    wanted(queue, "a").fail(UpstreamError("away"))
    assert next_of(queue) == []
    wanted(queue, "b").came.cancel()
    assert next_of(queue) == []
    assert queue.batch(lambda one: True) is None
