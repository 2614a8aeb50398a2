"""The client against real nodes on sockets: once, again, after corrections, cut, lied to, at another node."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nearframe.client import Arrival, Client, Progress, Study
from nearframe.context import Urgency
from nearframe.errors import Busy, ConfigurationError, MalformedRequest, NotFound, UpstreamError, UpstreamUnavailable
from nearframe.ids import sha256
from nearframe.listener.testing import running
from tests.integration.client.nodes import Served, cut_at, edge, flip_at, origin, synced
from tests.syncing import STUDY_UID, ct_series, instance_uid, rename

COUNT = 6
ROWS = 64
FILES = ct_series(COUNT, rows=ROWS)


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Served]:
    async with origin(tmp_path / "origin", renditions=True) as served:
        await served.node.store(FILES)
        await until_rendered(served)
        yield served


async def until_rendered(served: Served) -> None:
    """Wait until every frame has its rendition."""
    async with asyncio.timeout(60):
        while True:
            found = (await served.node.client.get(f"/api/studies/{STUDY_UID}/renditions")).json()
            if len(found["len"]) == COUNT:
                return
            await asyncio.sleep(0.02)


async def until_listed(served: Served, url: str) -> None:
    """Wait until a node tells clients of another one, and that it is well."""
    async with asyncio.timeout(20):
        while True:
            nodes = (await served.node.client.get("/api/edges")).json()["edges"]
            if url in [node["url"] for node in nodes if node["healthy"]]:
                return
            await asyncio.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


@pytest.fixture
def client(archive: Served, folder: Path) -> Iterator[Client]:
    with Client(folder, [archive.url]) as made:
        yield made


def files_of(study: Study) -> set[bytes]:
    return {study.file(instance) for instance in study.instances}


class Heard(Progress):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.failures: list[str] = []

    def arrived(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)

    def failed(self, url: str, problem: str) -> None:
        self.failures.append(problem)


@pytest.mark.parametrize("levels", [2, 0, None])
async def test_files_come_byte_for_byte(client: Client, levels: int | None) -> None:
    study = await synced(client, STUDY_UID, levels=levels)
    assert files_of(study) == set(FILES)
    assert study.is_whole
    assert client.report.problems == []
    assert (client.report.how, client.report.requests) == ("manifest", 1)
    assert client.report.study_bytes == sum(map(len, FILES))
    if levels is not None:
        assert client.report.saved_bytes > 0


async def test_again_is_one_round_trip_and_next_to_nothing(archive: Served, client: Client) -> None:
    await synced(client, STUDY_UID)
    await synced(client, STUDY_UID)
    assert (client.report.how, client.report.requests) == ("unchanged", 1)
    assert client.report.moved_bytes == 0
    assert archive.line.asked == ["GET", "GET"]


async def test_a_renamed_patient_is_one_round_trip_and_less_than_a_kilobyte(archive: Served, client: Client) -> None:
    await synced(client, STUDY_UID)
    renamed = ct_series(COUNT, rows=ROWS, change=rename("Doe^Janet"))
    await archive.node.store(renamed)
    study = await synced(client, STUDY_UID)
    assert files_of(study) == set(renamed)
    assert (client.report.how, client.report.requests) == ("delta", 1)
    assert client.report.moved_bytes < 1000


async def test_what_a_correction_leaves_behind_can_go(archive: Served, folder: Path, client: Client) -> None:
    before = await synced(client, STUDY_UID)
    assert client.folder.prune() == 0
    headers = sum(len(client.folder.read(instance.hdr)) for instance in before.instances)
    renamed = ct_series(COUNT, rows=ROWS, change=rename("Doe^Janet"))
    await archive.node.store(renamed)
    study = await synced(client, STUDY_UID)
    (manifest,) = (folder / "studies").rglob("manifest")
    intact = manifest.read_bytes()
    manifest.write_bytes(b"damaged")
    assert client.folder.prune() == 0
    manifest.write_bytes(intact)
    assert client.folder.prune() == headers
    assert files_of(study) == set(renamed)


async def test_instances_that_are_added_come_alone(archive: Served, client: Client) -> None:
    await synced(client, STUDY_UID)
    more = ct_series(1, rows=ROWS, series=2, seed=9)
    await archive.node.store(more)
    study = await synced(client, STUDY_UID, levels=None)
    assert files_of(study) == {*FILES, *more}
    assert client.report.moved_bytes < 2 * len(more[0])


async def test_what_arrives_can_be_looked_at_before_it_is_whole(client: Client) -> None:
    heard = Heard()
    previews = []

    class Looking(Heard):
        def arrived(self, arrival: Arrival) -> None:
            heard.arrived(arrival)
            if arrival.resolutions is not None:
                assert arrival.frame_number is not None
                study = client.study(STUDY_UID)
                previews.append((study.preview(arrival.instance, arrival.frame_number), arrival.resolutions))

    study = await synced(client, STUDY_UID, progress=Looking())
    early = [arrival.resolutions for arrival in heard.arrivals]
    assert early == [2] * COUNT + [None] * COUNT
    numbers = [arrival.instance.metadata["00200013"]["Value"][0] for arrival in heard.arrivals]
    assert numbers[:3] == [1, COUNT // 2 + 1, COUNT]
    for preview, resolutions in previews:
        assert not preview.is_proved
        assert preview.samples.shape == (ROWS >> preview.halved,) * 2
        assert preview.halved == 6 - resolutions
    whole = study.preview(study.instances[0], 1)
    assert (whole.is_proved, whole.halved, whole.samples.shape) == (True, 0, (ROWS, ROWS))


async def test_cut_anywhere_it_goes_on_and_no_content_comes_twice(archive: Served, tmp_path: Path) -> None:
    with Client(tmp_path / "measure", [archive.url]) as whole:
        await synced(whole, STUDY_UID)
        size = whole.report.moved_bytes
    rng = random.Random(5)
    for attempt in range(12):
        places = [rng.randrange(size) for _ in range(3)]
        archive.line.harms[:] = [cut_at(place) for place in places]
        with Client(tmp_path / f"cut-{attempt}", [archive.url]) as client:
            study = await _until_whole(client)
            assert files_of(study) == set(FILES), places
            assert not list((tmp_path / f"cut-{attempt}" / "studies").rglob("parts/*"))


async def _until_whole(client: Client) -> Study:
    """Sync as somebody does who presses the button again."""
    for _ in range(5):
        try:
            return await synced(client, STUDY_UID)
        except UpstreamError:
            continue
    raise AssertionError("it never becomes whole")


async def test_what_has_come_is_not_sent_again(archive: Served, folder: Path, client: Client) -> None:
    await synced(client, STUDY_UID)
    size = client.report.moved_bytes
    again = folder.with_name("again")
    archive.line.harms[:] = [cut_at(size * 3 // 4)]
    with Client(again, [archive.url]) as cut:
        await synced(cut, STUDY_UID)
        assert cut.report.requests == 2
        # What was on its way in a half read chunk, and a request that says what is lacking.
        assert cut.report.moved_bytes < size + 3000


@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
async def test_a_changed_byte_never_reaches_the_folder(archive: Served, tmp_path: Path, part: float) -> None:
    with Client(tmp_path / "measure", [archive.url]) as whole:
        await synced(whole, STUDY_UID)
        size = whole.report.moved_bytes
    archive.line.harms[:] = [flip_at(int(size * part))]
    async with edge(tmp_path / "edge", archive) as honest:
        archive.line.harms[:] = []
        archive.line.always = flip_at(int(size * part))
        with Client(tmp_path / "flipped", [archive.url, honest.url]) as client:
            study = await synced(client, STUDY_UID)
            assert files_of(study) == set(FILES)
            contents = tmp_path / "flipped" / "contents"
            for path in contents.rglob("*"):
                if path.is_file():
                    assert sha256(path.read_bytes()).hex() == path.parent.name + path.name


async def test_a_node_that_fails_in_the_middle_is_followed_by_the_next(archive: Served, tmp_path: Path) -> None:
    async with edge(tmp_path / "edge", archive) as near:
        near.line.always = cut_at(10_000)
        heard = Heard()
        with Client(tmp_path / "folder", [near.url, archive.url]) as client:
            study = await synced(client, STUDY_UID, progress=heard)
        assert files_of(study) == set(FILES)
        assert near.url in {url for url, _ in client.report.problems}
        assert heard.failures
        assert "POST" in archive.line.asked


async def test_who_is_asked_knows_who_goes_on(archive: Served, tmp_path: Path) -> None:
    async with edge(tmp_path / "edge", archive) as near:
        await until_listed(near, archive.url)
        near.line.harms, near.line.always = [cut_at(10_000)], cut_at(0)
        with Client(tmp_path / "folder", [near.url]) as client:
            assert files_of(await synced(client, STUDY_UID)) == set(FILES)
            assert [url for url, _ in client.report.problems] == [near.url]
        assert archive.line.asked == ["POST"]
        near.line.harms = [cut_at(10_000)]
        with Client(tmp_path / "alone", [near.url], only=True) as client, pytest.raises(UpstreamError):
            await synced(client, STUDY_UID)
        assert archive.line.asked == ["POST"]


async def test_who_was_not_named_does_not_say_how_a_study_stands(archive: Served, tmp_path: Path) -> None:
    known = ({"name": "another", "url": archive.url},)
    async with origin(tmp_path / "near", edges=known) as near:
        await near.node.store(ct_series(COUNT, rows=ROWS, change=rename("Doe^Janet")))
        await until_listed(near, archive.url)
        near.line.harms, near.line.always = [cut_at(10_000)], cut_at(0)
        with Client(tmp_path / "folder", [near.url]) as client:
            with pytest.raises(UpstreamError, match=near.url):
                await synced(client, STUDY_UID)
            said = [problem for url, problem in client.report.problems if url == archive.url]
            assert said == [f"{archive.url} has the study in another state"]
            assert not client.study(STUDY_UID).is_whole
        archive.line.asked.clear()  # from here on it shows no state at all
        with Client(tmp_path / "another", [near.url]) as client, pytest.raises(UpstreamError):
            await synced(client, STUDY_UID)
        assert archive.line.asked == []


async def test_a_node_that_is_not_there_is_passed_over(archive: Served, folder: Path) -> None:
    with Client(folder, ["http://127.0.0.1:9", archive.url]) as client:
        assert files_of(await synced(client, STUDY_UID)) == set(FILES)
        assert len(await asyncio.to_thread(client.search, {"StudyInstanceUID": STUDY_UID})) == 1


async def test_an_edge_gives_what_it_does_not_hold_yet(archive: Served, tmp_path: Path) -> None:
    async with edge(tmp_path / "edge", archive) as near:
        with Client(tmp_path / "folder", [near.url]) as client:
            assert files_of(await synced(client, STUDY_UID)) == set(FILES)
            assert client.report.requests == 1
            await synced(client, STUDY_UID)
            assert client.report.how == "unchanged"


async def test_nobody_answers(folder: Path) -> None:
    with (
        Client(folder, ["http://127.0.0.1:9"]) as client,
        pytest.raises(UpstreamUnavailable, match="is the node running"),
    ):
        await synced(client, STUDY_UID)


async def test_no_such_study(client: Client) -> None:
    with pytest.raises(NotFound):
        await synced(client, "1.2.3")
    with pytest.raises(NotFound):
        client.study("1.2.3")


async def test_what_is_damaged_in_the_folder_comes_again(folder: Path, client: Client) -> None:
    study = await synced(client, STUDY_UID)
    enc = study.instances[2].frames.enc_of(0).hex()
    hdr = study.instances[3].hdr.hex()
    (folder / "contents" / enc[:2] / enc[2:]).write_bytes(bytes(ROWS * ROWS * 2))
    (folder / "contents" / hdr[:2] / hdr[2:]).unlink()
    with pytest.raises(Exception, match="damaged"):
        study.file(study.instances[2])
    assert not study.is_whole
    assert files_of(await synced(client, STUDY_UID)) == set(FILES)
    assert client.report.moved_bytes < 30_000


async def test_a_damaged_header_does_not_spoil_a_delta(archive: Served, folder: Path, client: Client) -> None:
    study = await synced(client, STUDY_UID)
    hdr = study.instances[3].hdr.hex()
    (folder / "contents" / hdr[:2] / hdr[2:]).write_bytes(b"damaged")
    renamed = ct_series(COUNT, rows=ROWS, change=rename("Doe^Janet"))
    await archive.node.store(renamed)
    assert files_of(await synced(client, STUDY_UID)) == set(renamed)
    assert client.report.problems == []


async def test_a_lost_manifest_moves_no_content_again(folder: Path, client: Client) -> None:
    await synced(client, STUDY_UID)
    (manifest,) = (folder / "studies").rglob("manifest")
    manifest.write_bytes(b"damaged")
    await synced(client, STUDY_UID)
    assert (client.report.how, client.report.requests) == ("manifest", 2)
    assert client.report.moved_bytes < 30_000


async def test_how_urgent_it_is_is_said(archive: Served, client: Client) -> None:
    await synced(client, STUDY_UID)
    assert archive.line.priority == ""
    await asyncio.to_thread(client.sync, STUDY_UID, urgency=Urgency.STAT)
    assert archive.line.priority == "u=0"


async def test_one_writer_at_a_time(folder: Path, client: Client) -> None:
    with client.folder.locked(), pytest.raises(Busy):
        await synced(client, STUDY_UID)


def test_what_is_no_url(folder: Path) -> None:
    for urls in ([], ["ftp://x"]):
        with pytest.raises(ConfigurationError):
            Client(folder, urls)


async def test_an_answer_that_is_no_stream(archive: Served, folder: Path) -> None:
    archive.line.always = lambda offset, chunk: b"x" * len(chunk)
    with Client(folder, [archive.url]) as client, pytest.raises(MalformedRequest, match="no stream of a study"):
        await synced(client, STUDY_UID)


async def test_a_server_of_another_kind(folder: Path) -> None:
    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("<html>", media_type="text/html")(scope, receive, send)

    async with running(page) as url:
        with Client(folder, [url]) as client, pytest.raises(UpstreamError, match="nearframe node"):
            await synced(client, STUDY_UID)


async def test_names_are_no_uids(folder: Path, client: Client) -> None:
    await synced(client, STUDY_UID)
    names = " ".join(str(path) for path in folder.rglob("*"))
    assert STUDY_UID not in names
    assert instance_uid(FILES[0]) not in names
