"""Forwarding: the urgent first, what fails a little later, and nothing twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.clock import SystemClock
from nearframe.context import Urgency
from nearframe.edge.forward import PARCEL_BYTES, PARCEL_CONTENTS, Forwarder, ForwardPace, parcels
from nearframe.edge.outbox import Outbox, State
from nearframe.edge.packing import Packer
from nearframe.edge.pull import Pulled, StudyPuller
from nearframe.edge.studyindex import Content
from nearframe.edge.upstream import Upstream, Upstreams
from nearframe.errors import UpstreamUnavailable
from nearframe.ids import Digest, sha256
from nearframe.metrics import FORWARDED_INSTANCES, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.wire.contentstream import ContentStreamReader, Data, Opened
from nearframe.wire.offer import Answered, Offer, OfferAnswer, OfferedInstance, Stand
from tests.syncing import Shelves, ct_series, shelves

FIRST, SECOND, THIRD = (StudyRef("main", f"1.2.{number}") for number in (1, 2, 3))


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


class Archive:
    """An upstream that keeps digests, and the puller beside it."""

    def __init__(self) -> None:
        self.held: set[Digest] = set()
        self.recorded: Counter[Digest] = Counter()
        self.offers: list[tuple[StudyRef, Urgency]] = []
        self.pulled: list[StudyRef] = []
        #: Raised by the next calls.
        self.errors: list[Exception] = []
        #: A study whose offers fail in a way that nobody thought of.
        self.unthought_of: StudyRef | None = None
        #: Answers to give instead, by file.
        self.verdicts: dict[Digest, Answered] = {}
        #: Offers of these studies are answered once the event is set.
        self.is_open: dict[StudyRef, asyncio.Event] = {}
        self.breaker = SimpleNamespace(pause_s=0.0)
        self.url = "http://origin"

    async def offer(self, study: StudyRef, offered: Offer, urgency: Urgency) -> OfferAnswer:
        self._fail()
        self.offers.append((study, urgency))
        if study == self.unthought_of:
            raise OverflowError("a number of 70 bits")
        if study in self.is_open:
            await self.is_open[study].wait()
        wanted = {digest for one in offered.instances for digest in (one.hdr, *one.pieces)}
        return OfferAnswer(tuple(map(self._record, offered.instances)), tuple(sorted(wanted - self.held)))

    async def send(self, study: StudyRef, kind: ContentKind, stream: AsyncIterator[bytes], urgency: Urgency) -> None:
        self._fail()
        reader = ContentStreamReader(None, max_length=10**9)
        content, digest = bytearray(), b""
        async for chunk in stream:
            for event in reader.feed(chunk):
                match event:
                    case Opened(named, _):
                        content, digest = bytearray(), named
                    case Data(data, last):
                        content += data
                        if last:
                            assert sha256(content) == digest
                            self.held.add(digest)
        reader.close()

    async def pull(self, study: StudyRef, upstream: Upstream) -> Pulled:
        self._fail()
        self.pulled.append(study)
        return Pulled.DELTA

    def _record(self, one: OfferedInstance) -> Answered:
        if one.file in self.verdicts:
            return self.verdicts[one.file]
        if not self.held.issuperset((one.hdr, *one.pieces)):
            return Answered(Stand.LACKING)
        self.recorded[one.file] += 1
        return Answered(Stand.RECORDED, "created", 1)

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


class Setup:
    def __init__(self, edge: Shelves, home: Path) -> None:
        self.edge = edge
        self.archive = Archive()
        self.metrics = Metrics()
        self.workers = Workers("test", 2)
        self.outbox = Outbox(home, edge.catalogue, SystemClock(), Metrics())
        self.taken_in: list[StudyRef] = []
        self.urgencies: dict[StudyRef, Urgency] = {}
        self.forwarder = Forwarder(
            self.outbox,
            Packer(edge.catalogue, edge.store),
            cast("Upstreams", SimpleNamespace(current=self.archive)),
            cast("StudyPuller", self.archive),
            urgency_of=lambda study: self.urgencies.get(study, Urgency.ROUTINE),
            workers=self.workers,
            metrics=self.metrics,
            clock=SystemClock(),
            compared=lambda study, upstream: self.outbox.handed_over(study, self.outbox.settled(study, upstream.url)),
            taken_in=self.taken_in.append,
            pace=ForwardPace(at_once=1, batch=3, retry_s=(0.001, 0.01)),
        )

    def put(self, study: StudyRef, count: int) -> set[Digest]:
        self.edge.put(ct_series(count, study=study.study_instance_uid))
        return {record.file for record in self.edge.catalogue.list_instances(study)}

    async def until_done(self) -> None:
        """Forward until nothing is left to do."""
        self.forwarder.start()
        async with asyncio.timeout(20):
            while self.outbox.waiting(self.archive.url) or self.edge.catalogue.lag("forward"):
                await asyncio.sleep(0.005)


@pytest.fixture
async def setup(edge: Shelves, tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(edge, tmp_path)
    yield made
    await made.forwarder.stop()
    await made.workers.drained()
    made.workers.close()
    made.outbox.close()


async def test_what_fails_as_nobody_thought_of_is_put_off_too(setup: Setup) -> None:
    setup.put(FIRST, 1)
    files = setup.put(SECOND, 1)
    setup.archive.unthought_of = FIRST
    setup.forwarder.start()
    async with asyncio.timeout(20):
        while not setup.archive.recorded:
            await asyncio.sleep(0.005)
    assert setup.archive.recorded == Counter(files)


async def test_in_batches_then_compared(setup: Setup) -> None:
    files = setup.put(FIRST, 7)
    await setup.until_done()
    assert setup.archive.recorded == Counter(files)
    assert setup.archive.pulled == [FIRST]
    assert setup.taken_in == [FIRST]
    assert setup.outbox.counts()[State.VERIFIED] == 7
    assert setup.metrics.value(FORWARDED_INSTANCES, result="created") == 7


async def test_the_urgent_first(setup: Setup) -> None:
    setup.put(FIRST, 2)
    setup.put(SECOND, 2)
    setup.urgencies[SECOND] = Urgency.STAT
    await setup.until_done()
    assert setup.archive.offers[0] == (SECOND, Urgency.STAT)
    assert setup.archive.offers[-1] == (FIRST, Urgency.ROUTINE)


async def test_a_stat_study_overtakes_what_is_on_its_way(setup: Setup) -> None:
    setup.put(FIRST, 4)
    setup.urgencies[SECOND] = Urgency.STAT
    setup.archive.is_open[FIRST] = asyncio.Event()
    setup.forwarder.start()
    async with asyncio.timeout(20):
        while setup.archive.offers != [(FIRST, Urgency.ROUTINE)]:
            await asyncio.sleep(0.005)
        files = setup.put(SECOND, 1)
        setup.forwarder.wake()
        while set(setup.archive.recorded) != files:  # the only slot is taken all the while
            await asyncio.sleep(0.005)
        setup.put(THIRD, 1)  # as urgent as what is on its way: it waits
        setup.forwarder.wake()
        while setup.outbox.absorb() or len(setup.outbox.waiting(setup.archive.url)) > 2:
            await asyncio.sleep(0.005)
        assert THIRD not in {study for study, _ in setup.archive.offers}
        setup.archive.is_open[FIRST].set()
    await setup.until_done()


async def test_a_line_that_fails_again_and_again(setup: Setup) -> None:
    files = setup.put(FIRST, 4)
    setup.archive.errors = [UpstreamUnavailable("away") for _ in range(12)]
    await setup.until_done()
    assert setup.archive.recorded == Counter(files), "once, whenever it was cut"


async def test_refused_and_put_off(setup: Setup) -> None:
    first, second, third = sorted(setup.put(FIRST, 3))
    setup.archive.verdicts = {
        first: Answered(Stand.REFUSED, reason="no such thing"),
        second: Answered(Stand.LATER, reason="busy"),
    }
    setup.forwarder.start()
    async with asyncio.timeout(20):
        while third not in setup.archive.recorded or len(setup.archive.offers) < 5:
            await asyncio.sleep(0.005)
    setup.archive.verdicts = {}
    await setup.until_done()
    assert setup.archive.recorded == Counter([second, third])
    [line] = setup.outbox.lines("main", 10)
    assert (line.state, line.reason) == (State.REFUSED, "no such thing")
    setup.outbox.retry()
    setup.forwarder.try_now()
    await setup.until_done()
    assert setup.archive.recorded == Counter([first, second, third])


async def test_what_the_catalogue_lost_is_not_dropped_silently(setup: Setup) -> None:
    setup.put(FIRST, 2)
    setup.edge.catalogue.delete(FIRST, None, None)
    await setup.until_done()
    assert setup.archive.offers == []
    [line] = setup.outbox.lines("main", 10)
    assert (line.state, line.instances) == (State.REFUSED, 2)
    files = setup.put(FIRST, 2)
    setup.forwarder.wake()
    await setup.until_done()
    assert setup.archive.recorded == Counter(files)


@given(st.lists(st.tuples(st.sampled_from([ContentKind.FRAME, ContentKind.HEADER]), st.integers(0, 2 * PARCEL_BYTES))))
def test_parcels_hold_everything_once_and_are_bounded(sizes: list[tuple[ContentKind, int]]) -> None:
    contents = [Content(bytes([number]), kind, size) for number, (kind, size) in enumerate(sizes[:255])]
    cut = list(parcels(contents))
    assert sorted(one.digest for parcel in cut for one in parcel) == [content.digest for content in contents]
    for parcel in cut:
        assert len({one.kind for one in parcel}) == 1
        assert len(parcel) <= PARCEL_CONTENTS
        assert len(parcel) == 1 or sum(one.length for one in parcel) <= PARCEL_BYTES
