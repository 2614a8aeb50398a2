"""A range of a content over several connections at once."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import cast

import pytest

from nearframe import tasks
from nearframe.context import Urgency
from nearframe.edge.strands import MOST_STRANDS, STRAND_BYTES, Wanted, chunks_of
from nearframe.edge.turns import Direction, User
from nearframe.edge.upstream import Upstreams
from nearframe.errors import UpstreamUnavailable
from nearframe.ids import sha256
from nearframe.metrics import LINE_RESUMED
from nearframe.storage.ports import StudyRef
from tests.unit.edge.fakes import FakeUpstream, settle

PICTURE = random.Random(8).randbytes(100_000)


def upstream(at_hand: int) -> FakeUpstream:
    made = FakeUpstream(PICTURE)
    made.at_hand = at_hand
    return made


async def taken(
    made: FakeUpstream,
    start: int = 0,
    stop: int | None = None,
    user: User = User.READER,
    length: int = len(PICTURE),
    urgency: Urgency = Urgency.STAT,
) -> bytes:
    wanted = Wanted(StudyRef("main", "1.2"), sha256(PICTURE), length, user)
    transfer = made.line.transfer(user, urgency, len(PICTURE))
    async with transfer.turn(), aclosing(chunks_of(cast("Upstreams", made), wanted, transfer, start, stop)) as chunks:
        found = [chunk async for chunk in chunks]
    assert {total for total, _ in found} == {len(PICTURE)}
    return b"".join(data for _, data in found)


@pytest.mark.parametrize(("at_hand", "strands"), [(0, 1), (1, 1), (3, 3), (40, MOST_STRANDS)])
async def test_divided_among_the_connections_at_hand(at_hand: int, strands: int) -> None:
    made = upstream(at_hand)
    assert await taken(made) == PICTURE
    assert len(made.ranges) == strands
    ends = [stop for _, stop in made.ranges]
    assert [start for start, _ in made.ranges] == [0, *ends[:-1]]
    assert ends[-1] is None


async def test_connections_are_opened_together_if_none_is_at_hand() -> None:
    made = upstream(0)
    made.can_open = 40
    assert await taken(made, 0, 3 * STRAND_BYTES) == PICTURE[: 3 * STRAND_BYTES]
    assert len(made.ranges) == made.at_hand == 3, "as many as are worth it"


async def test_a_range_is_divided_as_far_as_it_is_worth_it() -> None:
    made = upstream(8)
    assert await taken(made, 500, 500 + 2 * STRAND_BYTES) == PICTURE[500 : 500 + 2 * STRAND_BYTES]
    assert made.ranges == [(500, 500 + STRAND_BYTES), (500 + STRAND_BYTES, 500 + 2 * STRAND_BYTES)]


async def test_what_nobody_waits_for_is_not_divided() -> None:
    made = upstream(8)
    assert await taken(made, user=User.READ_AHEAD) == PICTURE
    assert await taken(made, length=0) == PICTURE, "a length that is not known"
    assert made.ranges == [(0, None)] * 2


@pytest.mark.parametrize(("urgency", "strands"), [(Urgency.ROUTINE, 1), (Urgency.ACTIVE, MOST_STRANDS)])
async def test_on_a_full_line_only_what_is_urgent_is_divided(urgency: Urgency, strands: int) -> None:
    made = upstream(8)
    full = made.line.windows[Direction.DOWN].bytes
    async with made.line.transfer(User.READER, Urgency.ROUTINE, full).turn():
        assert await taken(made, urgency=urgency) == PICTURE
    assert len(made.ranges) == strands


async def test_a_strand_is_gone_on_with_where_it_was_cut() -> None:
    made = upstream(4)
    made.chunk_bytes = 5_000
    made.cuts = [10_000, 60_000]
    assert await taken(made) == PICTURE
    assert made.asked["content"] == 6
    assert made.sent == len(PICTURE), "no byte twice"
    assert made.metrics.value(LINE_RESUMED) == 2


async def test_a_strand_that_breaks_ends_the_others() -> None:
    made = upstream(4)
    made.go.clear()
    taking = tasks.spawn(taken(made), name="taking")
    await settle()
    made.errors = [UpstreamUnavailable("cut")]
    made.go.set()
    with pytest.raises(UpstreamUnavailable):
        await taking
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "strand"]
