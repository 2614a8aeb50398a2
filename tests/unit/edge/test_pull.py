"""Pulling a study: by delta, by manifest, and what is not believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from nearframe.clock import ManualClock
from nearframe.edge.pull import Pulled, StudyPuller, is_behind
from nearframe.edge.replica import Replica
from nearframe.edge.upstream import Upstream
from nearframe.errors import IntegrityError, NotFound, UpstreamError
from nearframe.ids import Digest
from nearframe.metrics import EDGE_INTEGRITY_FAILURES, Metrics
from nearframe.query.deltas import Deltas
from nearframe.query.headeredits import Part10Edits
from nearframe.query.manifests import Manifests, build_manifest
from nearframe.query.workers import Workers
from nearframe.storage.ports import AGAIN, UPSTREAM, ContentKind, StudyRef
from nearframe.wire.delta import Runs, decode_delta, encode_delta, indices_of
from nearframe.wire.manifest import Manifest
from nearframe.wire.manifestjson import encode_manifest
from tests.syncing import STUDY_UID, Shelves, ct_series, edited, implicit, instance_uid, rename, shelves

STUDY = StudyRef("main", STUDY_UID)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path / "origin")


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path / "edge")


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Shelves]:
    """Those of a node that has not heard of everything yet."""
    yield from shelves(tmp_path / "late")


class Archive:
    """An upstream that reads an origin's shelves, and says something false when told to."""

    def __init__(self, origin: Shelves, workers: Workers) -> None:
        self.origin = origin
        self.manifests = Manifests(origin.catalogue, workers, 10_000_000)
        self.deltas = Deltas(origin.catalogue, origin.store, self.manifests, Part10Edits(), workers, 1_000_000)
        self.asked: Counter[str] = Counter()
        self.url, self.rank = "http://origin", 0
        self.false_delta = self.false_header = self.forgetful = self.talkative = False

    async def delta(self, study: StudyRef, root: Digest) -> bytes | None:
        self.asked["delta"] += 1
        encoded = await self.deltas.since(study, root)
        if encoded is None or not self.false_delta:
            return encoded
        delta = decode_delta(encoded)
        operations = [{**one, "value": "Roe"} if "00100010" in one["path"] else one for one in delta.patch]
        return encode_delta(type(delta)(delta.old_root, delta.new_root, (), None, operations, delta.edits))

    async def manifest(self, study: StudyRef) -> bytes:
        self.asked["manifest"] += 1
        return encode_manifest((await self.manifests.current(study)).manifest)

    @asynccontextmanager
    async def headers(self, study: StudyRef, root: Digest, at: Runs) -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked["headers"] += 1
        if self.forgetful:
            raise NotFound("state")
        yield self._headers((await self.manifests.with_root(study, root)).manifest, at)

    async def _headers(self, manifest: Manifest, at: Runs) -> AsyncIterator[bytes]:
        for index in indices_of(at, len(manifest.entries)):
            header = self.origin.store.read(STUDY, manifest.entries[index].hdr)
            yield header[:-1] + b"?" if self.false_header else header
        if self.talkative:
            yield b"one more"


class Setup:
    def __init__(self, origin: Shelves, edge: Shelves) -> None:
        self.workers = Workers("test", 2)
        self.origin, self.edge = origin, edge
        self.archive = Archive(origin, self.workers)
        self.metrics = Metrics()
        self.manifests = Manifests(edge.catalogue, self.workers, 10_000_000)
        self.replica = Replica(
            edge.catalogue, edge.store, self.manifests, Part10Edits(), self.workers, self.metrics, ManualClock()
        )
        self.puller = StudyPuller(self.replica)
        self.upstream = cast("Upstream", self.archive)

    def restored_to(self, origin: Shelves) -> None:
        """Have the upstream be as these shelves are."""
        self.archive = Archive(origin, self.workers)
        self.upstream, self.origin = cast("Upstream", self.archive), origin

    async def pull(self) -> Pulled:
        self.archive.asked.clear()
        return await self.puller.pull(STUDY, self.upstream)

    def check_same(self) -> None:
        """Check that what the edge's catalogue holds is what the origin's does, header by header."""
        mine, theirs = (
            build_manifest(shelf.catalogue, STUDY, shelf.catalogue.state(STUDY)) for shelf in (self.edge, self.origin)
        )
        assert mine.root == theirs.root
        for entry in mine.entries:
            assert self.edge.store.read(STUDY, entry.hdr) == self.origin.store.read(STUDY, entry.hdr)


@pytest.fixture
async def setup(origin: Shelves, edge: Shelves) -> AsyncIterator[Setup]:
    made = Setup(origin, edge)
    yield made
    made.workers.close()


async def test_first_by_manifest_then_by_delta_then_nothing(setup: Setup) -> None:
    setup.origin.put(ct_series(4))
    assert await setup.pull() is Pulled.MANIFEST
    assert setup.archive.asked == Counter(manifest=1, headers=1)
    setup.check_same()
    setup.origin.put([*ct_series(4, change=rename("Doe^Janet")), *ct_series(2, series=2, seed=2)])
    assert await setup.pull() is Pulled.DELTA
    assert setup.archive.asked == Counter(delta=1)
    setup.check_same()
    assert await setup.pull() is Pulled.UNCHANGED


async def test_without_deltas_the_whole_manifest_is_taken(setup: Setup) -> None:
    setup.puller = StudyPuller(setup.replica, deltas=False)
    for files in (ct_series(4), ct_series(4, change=rename("Doe^Janet"))):
        setup.origin.put(files)
        assert await setup.pull() is Pulled.MANIFEST
        assert setup.archive.asked == Counter(manifest=1, headers=1)
        setup.check_same()


async def test_a_study_written_anew_in_another_encoding(setup: Setup) -> None:
    setup.origin.put(ct_series(4))
    await setup.pull()
    setup.origin.put(ct_series(4, change=implicit))
    assert await setup.pull() is Pulled.DELTA
    setup.check_same()


async def test_instances_that_move_to_another_series(setup: Setup) -> None:
    files = ct_series(4)
    setup.origin.put(files)
    await setup.pull()

    def move(ds: object) -> None:
        ds.SeriesInstanceUID = "1.2.3.4"  # type: ignore[attr-defined]

    setup.origin.put([edited(file, move) for file in files[:2]])
    assert await setup.pull() is Pulled.DELTA
    setup.check_same()


async def test_instances_that_are_gone(setup: Setup) -> None:
    files = ct_series(3)
    setup.origin.put(files)
    await setup.pull()
    setup.origin.catalogue.delete(STUDY, None, instance_uid(files[1]))
    assert await setup.pull() is Pulled.DELTA
    setup.check_same()
    setup.origin.put(files)
    assert await setup.pull() is Pulled.DELTA
    setup.check_same()


async def test_what_a_restored_archive_lost_becomes_local(setup: Setup, late: Shelves) -> None:
    files = ct_series(4)
    setup.origin.put(files)
    late.put(files[:1])  # as the backup has it
    await setup.pull()
    hold(setup, files[:3])
    setup.restored_to(late)
    assert await setup.puller.pull(STUDY, setup.upstream, keeps=True) is Pulled.MANIFEST
    shown = {record.identity.sop_instance_uid: record.source for record in setup.edge.catalogue.list_instances(STUDY)}
    first, second, third, fourth = map(instance_uid, files)
    assert shown == {first: UPSTREAM, second: AGAIN, third: AGAIN}, fourth  # of which the pixels were not here
    assert {one.identity.sop_instance_uid for one in setup.edge.catalogue.taken_in(0, 10)} == {second, third}
    spooled = [event for event in setup.edge.catalogue.outbox("forward", 100) if event.detail.get("source") == AGAIN]
    assert len(spooled) == 2
    assert await setup.puller.pull(STUDY, setup.upstream, keeps=True) is Pulled.UNCHANGED
    late.put(files[1:3])  # forwarded by then
    settled = {(one.identity.sop_instance_uid, one.file): 1 for one in setup.edge.catalogue.taken_in(0, 10)}
    setup.edge.catalogue.replicate([], [], {"main": settled})
    await setup.pull()
    setup.check_same()


async def test_a_study_that_a_restored_archive_does_not_know(setup: Setup, late: Shelves) -> None:
    files = ct_series(3)
    setup.origin.put(files)
    await setup.pull()
    hold(setup, files[:2])
    setup.restored_to(late)
    assert await setup.puller.keep_unknown("main", {STUDY_UID}, setup.upstream) == []
    assert setup.edge.catalogue.taken_in(0, 10) == []
    assert await setup.puller.keep_unknown("main", set(), setup.upstream) == [STUDY]
    assert len(setup.edge.catalogue.taken_in(0, 10)) == 2
    assert len(setup.edge.catalogue.list_instances(STUDY)) == 3  # what is not here as a whole stays as it was


async def test_a_correction_that_a_restored_archive_lost_stays_and_is_forwarded(setup: Setup, late: Shelves) -> None:
    files = ct_series(2)
    corrected = [edited(file, rename("Doe^Janet")) for file in files]
    setup.origin.put(files)
    late.put(files)  # as the backup has it
    setup.origin.put(corrected)
    await setup.pull()
    setup.restored_to(late)
    await setup.puller.pull(STUDY, setup.upstream, keeps=True)
    shown = setup.edge.catalogue.list_instances(STUDY)
    assert {record.source for record in shown} == {AGAIN}, "their pixels are not here, and need not be"
    late.put(corrected)
    assert {record.file for record in shown} == {record.file for record in late.catalogue.list_instances(STUDY)}


async def test_all_versions_that_a_restored_archive_lost_are_forwarded_in_order(setup: Setup, late: Shelves) -> None:
    [file] = ct_series(1)
    for name in ("Doe^Jane", "Doe^Janet", "Roe^Janet"):
        setup.origin.put([edited(file, rename(name))])
        await setup.pull()
    hold(setup, [file])
    setup.restored_to(late)
    await setup.puller.keep_unknown("main", set(), setup.upstream)
    events = setup.edge.catalogue.outbox("forward", 100)
    assert [event.version for event in events if event.detail["source"] == AGAIN] == [1, 2, 3]


def hold(setup: Setup, files: list[bytes]) -> None:
    """Have the edge hold the pixels of some files, too."""
    for file in files:
        record = setup.origin.catalogue.find_instance("main", instance_uid(file))
        for enc, length in record.frames:
            data = setup.origin.store.read(STUDY, enc)
            setup.edge.store.append(STUDY, ContentKind.FRAME, enc, length, [data])


async def test_what_is_removed_stays_until_it_is_let_go(setup: Setup) -> None:
    setup.origin.put(ct_series(2))
    await setup.pull()
    hdrs = [record.hdr for record in setup.edge.catalogue.list_instances(STUDY)]
    assert await setup.puller.remove(STUDY, setup.upstream) is Pulled.REMOVED
    assert setup.edge.catalogue.list_instances(STUDY) == []
    assert await setup.pull() is Pulled.MANIFEST
    assert setup.archive.asked["headers"] == 0
    setup.check_same()
    assert await setup.puller.let_go(STUDY)
    assert setup.edge.store.missing(STUDY, hdrs) == [], "it is in view"
    assert await setup.puller.remove(STUDY, setup.upstream) is Pulled.REMOVED
    assert await setup.puller.let_go(STUDY)
    assert setup.edge.store.missing(STUDY, hdrs) == hdrs
    assert await setup.puller.remove(STUDY, setup.upstream) is Pulled.REMOVED


async def test_what_is_being_taken_in_is_not_let_go(setup: Setup) -> None:
    setup.origin.put(ct_series(1))
    await setup.pull()
    await setup.puller.remove(STUDY, setup.upstream)
    setup.replica.in_use.begin(STUDY)
    assert not await setup.puller.let_go(STUDY)
    setup.replica.in_use.end(STUDY)
    assert await setup.puller.let_go(STUDY)


async def test_a_false_delta_is_counted_and_the_manifest_taken(setup: Setup) -> None:
    setup.origin.put(ct_series(3))
    await setup.pull()
    setup.origin.put(ct_series(3, change=rename("Doe^Janet")))
    setup.archive.false_delta = True
    assert await setup.pull() is Pulled.MANIFEST
    assert setup.metrics.value(EDGE_INTEGRITY_FAILURES, what="delta") == 1
    setup.check_same()


async def test_a_false_header_is_counted_and_nothing_shown(setup: Setup) -> None:
    setup.origin.put(ct_series(3))
    setup.archive.false_header = True
    with pytest.raises(IntegrityError):
        await setup.pull()
    assert setup.metrics.value(EDGE_INTEGRITY_FAILURES, what="header") == 1
    assert setup.edge.catalogue.list_instances(STUDY) == []
    setup.archive.false_header = False
    assert await setup.pull() is Pulled.MANIFEST
    setup.check_same()


async def test_more_headers_than_were_asked_for(setup: Setup) -> None:
    setup.origin.put(ct_series(2))
    setup.archive.talkative = True
    with pytest.raises(UpstreamError, match="more headers"):
        await setup.pull()


async def test_a_study_that_always_changes_meanwhile(setup: Setup) -> None:
    setup.origin.put(ct_series(1))
    setup.archive.forgetful = True
    with pytest.raises(UpstreamError):
        await setup.pull()


async def test_a_crash_before_the_root_was_noted(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.origin.put(ct_series(3))
    with monkeypatch.context() as crash:
        crash.setattr(setup.edge.catalogue, "save_root", lambda *_: None)
        await setup.pull()
    assert await setup.pull() is Pulled.MANIFEST
    assert setup.archive.asked == Counter(manifest=1), "no header is fetched twice"
    setup.check_same()
    assert await setup.pull() is Pulled.UNCHANGED


async def test_a_study_that_is_not_there(setup: Setup) -> None:
    with pytest.raises(NotFound):
        await setup.pull()


def manifest_of(shelves: Shelves) -> Manifest:
    return build_manifest(shelves.catalogue, STUDY, shelves.catalogue.state(STUDY))


def test_what_shows_nothing_newer_is_behind(origin: Shelves) -> None:
    nothing = Manifest(STUDY_UID, {}, ())
    origin.put(ct_series(2))
    first = manifest_of(origin)
    origin.put(ct_series(1, series=2, seed=2))
    grown = manifest_of(origin)
    origin.put(ct_series(2, change=rename("Doe^Janet")))
    corrected = manifest_of(origin)
    for theirs, held in ((nothing, first), (first, first), (first, grown), (grown, corrected)):
        assert is_behind(theirs, held)
    for theirs, held in ((first, nothing), (grown, first), (corrected, grown)):
        assert not is_behind(theirs, held), "one newer instance is enough"


async def test_a_lower_ranked_upstream_that_has_not_heard_takes_nothing_back(setup: Setup, late: Shelves) -> None:
    setup.origin.put(ct_series(2))
    late.put(ct_series(2))
    await setup.pull()
    setup.origin.put(ct_series(2, change=rename("Doe^Janet")))
    await setup.pull()
    near = Archive(late, setup.workers)
    assert await setup.puller.pull(STUDY, cast("Upstream", near)) is Pulled.MANIFEST, "the best-ranked one is right"
    await setup.pull()
    setup.check_same()
    near.rank = 1
    assert await setup.puller.remove(STUDY, cast("Upstream", near)) is Pulled.UNCHANGED
    assert await setup.puller.pull(STUDY, cast("Upstream", near)) is Pulled.UNCHANGED
    setup.check_same()
    late.put([*ct_series(2, change=rename("Doe^Janet")), *ct_series(1, series=2, seed=2)])
    assert await setup.puller.pull(STUDY, cast("Upstream", near)) is not Pulled.UNCHANGED, "it has heard of more"
