"""Following a feed: every change pulled, the cursor never ahead of what is here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Container
from pathlib import Path
from typing import Any, cast

import pytest

from nearframe.clock import SystemClock
from nearframe.edge.breaker import FAILURES_TO_OPEN, Breaker
from nearframe.edge.cursor import CursorFile, Place
from nearframe.edge.follow import Follower
from nearframe.edge.line import Line
from nearframe.edge.pace import Pace
from nearframe.edge.pull import Pulled, StudyPuller
from nearframe.edge.upstream import FeedAnswer, FeedEntry, Upstream, Upstreams
from nearframe.errors import Gone, IntegrityError, NotFound, UpstreamError, UpstreamUnavailable
from nearframe.metrics import Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from tests.unit.edge.fakes import FakeUpstream

ORIGIN, OTHER = "http://origin", "http://other"
QUICK = Pace(quiet_s=0.0, share=0.0, settle_s=(0.0, 0.0), poll_s=0.0, retry_s=(0.001, 0.001))


class Feed(FakeUpstream):
    """An upstream's feed, written by the test."""

    def __init__(self, epoch: str = "e") -> None:
        super().__init__()
        self.epoch = epoch
        self.entries: list[FeedEntry] = []
        self.last = 0
        self.more = asyncio.Event()
        self.asked_after: list[str | None] = []
        self.breaker: Any = Breaker(SystemClock(), random.Random(1))
        self.leads_back = False
        self.empty_pages = 0
        self.came_through = ["origin"]

    def rest(self) -> None:
        """Say that there is nothing new, once."""
        self.empty_pages = 1
        self.more.set()

    def write(self, *studies: tuple[str, int]) -> None:
        for uid, instances in studies:
            self.entries = [entry for entry in self.entries if entry.study_instance_uid != uid]
            self.last += 1
            self.entries.append(FeedEntry(self.last, uid, instances))
        self.more.set()

    async def feed(self, tenant: str, after: str | None, wait_s: int) -> FeedAnswer:
        self.asked_after.append(after)
        if self.errors:
            raise self.errors.pop(0)
        epoch, _, seq = (after or f"{self.epoch}:0").partition(":")
        if epoch != self.epoch:
            raise Gone("another epoch")
        while not (found := [entry for entry in self.entries if entry.seq > int(seq)]):
            if self.empty_pages:
                self.empty_pages -= 1
                return FeedAnswer((), f"{self.epoch}:{self.last}")
            self.more.clear()
            await self.more.wait()
        return FeedAnswer(tuple(found), f"{self.epoch}:{found[-1].seq}", self.leads_back)


class Puller:
    """Notes what is pulled; fails or waits when told to."""

    def __init__(self) -> None:
        self.pulled: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.kept_from: list[str] = []
        self.doubted: list[str] = []
        self.unknown: list[set[str]] = []
        self.errors: dict[str, Exception] = {}
        self.result = Pulled.DELTA
        self.at_once = self.most_at_once = 0
        self.go = asyncio.Event()
        self.go.set()

    async def doubt(self, upstream: Upstream) -> None:
        self.doubted.append(upstream.url)

    async def keep_unknown(self, tenant: str, named: Container[str], upstream: Upstream) -> list[StudyRef]:
        self.unknown.append({uid for uid in ("1.1", "1.2", "1.3") if uid not in named})
        if "unknown" in self.errors:
            raise self.errors.pop("unknown")
        return [StudyRef(tenant, uid) for uid in sorted(self.unknown[-1])]

    async def pull(self, study: StudyRef, upstream: Upstream, *, keeps: bool = False) -> Pulled:
        if keeps:
            self.kept_from.append(study.study_instance_uid)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.pulled.append(study.study_instance_uid)
        self.asked.append((study.study_instance_uid, upstream.url))
        try:
            await self.go.wait()
        finally:
            self.at_once -= 1
        error = self.errors.get(study.study_instance_uid)
        if error is not None:
            raise error
        return self.result

    async def remove(self, study: StudyRef, upstream: Upstream) -> Pulled:
        self.pulled.append(f"removed {study.study_instance_uid}")
        return Pulled.REMOVED


class Setup:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.feed, self.other = Feed(), Feed("other")
        self.other.url = OTHER
        self.other.rank = 1
        self.feeds = [self.feed, self.other]
        self.puller = Puller()
        self.workers = Workers("test", 1)
        self.changed: list[str] = []
        self.follower = self.make(QUICK)

    def make(self, pace: Pace) -> Follower:
        ranked = [cast("Upstream", feed) for feed in self.feeds]
        clock, metrics = SystemClock(), Metrics()
        self.upstreams = Upstreams(ranked, Line(clock, metrics), clock, metrics, back_s=(0.0, 0.0))
        return Follower(
            self.upstreams,
            cast("StudyPuller", self.puller),
            CursorFile(self.home),
            tenant="main",
            local_epoch="local",
            workers=self.workers,
            clock=SystemClock(),
            changed=lambda study: self.changed.append(study.study_instance_uid),
            pace=pace,
        )

    def place(self, url: str) -> Place:
        return CursorFile(self.home).load("local").get(url, Place())

    async def restore(self, *studies: tuple[str, int]) -> None:
        """Have the upstream be another one, while this edge is stopped."""
        await self.follower.stop()
        self.feed.epoch, self.feed.entries, self.feed.last = "f", [], 0
        self.feed.write(*studies)
        self.follower = self.make(QUICK)
        self.follower.start()

    def fail_over(self) -> None:
        for _ in range(FAILURES_TO_OPEN):
            self.feed.breaker.failed()

    def saved(self) -> str | None:
        return self.place(ORIGIN).cursor


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(tmp_path)
    yield made
    await made.follower.stop()
    await made.upstreams.close()
    made.workers.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def test_every_change_is_pulled_and_told(setup: Setup) -> None:
    setup.feed.write(("1.1", 3), ("1.2", 5))
    setup.follower.start()
    await until(lambda: setup.changed == ["1.1", "1.2"])
    setup.feed.write(("1.1", 0))
    await until(lambda: setup.changed == ["1.1", "1.2", "1.1"])
    assert setup.puller.pulled == ["1.1", "1.2", "removed 1.1"]
    assert (setup.follower.cursor, setup.follower.lag) == ("e:3", 0)
    await until(lambda: setup.saved() == "e:3")


async def test_what_did_not_change_is_told_to_nobody(setup: Setup) -> None:
    setup.puller.result = Pulled.UNCHANGED
    setup.feed.write(("1.1", 3))
    setup.follower.start()
    await until(lambda: setup.follower.cursor == "e:1")
    assert setup.changed == []


async def test_a_restart_goes_on_where_it_was(setup: Setup) -> None:
    setup.feed.write(("1.1", 3), ("1.2", 3))
    setup.follower.start()
    await until(lambda: setup.saved() == "e:2")
    await setup.follower.stop()
    setup.feed.write(("1.3", 3))
    setup.follower = setup.make(QUICK)
    setup.follower.start()
    await until(lambda: setup.saved() == "e:3")
    assert setup.puller.pulled == ["1.1", "1.2", "1.3"]


@pytest.mark.parametrize("error", [UpstreamUnavailable("away"), IntegrityError("spoiled"), OverflowError("2**70")])
async def test_one_that_fails_holds_the_cursor_back_and_nobody_else(setup: Setup, error: Exception) -> None:
    setup.puller.errors["1.1"] = error
    setup.feed.write(("1.1", 3), ("1.2", 3))
    setup.follower.start()
    await until(lambda: setup.puller.pulled.count("1.1") >= 3)
    assert setup.changed == ["1.2"]
    assert (setup.follower.cursor, setup.follower.lag) == ("e:0", 1)
    del setup.puller.errors["1.1"]
    await until(lambda: setup.follower.cursor == "e:2")


async def test_a_study_that_went_again_is_done(setup: Setup) -> None:
    setup.puller.errors["1.1"] = NotFound("study")
    setup.feed.write(("1.1", 3))
    setup.follower.start()
    await until(lambda: setup.follower.cursor == "e:1")
    assert setup.puller.pulled == ["1.1"]


async def test_a_change_during_a_pull_is_pulled_after_it(setup: Setup) -> None:
    setup.puller.go.clear()
    setup.feed.write(("1.1", 3))
    setup.follower.start()
    await until(lambda: setup.puller.pulled == ["1.1"])
    setup.feed.write(("1.1", 4))
    await until(lambda: setup.feed.asked_after[-1] == "e:2")
    setup.puller.go.set()
    await until(lambda: setup.follower.cursor == "e:2")
    assert setup.puller.pulled == ["1.1", "1.1"]


async def test_only_a_few_at_once(setup: Setup) -> None:
    setup.puller.go.clear()
    setup.feed.write(*((f"1.{n}", 1) for n in range(20)))
    setup.follower.start()
    await until(lambda: setup.puller.at_once == QUICK.at_once)
    setup.puller.go.set()
    await until(lambda: setup.follower.lag == 0)
    assert setup.puller.most_at_once == QUICK.at_once


async def test_the_feed_waits_while_much_is_pending(setup: Setup) -> None:
    setup.follower = setup.make(Pace(pending=2, quiet_s=0.0, share=0.0, poll_s=0.0))
    setup.puller.go.clear()
    setup.feed.write(("1.1", 1), ("1.2", 1), ("1.3", 1))
    setup.follower.start()
    await until(lambda: setup.follower.lag == 3)
    setup.feed.write(("1.4", 1))
    await until(lambda: len(setup.puller.pulled) == 3)
    assert len(setup.feed.asked_after) == 1
    setup.puller.go.set()
    await until(lambda: setup.follower.cursor == "e:4")


async def test_a_restored_upstream_is_read_from_the_beginning(setup: Setup) -> None:
    setup.feed.write(("1.1", 1), ("1.2", 1))
    setup.follower.start()
    await until(lambda: setup.saved() == "e:2")
    await setup.follower.stop()
    setup.feed.epoch = "f"
    setup.feed.entries, setup.feed.last = [], 0
    setup.feed.write(("1.1", 1))
    setup.follower = setup.make(QUICK)
    setup.follower.start()
    await until(lambda: setup.saved() == "f:1")
    assert setup.follower.resyncs == 1
    assert setup.puller.pulled == ["1.1", "1.2", "1.1"], "1.2 is only here now: it stays"


async def test_an_upstream_that_is_away_is_asked_again(setup: Setup) -> None:
    setup.feed.errors = [UpstreamUnavailable("away")] * 3
    setup.feed.write(("1.1", 1))
    setup.follower.start()
    await until(lambda: setup.follower.cursor == "e:1")


async def test_a_feed_that_is_refused_is_told_from_an_upstream_that_is_away(setup: Setup) -> None:
    setup.feed.errors = [UpstreamUnavailable("away"), *[UpstreamError("the upstream answered 403")] * 1000]
    setup.follower.start()
    await until(lambda: bool(setup.follower.problem))
    setup.feed.errors.clear()
    setup.feed.write(("1.1", 1))
    await until(lambda: setup.follower.cursor == "e:1")
    assert setup.follower.problem == ""


async def test_an_upstream_that_follows_us_is_followed_and_told_of_once(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    setup.feed.leads_back = True
    setup.follower.start()
    for number in (1, 2):
        setup.feed.write((f"1.{number}", 1))
        await until(lambda number=number: setup.follower.cursor == f"e:{number}")  # type: ignore[misc]
    assert "in turn" in setup.follower.problem
    assert [record.message for record in caplog.records].count("feed_leads_back") == 1
    setup.feed.leads_back = False
    setup.feed.write(("1.3", 1))
    await until(lambda: setup.follower.problem == "")


async def test_a_correction_is_pulled_when_it_has_come_to_a_pause(setup: Setup) -> None:
    setup.follower = setup.make(Pace(quiet_s=0.0, share=0.0, settle_s=(0.05, 5.0), poll_s=0.0))
    setup.feed.write(("1.1", 9))
    setup.follower.start()
    await until(lambda: setup.follower.cursor == "e:1")
    for _ in range(5):
        setup.feed.write(("1.1", 9))
        last = setup.feed.last
        await until(lambda last=last: setup.feed.asked_after[-1] == f"e:{last}")  # type: ignore[misc]
    await until(lambda: setup.follower.cursor == "e:6")
    assert setup.puller.pulled == ["1.1", "1.1"]


async def test_growth_is_not_waited_for(setup: Setup) -> None:
    setup.follower = setup.make(Pace(quiet_s=0.0, share=0.0, settle_s=(3600.0, 3600.0), poll_s=0.0))
    setup.feed.write(("1.1", 9))
    setup.follower.start()
    await until(lambda: setup.follower.cursor == "e:1")
    setup.feed.write(("1.1", 10))
    await until(lambda: setup.follower.cursor == "e:2")


# -- another upstream in use -----------------------------------------------------------------


async def test_another_one_in_use_is_followed_from_the_beginning_the_first_time(setup: Setup) -> None:
    setup.feed.write(("1.1", 3))
    setup.other.write(("1.1", 3), ("1.2", 1))
    setup.upstreams.start()
    setup.follower.start()
    await until(lambda: setup.follower.cursor == "e:1")
    setup.fail_over()
    await until(lambda: setup.follower.cursor == "other:2")
    assert setup.other.asked_after[0] is None
    assert setup.puller.asked == [("1.1", ORIGIN), ("1.1", OTHER), ("1.2", OTHER)]
    await until(lambda: setup.place(OTHER).cursor == "other:2")
    assert setup.place(ORIGIN) == Place("e:1", frozenset({"1.1", "1.2"}))


async def test_what_was_taken_over_elsewhere_is_compared_with_the_one_that_is_back(setup: Setup) -> None:
    setup.feed.write(("1.1", 3))
    setup.other.write(("1.2", 1))
    setup.upstreams.start()
    setup.follower.start()
    await until(lambda: setup.follower.cursor == "e:1")
    setup.fail_over()
    await until(lambda: setup.follower.cursor == "other:1")
    setup.puller.result = Pulled.UNCHANGED
    setup.feed.breaker.succeeded()
    await until(lambda: ("1.2", ORIGIN) in setup.puller.asked)
    # What is equal there has not changed here: the other one keeps its place.
    await until(lambda: [setup.place(url) for url in (ORIGIN, OTHER)] == [Place("e:1"), Place("other:1")])
    assert set(setup.feed.asked_after) == {None, "e:1"}, "its feed is read from where it was left"
    setup.feed.write(("1.1", 4))
    await until(lambda: setup.follower.cursor == "e:2")


async def test_what_is_to_be_compared_outlives_a_restart(setup: Setup) -> None:
    setup.other.write(("1.2", 1))
    setup.feed.write(("1.1", 3))
    setup.upstreams.start()
    setup.follower.start()
    await until(lambda: setup.follower.cursor == "e:1")
    setup.fail_over()
    await until(lambda: setup.follower.cursor == "other:1")
    await setup.follower.stop()
    await setup.upstreams.close()
    setup.feed.breaker.succeeded()
    setup.puller.asked.clear()
    setup.follower = setup.make(QUICK)
    setup.follower.start()
    await until(lambda: setup.puller.asked == [("1.2", ORIGIN)])


async def test_what_the_other_feed_named_and_was_not_pulled_is_named_by_it_again(setup: Setup) -> None:
    setup.feed.write(("1.1", 3), ("1.2", 3))
    setup.puller.errors["1.1"] = UpstreamUnavailable("away")
    setup.upstreams.start()
    setup.follower.start()
    await until(lambda: setup.changed == ["1.2"])
    setup.fail_over()
    await until(lambda: setup.other.asked_after == [None])
    assert setup.follower.lag == 0
    assert setup.place(ORIGIN).cursor in (None, "e:0")
    setup.puller.errors.clear()
    setup.feed.breaker.succeeded()
    await until(lambda: "1.1" in setup.changed)


async def test_a_correction_pulled_for_the_outbox_is_compared_by_the_one_in_use(setup: Setup) -> None:
    setup.feed.write(("1.1", 3))
    setup.follower.start()
    await until(lambda: setup.follower.cursor == "e:1")
    setup.follower.pulled_from(StudyRef("main", "1.1"), OTHER)
    await until(lambda: setup.puller.asked == [("1.1", ORIGIN)] * 2)
    await until(lambda: setup.follower.lag == 0)
    assert setup.follower.cursor == "e:1"


async def test_what_a_restored_archive_lost_is_kept_for_it(setup: Setup) -> None:
    setup.feed.write(("1.1", 3), ("1.2", 3))
    setup.follower.start()
    await until(lambda: setup.saved() == "e:2")
    setup.puller.errors["unknown"] = UpstreamUnavailable("away")
    await setup.restore(("1.1", 2))
    await until(lambda: setup.puller.kept_from == ["1.1"])
    assert setup.puller.doubted == [ORIGIN]
    await until(lambda: setup.place(ORIGIN) == Place("f:1", is_anew=True))
    await setup.follower.stop()  # it goes on after a restart
    setup.follower = setup.make(QUICK)
    setup.follower.start()
    setup.feed.rest()
    await until(lambda: len(setup.puller.unknown) == 1)
    setup.feed.rest()
    await until(lambda: len(setup.puller.unknown) == 2)
    assert setup.puller.unknown[-1] == {"1.1", "1.2", "1.3"}
    await until(lambda: setup.place(ORIGIN) == Place("f:1"))
    assert setup.changed[-3:] == ["1.1", "1.2", "1.3"]
    setup.feed.write(("1.1", 1))
    await until(lambda: setup.saved() == "f:2")
    assert setup.puller.kept_from == ["1.1"]


async def test_for_an_edge_that_began_anew_nothing_is_kept(setup: Setup) -> None:
    setup.feed.came_through = ["origin", "edge-2"]
    setup.feed.write(("1.1", 3))
    setup.follower.start()
    await until(lambda: setup.saved() == "e:1")
    await setup.restore(("1.1", 2))
    await until(lambda: setup.saved() == "f:1")
    setup.feed.rest()
    await until(lambda: setup.place(ORIGIN) == Place("f:1"))
    assert (setup.puller.kept_from, setup.puller.unknown) == ([], [])
