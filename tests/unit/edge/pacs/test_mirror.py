"""In which order an archive is asked: what somebody waits for first, and each file once."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from nearframe.clock import ManualClock
from nearframe.context import Urgency
from nearframe.dicom.limits import Limits
from nearframe.edge.pacs.ledger import Ledger
from nearframe.edge.pacs.mirror import Keeping, Mirror
from nearframe.edge.pacs.webarchive import WebArchive
from nearframe.edge.turns import User
from nearframe.edge.upstream import Upstream
from nearframe.intake.spool import Spool
from nearframe.metrics import LINE_RAISED, PACS_INSTANCES, Metrics
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from tests.multiparts import store_body
from tests.syncing import STUDY_UID, ct_series, instance_uid, shelves
from tests.unit.edge.fakes import settle
from tests.unit.edge.test_upstream import Answering, Bytes

BULK, OTHER = StudyRef("main", STUDY_UID), StudyRef("main", f"{STUDY_UID}.2")


class Pacs:
    """An archive of two studies. It sends a file, by its place in `files`, once it may go."""

    def __init__(self) -> None:
        self.files = [*ct_series(4), *ct_series(1, study=OTHER.study_instance_uid, seed=2)]
        self.uids = [instance_uid(file) for file in self.files]
        #: Which files were asked for so far, and what else.
        self.asked: list[int | str] = []
        self.may_go: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.split("/")
        if request.method == "POST":
            self.asked.append(f"{len(await request.aread())} bytes")
            return httpx.Response(200, stream=Bytes(b""))
        if parts[-1] == "studies":
            self.asked.append("search")
            return httpx.Response(200, stream=Bytes(b"[]"))
        if parts[-1] == "metadata":
            return httpx.Response(200, stream=Bytes(json.dumps(self._metadata(parts)).encode()))
        number = self.uids.index(parts[-1])
        self.asked.append(number)
        await self.may_go[number].wait()
        content_type, body = store_body([self.files[number]])
        return httpx.Response(200, headers={"Content-Type": content_type}, stream=Bytes(body))

    def series(self, study: StudyRef) -> str:
        return f"{study.study_instance_uid}.1"

    def _metadata(self, parts: list[str]) -> list[dict[str, object]]:
        study = StudyRef("main", parts[parts.index("studies") + 1])
        shown = [uid for uid in self.uids if uid.startswith(f"{self.series(study)}.")]
        if "instances" in parts:
            shown = [parts[parts.index("instances") + 1]]
        tags = {"0020000D": study.study_instance_uid, "0020000E": self.series(study)}
        return [
            {tag: {"vr": "UI", "Value": [uid]} for tag, uid in (tags | {"00080018": instance}).items()}
            for instance in shown
        ]


class Setup:
    """An edge before it."""

    def __init__(self, keeping: Keeping, home: Path) -> None:
        self.pacs, self.metrics = Pacs(), keeping.metrics
        self.upstream = Upstream(
            "http://pacs",
            node_name="edge",
            metrics=keeping.metrics,
            clock=keeping.clock,
            requester=Answering(self.pacs.answer),
        )
        self.archive = WebArchive(self.upstream, keeping.clock, keeping.workers)
        self.mirror = Mirror(self.archive, Ledger(home, keeping.metrics), keeping, lambda study: None)

    def brings(self, number: int, urgency: Urgency) -> asyncio.Task[None]:
        """Somebody waits for a file."""
        study = OTHER if number == 4 else BULK
        return asyncio.create_task(
            self.mirror.bring_instance(study, self.pacs.series(study), self.pacs.uids[number], urgency)
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0)

    async def until_asked(self, *files: int | str) -> None:
        await self.until(lambda: self.pacs.asked == list(files))


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    workers = Workers("test", 2)
    for kept in shelves(tmp_path):
        spool = Spool(tmp_path / "spool")
        keeping = Keeping(kept.catalogue, kept.store, spool, Limits(), workers, Metrics(), ManualClock())
        made = Setup(keeping, tmp_path)
        yield made
        await made.mirror.stop()
        await workers.drained()
        workers.close()


async def test_an_urgent_file_goes_before_a_bulk_study_and_holds_it_up(setup: Setup) -> None:
    setup.mirror.begin(BULK, Urgency.BULK)
    await setup.until_asked(0)
    urgent = setup.brings(4, Urgency.STAT)
    await setup.until_asked(0, 4)
    setup.pacs.may_go[0].set()
    await setup.until(lambda: setup.metrics.value(PACS_INSTANCES) == 1)
    await settle()
    assert setup.pacs.asked == [0, 4], "while the urgent one is on its way nothing else is begun"
    for number in range(1, 5):
        setup.pacs.may_go[number].set()
    await urgent
    await setup.until(lambda: setup.mirror.is_whole(BULK))
    assert sorted(setup.pacs.asked[2:]) == [1, 2, 3]


async def test_who_wants_a_file_that_waits_raises_it(setup: Setup) -> None:
    setup.mirror.begin(BULK, Urgency.BULK)
    await setup.until_asked(0)
    urgent = setup.brings(3, Urgency.ACTIVE)
    await setup.until_asked(0, 3)
    assert setup.metrics.value(LINE_RAISED, urgency="active") == 1
    setup.pacs.may_go[3].set()
    await urgent
    assert setup.metrics.value(PACS_INSTANCES) == 1


async def test_who_wants_the_whole_study_raises_all_that_waits(setup: Setup) -> None:
    setup.mirror.begin(BULK)
    await setup.until_asked(0)
    whole = asyncio.create_task(setup.mirror.bring_study(BULK, Urgency.STAT))
    await setup.until(lambda: len(setup.pacs.asked) == 4)
    for number in range(4):
        setup.pacs.may_go[number].set()
    await whole
    assert sorted(setup.pacs.asked) == [0, 1, 2, 3], "each once"


async def test_a_search_does_not_wait_for_a_file(setup: Setup) -> None:
    setup.mirror.begin(BULK, Urgency.BULK)
    await setup.until_asked(0)
    await setup.archive.passed("/studies", {}, Urgency.ROUTINE)
    assert setup.pacs.asked == [0, "search"]


async def test_what_is_stored_waits_for_what_is_urgent(setup: Setup) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield bytes(100_000)

    urgent = setup.upstream.line.transfer(User.READER, Urgency.STAT, 100_000)
    async with urgent.turn():
        stored = asyncio.create_task(setup.archive.store("/studies", {}, Urgency.ROUTINE, body()))
        await settle()
        assert setup.pacs.asked == []
    assert (await stored).status == 200
    assert setup.pacs.asked == ["100000 bytes"]
