"""Consumers in the background: once for each event, past failures, out of the way of requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from nearframe.errors import MalformedDICOM, NoSpace
from nearframe.ids import Digest
from nearframe.metrics import Metrics
from nearframe.origin import background as module
from nearframe.origin.background import Background, FrameReader, job_status
from nearframe.storage.catalogue import open_catalogue
from nearframe.storage.catalogue.catalogue import SQLCatalogue
from nearframe.storage.ports import ContentStore, InstanceRecord, StudyRef
from tests.unit.storage.catalogue.objects import identity, version

TIMEOUT_S = 20


class Contents:
    def read(self, study: StudyRef, digest: Digest) -> bytes:
        return b"frame"


@dataclass
class Collector:
    """A consumer that collects instance numbers, and does what `before` says first."""

    name: str = "collector"
    made: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    before: Callable[[int], None] = lambda number: None
    before_write: Callable[[], None] = lambda: None
    news: threading.Condition = field(default_factory=threading.Condition)

    def make(self, record: InstanceRecord, read_frame: FrameReader) -> int | None:
        number = int(record.identity.sop_instance_uid.rpartition(".")[2])
        self.before(number)
        assert read_frame(record.study, record.frames.enc_of(0)) == b"frame"
        self.made.append(number)
        return number

    def write(self, made: Sequence[int]) -> None:
        self.before_write()
        with self.news:
            self.written += made
            self.news.notify_all()

    def wait_for(self, count: int) -> list[int]:
        with self.news:
            assert self.news.wait_for(lambda: len(self.written) >= count, TIMEOUT_S)
            return list(self.written)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[SQLCatalogue]:
    opened = open_catalogue(tmp_path / "catalogue")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STORE_RETRY_S", 0.001)
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "_LONGEST_BATCH_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "BATCH_EVENTS", 64)


@pytest.fixture
def run(catalogue: SQLCatalogue) -> Iterator[Callable[..., Background]]:
    running: list[Background] = []

    def start(*consumers: Collector, **options: Any) -> Background:
        contents = cast(ContentStore, Contents())
        running.append(Background(catalogue, contents, consumers, options.pop("metrics", Metrics()), **options))
        return running[-1]

    yield start
    for one in running:
        one.close()


def record(catalogue: SQLCatalogue, *numbers: int) -> None:
    catalogue.record([version(identity(1, 1, number)) for number in numbers])


def test_every_instance_once_and_news_when_told(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    record(catalogue, 1, 2)
    collector = Collector()
    metrics = Metrics()
    background = run(collector, metrics=metrics)
    assert collector.wait_for(2) == [1, 2]
    record(catalogue, 3)
    background.wake()
    assert collector.wait_for(3) == [1, 2, 3]
    background.close()
    assert job_status(catalogue, metrics, "collector") == {"lag": 0, "done": 3, "failed": 0}


def test_draining_waits_for_what_is_there(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    hold = threading.Event()

    def slow(number: int) -> None:
        assert hold.wait(TIMEOUT_S)

    record(catalogue, 1)
    collector = Collector(before=slow)
    background = run(collector)
    assert not background.drain(0.01)
    hold.set()
    assert background.drain(TIMEOUT_S)
    assert collector.written == [1]
    record(catalogue, 2)
    assert background.drain(TIMEOUT_S)
    assert collector.written == [1, 2]


def test_repeated_instances_are_no_news(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    record(catalogue, 1)
    record(catalogue, 1)
    record(catalogue, 2)
    collector = Collector()
    run(collector)
    assert collector.wait_for(2) == [1, 2]


def test_goes_on_where_it_was(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    record(catalogue, 1, 2)
    first = Collector()
    background = run(first)
    first.wait_for(2)
    background.close()
    record(catalogue, 3)
    second = Collector()
    run(second)
    assert second.wait_for(1) == [3]


def test_what_fails_is_counted_and_passed(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise MalformedDICOM("no frame")
        if number == 3:
            raise ZeroDivisionError

    record(catalogue, 1, 2, 3, 4)
    collector, metrics = Collector(before=fail), Metrics()
    background = run(collector, metrics=metrics)
    assert collector.wait_for(2) == [1, 4]
    background.close()
    assert job_status(catalogue, metrics, "collector") == {"lag": 0, "done": 2, "failed": 2}


def test_a_full_disk_is_waited_for(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    refusals = iter([NoSpace(1, 0)] * 3)

    def full() -> None:
        for error in refusals:
            raise error

    record(catalogue, 1)
    collector = Collector(before=lambda number: full(), before_write=full)
    run(collector)
    assert collector.wait_for(1) == [1]


def test_a_disk_above_its_high_mark_is_waited_for(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    rooms = iter([-1, -1])
    record(catalogue, 1)
    collector = Collector()
    background = run(collector, room=lambda: next(rooms, 0))
    assert collector.wait_for(1) == [1]
    assert background.drain(TIMEOUT_S)


def test_what_cannot_be_written_at_all_is_passed(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    errors = iter([ValueError()])

    def fail_once() -> None:
        for error in errors:
            raise error

    record(catalogue, *range(module.BATCH_EVENTS + 1))
    collector, metrics = Collector(before_write=fail_once), Metrics()
    background = run(collector, metrics=metrics)
    assert collector.wait_for(1) == [module.BATCH_EVENTS], "the first batch is lost, and counted"
    background.close()
    assert job_status(catalogue, metrics, "collector") == {"lag": 0, "done": 1, "failed": module.BATCH_EVENTS}


def test_deleted_instances_are_passed(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    record(catalogue, 1, 2)
    catalogue.delete(StudyRef("main", "1.2.1"), None, identity(1, 1, 1).sop_instance_uid)
    collector = Collector()
    run(collector)
    assert collector.wait_for(1) == [2]


def test_pauses_for_requests_but_never_for_good(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    looks = 0

    def busy() -> bool:
        nonlocal looks
        looks += 1
        return True

    record(catalogue, 1, 2)
    collector = Collector()
    run(collector, is_busy=busy)
    assert collector.wait_for(2) == [1, 2]
    assert looks >= 10


def test_closes_in_the_middle_of_a_batch(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    reached, go = threading.Event(), threading.Event()

    def stop_at_two(number: int) -> None:
        if number == 2:
            reached.set()
            assert go.wait(TIMEOUT_S)

    record(catalogue, 1, 2, 3)
    collector = Collector(before=stop_at_two)
    background = run(collector)
    assert reached.wait(TIMEOUT_S)
    closing = threading.Thread(target=background.close)
    closing.start()
    go.set()
    closing.join(TIMEOUT_S)
    assert not closing.is_alive()
    assert 3 not in collector.made
    again = Collector()
    run(again)
    assert again.wait_for(3) == [1, 2, 3], "at least once"


def test_consumers_do_not_take_events_from_each_other(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    record(catalogue, 1)
    hold = threading.Event()

    def slow(number: int) -> None:
        assert hold.wait(TIMEOUT_S)

    quick, late = Collector("quick"), Collector("late", before=slow)
    background = run(quick, late)
    assert quick.wait_for(1) == [1]
    assert late.written == []
    hold.set()
    assert late.wait_for(1) == [1]
    background.close()
    assert [catalogue.lag(name) for name in ("quick", "late")] == [0, 0]


def test_closes_in_the_middle_of_a_pause(catalogue: SQLCatalogue, run: Callable[..., Background]) -> None:
    started = threading.Event()
    background: Background

    def stop_while_asked() -> bool:
        assert started.wait(TIMEOUT_S)
        for job in background._jobs:
            job.stop()
        return True

    background = run(Collector(), is_busy=stop_while_asked)
    started.set()
    closing = threading.Thread(target=background.close)
    closing.start()
    closing.join(TIMEOUT_S)
    assert not closing.is_alive()
