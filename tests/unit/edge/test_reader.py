"""Reading at an edge: its own store, the tenant, the upstream; in that order."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from nearframe.context import local_admin
from nearframe.dicom.transcode import transcode
from nearframe.dicom.transfersyntax import HTJ2KLosslessRPCL
from nearframe.edge import cachestatus
from nearframe.edge.cachestatus import Notes
from nearframe.edge.fetch import Fetcher, FetchLimits
from nearframe.edge.making import FrameMaker
from nearframe.edge.reader import EdgeContentReader
from nearframe.edge.studyindex import StudyIndexes
from nearframe.edge.upstream import Upstreams
from nearframe.errors import IntegrityError, NotFound, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from nearframe.ids import Digest, sha256
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, EDGE_READ_BYTES, EDGE_READS, RECIPES_REFUSED, Metrics
from nearframe.query.freshness import Freshness
from nearframe.query.workers import Workers
from nearframe.storage.ports import ContentKind, Rendition, StudyRef
from nearframe.storage.scratch import ScratchFolder
from tests.syncing import STUDY_UID, Shelves, ct_series, shelves
from tests.unit.edge.fakes import FakeUpstream

STUDY = StudyRef("main", STUDY_UID)
OTHER = StudyRef("main", "1.9")
ADMIN = local_admin()


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path / "edge")


class Setup:
    """An edge whose catalogue knows a study, and whose store has its headers alone."""

    def __init__(self, edge: Shelves, scratch: ScratchFolder) -> None:
        edge.put(ct_series(3))
        edge.put(ct_series(1, study=OTHER.study_instance_uid, seed=9))
        self.frames = [record.frames.enc for record in edge.catalogue.list_instances(STUDY)]
        self.data = {digest: edge.store.read(STUDY, digest) for digest in self.frames}
        edge.store.release(STUDY, self.frames)
        self.store = edge.store
        self.upstream = FakeUpstream(*self.data.values())
        self.workers = Workers("test", 2)
        self.metrics = Metrics()
        limits = FetchLimits(attempts=1)
        fetcher = Fetcher(cast("Upstreams", self.upstream), edge.store, self.workers, self.metrics, scratch, limits)
        indexes = StudyIndexes(edge.catalogue, Freshness(), self.workers)
        self.fetcher = fetcher
        self.maker = FrameMaker(self.workers, self.metrics)
        self.reader = EdgeContentReader(edge.store, fetcher, indexes, self.workers, self.maker, self.metrics, None)
        self.catalogue = edge.catalogue

    async def read(self, digest: Digest, start: int = 0, stop: int | None = None) -> bytes:
        return await self.reader.read(ADMIN, STUDY, digest, start, stop)

    async def kept(self, digest: Digest) -> None:
        """Wait until what was handed on is stored too."""
        async with asyncio.timeout(20):
            while self.fetcher.is_under_way(STUDY, digest):
                await asyncio.sleep(0.001)

    async def stream(self, digest: Digest, start: int = 0, stop: int | None = None) -> bytes:
        return b"".join([chunk async for chunk in self.reader.stream(ADMIN, STUDY, digest, start, stop)])


@pytest.fixture
async def setup(edge: Shelves, tmp_path: Path) -> AsyncIterator[Setup]:
    made = Setup(edge, ScratchFolder(tmp_path / "scratch"))
    yield made
    made.workers.close()


async def test_fetched_once_then_held(setup: Setup) -> None:
    noted = Notes()
    cachestatus.notes.set(noted)
    frame = setup.frames[0]
    assert setup.reader.read_nowait(STUDY, frame) is None
    assert await setup.read(frame) == setup.data[frame]
    assert (noted.fetched, noted.stored) == (1, True)
    await setup.kept(frame)
    assert await setup.read(frame, 5, 9) == setup.data[frame][5:9]
    assert setup.reader.read_nowait(STUDY, frame) == setup.data[frame]
    framed = setup.reader.read_framed(STUDY, frame, b"head", b"tail")
    assert bytes(framed or b"") == b"head" + setup.data[frame] + b"tail"
    assert noted.fetched == 1
    assert setup.upstream.asked == Counter(content=1)
    assert setup.metrics.value(EDGE_READS, how="fetched") == 1
    assert setup.metrics.value(EDGE_READS, how="held") == 3
    assert setup.metrics.value(EDGE_READ_BYTES, how="held") == 4 + 512 + 512


async def test_streams_and_ranges_of_what_is_not_held(setup: Setup) -> None:
    one, two, three = setup.frames
    assert await setup.stream(one) == setup.data[one]
    assert await setup.stream(one, 3, 7) == setup.data[one][3:7]
    assert await setup.stream(two, 3, 7) == setup.data[two][3:7]
    assert await setup.read(three, 3, 7) == setup.data[three][3:7]
    assert setup.upstream.asked == Counter(content=3)


async def test_sizes_are_known_without_fetching(setup: Setup) -> None:
    assert await setup.reader.size(ADMIN, STUDY, setup.frames[0]) == 512
    assert not setup.upstream.asked
    await setup.read(setup.frames[0])
    assert await setup.reader.size(ADMIN, STUDY, setup.frames[0]) == 512


async def test_what_the_tenant_holds_is_not_fetched(setup: Setup) -> None:
    frame = setup.frames[0]
    copies = StudyRef("main", "1.8")
    setup.store.append(copies, ContentKind.FRAME, frame, 512, [setup.data[frame]])
    assert await setup.read(frame) == setup.data[frame]
    assert not setup.upstream.asked


async def test_what_another_study_holds_is_nobodys_business(setup: Setup) -> None:
    (record,) = setup.catalogue.list_instances(OTHER)
    theirs = record.frames.enc
    for ask in (setup.read, setup.stream):
        with pytest.raises(NotFound):
            await ask(theirs)
    with pytest.raises(NotFound):
        await setup.reader.size(ADMIN, STUDY, theirs)


async def test_a_damaged_record_is_fetched_again(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = setup.frames[0]

    def damaged(*_: object) -> bytes:
        raise IntegrityError("does not open")

    with monkeypatch.context() as damage:
        damage.setattr(setup.store, "read", damaged)
        damage.setattr(setup.store, "read_nowait", lambda *_: None)
        assert await setup.read(frame) == setup.data[frame]
    assert setup.metrics.value(EDGE_INTEGRITY_FAILURES, what="local") == 1
    assert setup.upstream.asked == Counter(content=1)


@pytest.mark.parametrize("error", [UpstreamUnavailable, UpstreamTimeout])
async def test_without_the_line_it_says_what_to_do(setup: Setup, error: type[UpstreamError]) -> None:
    setup.upstream.errors = [error("no")]
    with pytest.raises(error, match="not held at this edge"):
        await setup.read(setup.frames[0])


async def test_a_frame_that_the_upstream_lost(setup: Setup) -> None:
    setup.upstream.contents_held.clear()
    with pytest.raises(UpstreamError, match="manifest names"):
        await setup.read(setup.frames[0])


async def test_a_rendition_that_the_upstream_dropped(setup: Setup) -> None:
    made = Rendition(setup.frames[0], "1.2.840.10008.1.2.4.202", sha256(b"dropped"), 7)
    setup.catalogue.add_renditions("main", [made])
    with pytest.raises(NotFound):
        await setup.read(made.digest)


def rendition_of(setup: Setup, number: int) -> bytes:
    """Return a frame's rendition, of which the catalogue knows from now on."""
    (record, *_) = setup.catalogue.list_instances(STUDY)
    assert record.pixel is not None
    frame = setup.frames[number]
    made = transcode(setup.data[frame], record.transfer_syntax_uid, record.pixel, HTJ2KLosslessRPCL).encoded
    setup.catalogue.add_renditions("main", [Rendition(frame, HTJ2KLosslessRPCL, sha256(made), len(made))])
    return made


async def test_a_native_frame_comes_as_its_rendition(setup: Setup) -> None:
    frame, made = setup.frames[0], rendition_of(setup, 0)
    setup.upstream.contents_held = {sha256(made): made}
    assert await setup.stream(frame, 3, 9) == setup.data[frame][3:9]
    assert await setup.read(frame) == setup.data[frame]
    await setup.kept(sha256(made))
    assert setup.store.read(STUDY, sha256(made)) == made
    assert setup.store.missing(STUDY, [frame]) == [frame]
    assert setup.upstream.sent == len(made)


async def test_a_rendition_is_made_of_a_native_frame_that_is_held(setup: Setup) -> None:
    frame, made = setup.frames[0], rendition_of(setup, 0)
    setup.store.append(STUDY, ContentKind.FRAME, frame, 512, [setup.data[frame]])
    assert await setup.read(sha256(made)) == made
    assert not setup.upstream.asked


async def test_a_rendition_that_is_none_costs_one_more_request(setup: Setup) -> None:
    frame, wrong = setup.frames[0], rendition_of(setup, 1)
    made = [Rendition(frame, HTJ2KLosslessRPCL, sha256(wrong), len(wrong))]
    setup.catalogue.add_renditions("main", made)
    setup.upstream.contents_held[sha256(wrong)] = wrong
    assert await setup.read(frame) == setup.data[frame]
    assert setup.metrics.value(RECIPES_REFUSED, operation="coded", reason="digest") == 1
    assert setup.upstream.asked == Counter(content=2)


async def test_a_rendition_that_was_dropped_leaves_the_frame_as_it_is(setup: Setup) -> None:
    frame, _ = setup.frames[0], rendition_of(setup, 0)
    assert await setup.read(frame) == setup.data[frame]


async def test_what_the_upstream_lacks_is_asked_for_once(setup: Setup) -> None:
    for _ in range(5):
        with pytest.raises(NotFound):
            await setup.read(sha256(b"of nowhere"))
    assert setup.upstream.asked["content"] == 1
