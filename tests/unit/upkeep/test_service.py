from __future__ import annotations

import asyncio
import errno
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import BackendFailed, Busy, NotFound
from nearframe.ids import sha256
from nearframe.metrics import STORE_CONTENTS, STORE_LIVE_BYTES, Metrics
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.storage.upkeep import ScrubReport
from nearframe.upkeep.rounds import Round
from nearframe.upkeep.service import Pace, Upkeep

STUDY = StudyRef("main", "1.2.3")


class WatchedStore(PackStore):
    """Tells when a scrub or a compaction has ended."""

    def __init__(self, home: Path, elsewhere: datetime | None = None) -> None:
        super().__init__(home, PackSettings(reserve_bytes=0))
        self.scrubbed = threading.Event()
        self._elsewhere = elsewhere

    def scrubbed_at(self) -> datetime | None:
        return self._elsewhere

    def scrub(
        self, progress: Callable[[ScrubReport], None] = lambda _: None, pace: Callable[[int], None] = lambda _: None
    ) -> ScrubReport:
        try:
            return super().scrub(progress, pace)
        finally:
            self.scrubbed.set()


@asynccontextmanager
async def looked_after(
    home: Path,
    clock: ManualClock,
    metrics: Metrics | None = None,
    *,
    days: int | None = None,
    rate_bytes: int = 0,
    elsewhere: datetime | None = None,
) -> AsyncIterator[tuple[Upkeep, WatchedStore]]:
    store = WatchedStore(home, elsewhere)
    data = bytes(1000)
    store.append(STUDY, ContentKind.FRAME, sha256(data), len(data), [data])
    store.sync(store.mark())
    every = None if days is None else timedelta(days=days)
    upkeep = Upkeep(store, home, clock, metrics or Metrics(), rate_bytes=rate_bytes, scrub_every=every)
    upkeep.start()
    try:
        yield upkeep, store
    finally:
        await upkeep.stop()
        store.close()


async def finished(upkeep: Upkeep, store: WatchedStore) -> ScrubReport:

    assert await asyncio.to_thread(store.scrubbed.wait, 10)
    while upkeep.scrub_state.running:
        await asyncio.sleep(0)
    return upkeep.scrub_state.report


async def test_a_scrub_runs_when_asked_for(tmp_path: Path) -> None:
    async with looked_after(tmp_path, ManualClock()) as (upkeep, store):
        assert upkeep.request_scrub().running
        assert upkeep.request_scrub().running  # the same one
        report = await finished(upkeep, store)
        assert (report.contents, report.damaged) == (1, 0)
        state = upkeep.scrub_state.as_json()
        assert state["finished_at"] is not None
        assert state["contents"] == 1


async def test_a_store_is_first_scrubbed_when_the_time_has_passed(tmp_path: Path) -> None:
    clock = ManualClock()
    async with looked_after(tmp_path, clock, days=30) as (upkeep, _):
        assert not upkeep.scrub_state.running
    clock.advance(31 * 86400)
    async with looked_after(tmp_path, clock, days=30) as (upkeep, store):
        await finished(upkeep, store)
    clock.advance(5 * 86400)
    async with looked_after(tmp_path, clock, days=30) as (upkeep, store):
        assert not store.scrubbed.is_set()
        assert not upkeep.scrub_state.running


async def test_what_another_process_scrubbed_is_not_scrubbed_again(tmp_path: Path) -> None:
    clock = ManualClock()
    async with looked_after(tmp_path, clock, days=30):
        pass
    clock.advance(31 * 86400)
    elsewhere = clock.now() - timedelta(days=1)
    async with looked_after(tmp_path, clock, days=30, elsewhere=elsewhere) as (upkeep, store):
        upkeep.add(Round("later", 3600, lambda _: ""))
        upkeep.ask_for("later")
        while upkeep.book["later"].finished_at is None:
            await asyncio.sleep(0)
        assert not store.scrubbed.is_set()
        assert json.loads((tmp_path / "scrub.json").read_text())["last"] == elsewhere.isoformat()


@pytest.mark.parametrize("text", ["", "{}", '{"last": 5}', '{"last": "never"}'])
async def test_a_damaged_memory_is_begun_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "scrub.json").write_text(text)
    async with looked_after(tmp_path, ManualClock(), days=30) as (upkeep, _):
        assert not upkeep.scrub_state.running


async def test_stop_ends_a_slow_scrub(tmp_path: Path) -> None:
    async with looked_after(tmp_path, ManualClock(), rate_bytes=1) as (upkeep, store):
        upkeep.request_scrub()
    assert store.scrubbed.is_set() or not upkeep.scrub_state.report.contents


async def test_the_store_is_measured_when_somebody_looks(tmp_path: Path) -> None:
    metrics = Metrics()
    async with looked_after(tmp_path, ManualClock(), metrics):
        assert metrics.value(STORE_CONTENTS) == 1
        assert metrics.value(STORE_LIVE_BYTES) > 1000


def test_pace_waits_and_can_be_stopped() -> None:
    pace = Pace(0)
    pace(10**12)
    slow = Pace(1)
    slow.stop()
    with pytest.raises(Busy):
        slow(10**6)


async def test_what_is_added_is_run_when_it_is_wanted_and_told_of(tmp_path: Path) -> None:
    ran = threading.Event()
    outcomes: Iterator[str | Exception] = iter(
        ["two things done", BackendFailed("the disk is gone"), OSError(errno.ENOSPC, "full"), "all well"]
    )

    def run(tell: Callable[[str], None]) -> str:
        tell("half way")
        ran.set()
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with looked_after(tmp_path, ManualClock()) as (upkeep, _):
        upkeep.add(Round("sweep", 3600, run))
        assert upkeep.book.as_json()["sweep"]["finished_at"] is None
        told = {
            "two things done": False,
            "the disk is gone": True,
            "it failed; the log says how": True,
            "all well": False,
        }
        for words, failed in told.items():
            ran.clear()
            upkeep.ask_for("sweep")
            assert await asyncio.to_thread(ran.wait, 10)
            while upkeep.book["sweep"].is_running:
                await asyncio.sleep(0)
            state = upkeep.book["sweep"]
            assert (state.words, state.failed) == (words, failed)
            assert upkeep.book.failures() == ({"sweep": words} if failed else {})
        with pytest.raises(NotFound):
            upkeep.ask_for("nothing")
