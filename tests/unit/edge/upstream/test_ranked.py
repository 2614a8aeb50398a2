"""Several upstreams in their order: who is asked, and which one is in use."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from nearframe.clock import SystemClock
from nearframe.context import Urgency
from nearframe.edge.breaker import FAILURES_TO_OPEN, Breaker
from nearframe.edge.line import Line
from nearframe.edge.turns import User
from nearframe.edge.upstream import Upstream, Upstreams
from nearframe.errors import IntegrityError, NearframeError, NotFound, UpstreamError, UpstreamUnavailable
from nearframe.ids import Digest, sha256
from nearframe.metrics import UPSTREAM_HEALTHY, UPSTREAM_IN_USE, UPSTREAM_SWITCHES, Metrics
from nearframe.storage.ports import StudyRef
from nearframe.wire.contentstream import Data
from tests.unit.edge.fakes import FakeUpstream, settle

STUDY = StudyRef("main", "1.2.3")
FRAME = b"a frame"
ENC = sha256(FRAME)
AWAY = UpstreamUnavailable("away")
#: Longer than any of these tests takes.
NEVER_S = (3600.0, 3600.0)


class One(FakeUpstream):
    """One of several."""

    def __init__(self, rank: int, *contents: bytes) -> None:
        super().__init__(*contents)
        self.rank = rank
        self.url = f"http://upstream-{rank}"
        self.breaker: Any = Breaker(SystemClock(), random.Random(rank))
        self.last_contact_s: float | None = None

    @property
    def is_reachable(self) -> bool:
        return not self.breaker.is_open

    def fail(self, times: int = FAILURES_TO_OPEN) -> None:
        for _ in range(times):
            self.breaker.failed()


class Ranked:
    def __init__(self, count: int, back_s: tuple[float, float] = NEVER_S) -> None:
        clock, self.metrics = SystemClock(), Metrics()
        self.ones = [One(rank, FRAME) for rank in range(count)]
        self.line = Line(clock, self.metrics)
        ranked = [cast("Upstream", one) for one in self.ones]
        self.upstreams = Upstreams(ranked, self.line, clock, self.metrics, back_s=back_s)

    async def read(self, digest: Digest = ENC) -> bytes:
        transfer = self.line.transfer(User.READER, Urgency.ACTIVE, len(FRAME))
        async with transfer.turn(), self.upstreams.content(STUDY, digest, transfer) as (_, chunks):
            return b"".join([chunk async for chunk in chunks])

    @property
    def in_use(self) -> int:
        return self.upstreams.current.rank

    def asked(self, what: str = "content") -> list[int]:
        return [one.asked[what] for one in self.ones]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


@pytest.fixture
async def three() -> AsyncIterator[Ranked]:
    made = Ranked(3)
    made.upstreams.start()
    yield made
    await made.upstreams.close()


@pytest.fixture
async def two() -> AsyncIterator[Ranked]:
    """Of which a better one is in use again at once."""
    made = Ranked(2, back_s=(0.0, 0.0))
    made.upstreams.start()
    yield made
    await made.upstreams.close()


# -- who is asked ------------------------------------------------------------------------------


async def test_the_one_in_use_is_asked_alone(three: Ranked) -> None:
    assert await three.read() == FRAME
    assert three.asked() == [1, 0, 0]


@pytest.mark.parametrize("error", [AWAY, NotFound("content"), UpstreamError("500")])
async def test_a_request_that_fails_goes_on_at_the_next(three: Ranked, error: NearframeError) -> None:
    three.ones[0].errors = [error]
    three.ones[1].errors = [error]
    assert await three.read() == FRAME
    assert three.asked() == [1, 1, 1]
    assert three.in_use == 0, "one failure is no outage"


async def test_if_all_fail_the_best_ranked_ones_word_counts(three: Ranked) -> None:
    for one, error in zip(three.ones, (AWAY, NotFound("content"), NotFound("content")), strict=True):
        one.errors = [error]
    with pytest.raises(UpstreamUnavailable):
        await three.read()


async def test_what_is_false_is_not_asked_for_elsewhere(three: Ranked) -> None:
    three.ones[0].errors = [IntegrityError("spoiled")]
    with pytest.raises(IntegrityError):
        await three.read()
    assert three.asked() == [1, 0, 0]


async def test_what_fails_in_the_middle_is_the_readers_to_resume(three: Ranked) -> None:
    three.ones[0].cuts = [3]
    with pytest.raises(UpstreamUnavailable):
        await three.read()
    assert three.asked() == [1, 0, 0]


async def test_one_that_failed_last_is_asked_last(three: Ranked) -> None:
    three.ones[0].fail(1)
    assert await three.read() == FRAME
    assert three.asked() == [0, 1, 0]
    three.ones[1].fail()
    three.ones[2].errors = [AWAY]
    assert await three.read() == FRAME
    assert three.asked() == [1, 1, 1], "the third, then the first, that failed once; the second is away"


async def test_batches_and_lists_go_the_same_way(three: Ranked) -> None:
    three.ones[0].errors = [AWAY, NotFound("study")]
    transfer = three.line.transfer(User.READ_AHEAD, Urgency.ROUTINE, len(FRAME))
    async with transfer.turn(), three.upstreams.contents(STUDY, [ENC], 1000, transfer) as events:
        assert [event.data async for event in events if isinstance(event, Data)] == [FRAME]
    assert three.asked("contents") == [1, 1, 0]
    assert await three.upstreams.renditions(STUDY, Urgency.ROUTINE) == b"http://upstream-1"


async def test_one_alone_is_not_looked_after() -> None:
    alone = Ranked(1)
    alone.upstreams.start()
    alone.ones[0].fail()
    await settle()
    assert alone.in_use == 0
    assert alone.upstreams.is_away
    await alone.upstreams.close()
    assert alone.asked("close") == [1]
    assert alone.asked("probe") == [0]


# -- which one is in use -------------------------------------------------------------------------


async def test_the_next_is_in_use_when_one_is_away(three: Ranked) -> None:
    leaving = asyncio.ensure_future(three.upstreams.left(three.upstreams.current))
    three.ones[0].fail(FAILURES_TO_OPEN - 1)
    await settle()
    assert (three.in_use, leaving.done()) == (0, False)
    three.ones[0].fail(1)
    await until(leaving.done)
    assert three.in_use == 1
    assert three.metrics.value(UPSTREAM_SWITCHES, why="away") == 1
    assert three.upstreams.is_reachable
    assert not three.upstreams.is_away


async def test_one_that_fails_just_now_is_passed_over(three: Ranked) -> None:
    three.ones[1].fail(1)
    await settle()
    three.ones[0].fail()
    await until(lambda: three.in_use == 2)


async def test_with_all_away_the_one_in_use_stays(three: Ranked) -> None:
    for one in reversed(three.ones):
        one.fail()
    await settle()
    assert three.in_use == 0
    assert three.upstreams.is_away
    three.ones[2].breaker.succeeded()
    await until(lambda: three.in_use == 2)


async def test_a_better_one_is_in_use_again_once_it_is_well(two: Ranked) -> None:
    two.ones[0].fail()
    await until(lambda: two.in_use == 1)
    two.ones[0].breaker.succeeded()
    await until(lambda: two.in_use == 0)
    assert two.metrics.value(UPSTREAM_SWITCHES, why="back") == 1
    two.metrics.exposition()
    assert [two.metrics.value(UPSTREAM_IN_USE, rank=rank) for rank in "01"] == [1, 0]
    assert [two.metrics.value(UPSTREAM_HEALTHY, rank=rank) for rank in "01"] == [1, 1]


async def test_a_better_one_has_to_be_well_for_a_while(three: Ranked) -> None:
    three.ones[0].fail()
    await until(lambda: three.in_use == 1)
    three.ones[0].breaker.succeeded()
    await settle()
    assert three.in_use == 1


async def test_one_that_failed_is_probed_until_it_answers(two: Ranked) -> None:
    two.ones[0].errors = [AWAY]
    two.ones[0].fail(1)
    await until(lambda: two.ones[0].asked["probe"] >= 2)
    two.ones[0].breaker.succeeded()
    assert two.ones[1].asked["probe"] == 0


async def test_when_one_of_them_last_answered(three: Ranked) -> None:
    assert three.upstreams.last_contact_s is None
    three.ones[1].last_contact_s, three.ones[2].last_contact_s = 5.0, 2.0
    assert three.upstreams.last_contact_s == 2.0
