"""An edge with too little room: what is pushed, what stays, what goes, and what a bulk export leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from nearframe import tasks
from nearframe.metrics import EDGE_EVICTED, EDGE_MISSES, EDGE_PREFETCHED
from tests.integration.edge.nodes import Node, edge_node, origin_node, until, until_followed
from tests.syncing import ct_series, instance_uid

FRAME = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
BULK = FRAME | {"Priority": "u=7"}


def study_uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.2.1125.77.{number}"


class Study:
    """A CT study of a few slices."""

    def __init__(self, number: int, slices: int = 4, patient: str = "") -> None:
        self.uid = study_uid(number)
        change = _of(patient or f"PID-{number}", "20200101")
        self.files = ct_series(slices, rows=128, study=self.uid, seed=number, change=change)

    def paths(self) -> list[str]:
        below = f"/dicomweb/studies/{self.uid}/series/{self.uid}.1/instances"
        return [f"{below}/{instance_uid(file)}/frames/1" for file in self.files]

    async def read(self, node: Node, headers: dict[str, str] = FRAME) -> list[str]:
        """Read every frame; return how each was come by."""
        statuses = []
        for path, file in zip(self.paths(), self.files, strict=True):
            response = await node.client.get(path, headers=headers)
            assert response.status_code == 200, response.text
            assert file[-512:] in response.content
            statuses.append(response.headers["cache-status"])
        return statuses

    @property
    def frame_bytes(self) -> int:
        return 128 * 128 * 2 * len(self.files)


def _of(patient: str, day: str):  # type: ignore[no-untyped-def]
    def change(ds) -> None:  # type: ignore[no-untyped-def]
        ds.PatientID, ds.StudyDate = patient, day

    return change


async def tiers(edge: Node) -> dict[str, dict[str, dict[str, int]]]:
    return (await edge.client.get("/api/status")).json()["tiers"]  # type: ignore[no-any-return]


async def test_what_an_edge_says_of_a_request(tmp_path: Path) -> None:
    async with origin_node(tmp_path / "origin") as origin, edge_node(tmp_path / "edge", origin.url) as edge:
        study = Study(1, slices=1)
        await origin.store(study.files)
        await until_followed(edge, origin)
        (path,) = study.paths()
        for asked, said in ((None, "u=3"), ("u=0", "u=0"), ("u=7, i", "u=7"), ("nonsense", "u=3")):
            headers = FRAME if asked is None else FRAME | {"Priority": asked}
            assert (await edge.client.get(path, headers=headers)).headers["priority"] == said


async def test_todays_study_is_here_before_anybody_asks(tmp_path: Path) -> None:
    async with (
        origin_node(tmp_path / "origin") as origin,
        edge_node(tmp_path / "edge", origin.url, push="all", route=({"class": "routine"},)) as edge,
    ):
        study = Study(1)
        await origin.store(study.files)
        await until(lambda: edge.metrics.value(EDGE_PREFETCHED, why="push") == 4)
        sent = origin.sent()["frame"]
        assert await study.read(edge) == ["nearframe-edge; hit"] * 4
        assert origin.sent()["frame"] == sent
        assert edge.metrics.value(EDGE_MISSES) == 0


async def test_a_bulk_export_never_flushes_todays_list(tmp_path: Path) -> None:
    todays = [Study(number) for number in range(1, 4)]
    exported = [Study(number) for number in range(10, 22)]
    room = sum(study.frame_bytes for study in todays) + 200_000
    async with (
        origin_node(tmp_path / "origin") as origin,
        edge_node(tmp_path / "edge", origin.url, prefetch=False, cache_bytes=room) as edge,
    ):
        for study in (*todays, *exported):
            await origin.store(study.files)
        await until_followed(edge, origin)
        for study in todays:
            await study.read(edge)
        for study in (*exported, *todays):
            await study.read(edge, BULK)
        assert edge.metrics.value(EDGE_EVICTED) == 0
        assert edge.metrics.value(EDGE_MISSES, urgency="bulk", reason="bypass") == 4 * len(exported)
        for study in todays:
            assert await study.read(edge) == ["nearframe-edge; hit"] * 4
        for study in exported[:2]:
            assert all(status.startswith("nearframe-edge; fwd=miss") for status in await study.read(edge, BULK))


async def test_what_was_taken_out_of_view_goes_first(tmp_path: Path) -> None:
    studies = [Study(number) for number in range(1, 5)]
    room = 3 * studies[0].frame_bytes + 400_000
    async with (
        origin_node(tmp_path / "origin", delete_policy="remove") as origin,
        edge_node(tmp_path / "edge", origin.url, prefetch=False, cache_bytes=room) as edge,
    ):
        for study in studies:
            await origin.store(study.files)
        await until_followed(edge, origin)
        for study in studies[:3]:
            await study.read(edge)
        path = f"/dicomweb/studies/{studies[2].uid}"
        assert (await origin.client.delete(path)).status_code < 300
        await until_followed(edge, origin)
        assert (await edge.client.get(f"{path}/metadata")).status_code == 404
        await studies[3].read(edge)
        for study in (*studies[:2], studies[3]):
            assert await study.read(edge) == ["nearframe-edge; hit"] * 4
        assert edge.metrics.value(EDGE_EVICTED) == 0


async def test_room_is_made_by_the_study_opened_longest_ago(tmp_path: Path) -> None:
    studies = [Study(number) for number in range(1, 9)]
    room = 3 * studies[0].frame_bytes + 400_000
    async with (
        origin_node(tmp_path / "origin") as origin,
        edge_node(tmp_path / "edge", origin.url, prefetch=False, cache_bytes=room) as edge,
    ):
        for study in studies:
            await origin.store(study.files)
        await until_followed(edge, origin)
        for study in studies:
            await study.read(edge)
            await asyncio.sleep(0.05)  # room is made beside the readers
        await until(lambda: edge.metrics.value(EDGE_EVICTED) > 0)
        state = await tiers(edge)
        held = sum(found["held_bytes"] for found in state["classes"].values())
        assert 0 < held <= room
        # Whole studies go: none is left in part, except the one that is being read.
        await studies[0].read(edge)
        assert edge.metrics.value(EDGE_MISSES, reason="evicted") + edge.metrics.value(EDGE_MISSES, reason="expired") > 0


async def test_live_segments_come_to_who_waits_for_them(tmp_path: Path) -> None:
    async with origin_node(tmp_path / "origin") as origin, edge_node(tmp_path / "edge", origin.url) as edge:
        at = "/api/segments/room-1"
        put = await edge.client.put(f"{at}/1?ttl=20", content=b"first", headers={"Content-Type": "video/mp4"})
        assert put.status_code == 201
        waiting = tasks.spawn(edge.client.get(f"{at}/2?wait=20"), name="viewer")
        await edge.client.get(f"{at}/1")
        wrong = {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}
        assert (await edge.client.put(f"{at}/2", content=b"second", headers=wrong)).status_code == 400
        await edge.client.put(f"{at}/2", content=b"second")
        got = await waiting
        assert (got.content, got.headers["nearframe-segments"], got.headers["priority"]) == (b"second", "1-2", "u=0")
        again = await edge.client.get(f"{at}/2", headers={"If-None-Match": got.headers["etag"]})
        assert again.status_code == 304
        assert (await edge.client.put(f"{at}/2", content=b"other")).status_code == 409
        assert (await edge.client.get(at)).json() == {"first": 1, "last": 2}
        for path, status in (
            (f"{at}/9", 404),
            (f"{at}/x", 400),
            ("/api/segments/a b/1", 400),
            ("/api/segments/b/1", 404),
        ):
            assert (await edge.client.get(path)).status_code == status


async def test_an_edge_follows_the_class_that_its_archive_gives(tmp_path: Path) -> None:
    async with (
        origin_node(tmp_path / "origin") as origin,
        edge_node(tmp_path / "near", origin.url) as near,
        edge_node(tmp_path / "far", near.url) as far,
    ):
        study = Study(1, slices=1)
        at = f"/api/studies/{study.uid}/urgency"
        await origin.store(study.files)
        await until_followed(near, origin)
        manifests = origin.sent()["manifest"]
        given = await origin.client.put(at, json={"class": "stat", "reason": "fall", "until": "2 h"})
        assert given.status_code == 200
        assert (await origin.client.get(at)).json()["given"]["class"] == "stat"
        for edge in (near, far):
            await _until_class(edge, at, "stat")
        assert (await near.client.put(at, json={"class": "active"})).status_code == 200
        await origin.client.put(at, json={"class": None})
        for edge in (near, far):
            await _until_class(edge, at, "archive")
        assert origin.sent()["manifest"] == manifests, "no pixel, header or manifest moves for it"


async def _until_class(edge: Node, path: str, word: str) -> None:
    async with asyncio.timeout(30):
        while (await edge.client.get(path)).json().get("class") != word:
            await asyncio.sleep(0.05)


async def test_a_consult_brings_its_study_and_priors_and_holds_them(tmp_path: Path) -> None:
    """Whoever's turn it would be to go: what is in an open consult stays, until it is closed."""
    consulted, prior = Study(1, patient="PID-7"), Study(2, patient="PID-7")
    others = [Study(number) for number in range(10, 16)]
    async with (
        origin_node(tmp_path / "origin") as origin,
        edge_node(tmp_path / "edge", origin.url, cache_bytes=3 * prior.frame_bytes + 400_000) as edge,
    ):
        for study in (consulted, prior, *others):
            await origin.store(study.files)
        await until_followed(edge, origin)
        for study in (consulted, prior):
            await _until_class(edge, f"/api/studies/{study.uid}/urgency", "archive")
        opened = await edge.client.post(f"/api/studies/{consulted.uid}/consult", json={"class": "stat"})
        assert opened.json()["studies"] == [consulted.uid, prior.uid]
        await until(lambda: edge.metrics.value(EDGE_PREFETCHED) == 8)
        for study in others:
            await study.read(edge)
        await until(lambda: edge.metrics.value(EDGE_EVICTED) > 0)
        for study, word in ((consulted, "stat"), (prior, "active")):
            assert await study.read(edge) == ["nearframe-edge; hit"] * 4
            described = (await edge.client.get(f"/api/studies/{study.uid}/urgency")).json()
            assert (described["class"], described["why"]) == (word, "consult")
        await edge.client.delete(f"/api/studies/{consulted.uid}/consult")
        described = (await edge.client.get(f"/api/studies/{prior.uid}/urgency")).json()
        assert (described["class"], described["why"], described["consults"]) == ("active", "given", [])


async def test_what_is_purged_is_read_again_over_the_line(tmp_path: Path) -> None:
    study = Study(1, slices=2)
    async with origin_node(tmp_path / "origin") as origin, edge_node(tmp_path / "edge", origin.url) as edge:
        await origin.store(study.files)
        await until_followed(edge, origin)
        await study.read(edge)
        purged = await edge.client.post("/api/purge", json={"patient_of": study.uid})
        assert purged.json() == {"studies": 1, "bytes": study.frame_bytes}
        assert (await edge.client.get(f"/dicomweb/studies/{study.uid}/metadata")).status_code == 200
        assert (await study.read(edge))[0].startswith("nearframe-edge; fwd=miss")
        assert edge.metrics.value(EDGE_MISSES, reason="purged") > 0


async def test_what_is_pinned_or_could_not_be_read_again_is_dropped_by_force_alone(tmp_path: Path) -> None:
    study = Study(1, slices=2)
    scopes: tuple[dict[str, object], ...] = ({"study": study.uid}, {"patient_of": study.uid}, {"all": True})
    async with AsyncExitStack() as nodes:
        origin = await nodes.enter_async_context(origin_node(tmp_path / "origin"))
        async with edge_node(tmp_path / "edge", origin.url) as edge:
            await origin.store(study.files)
            await until_followed(edge, origin)
            await study.read(edge)
            await edge.client.put(f"/api/studies/{study.uid}/pin")
            await _refuses_to_purge(edge, scopes, "1 study is pinned")
            await edge.client.delete(f"/api/studies/{study.uid}/pin")
            await nodes.aclose()
            await _until_away(edge)
            await _refuses_to_purge(edge, scopes, "the upstream is away")
            assert await study.read(edge) == ["nearframe-edge; hit"] * 2
            assert (await edge.client.post("/api/purge", json={"all": True, "force": "yes"})).status_code == 400
            purged = await edge.client.post("/api/purge", json={"study": study.uid, "force": True})
            assert purged.json() == {"studies": 1, "bytes": study.frame_bytes}


async def _refuses_to_purge(edge: Node, scopes: Iterable[dict[str, object]], why: str) -> None:
    for scope in scopes:
        refused = await edge.client.post("/api/purge", json=scope)
        assert (refused.status_code, why in refused.text) == (409, True), refused.text


async def _until_away(edge: Node) -> None:
    async with asyncio.timeout(30):
        while (await edge.client.get("/api/status")).json()["upstream"]["reachable"]:
            await asyncio.sleep(0.05)


async def test_a_lost_file_is_begun_anew_from_what_is_held(tmp_path: Path) -> None:
    study = Study(1, slices=2)
    at = f"/api/studies/{study.uid}/urgency"
    async with origin_node(tmp_path / "origin") as origin:
        async with edge_node(tmp_path / "edge", origin.url) as edge:
            await origin.store(study.files)
            await until_followed(edge, origin)
            await study.read(edge)
            used_at = (await edge.client.get(at)).json()["used_at"]
        for path in (tmp_path / "edge").glob("tiers.sqlite*"):
            path.unlink()
        async with edge_node(tmp_path / "edge", origin.url) as edge:
            async with asyncio.timeout(30):
                while (found := (await edge.client.get(at)).json()).get("held_bytes") != study.frame_bytes:
                    await asyncio.sleep(0.05)
            assert found["class"] == "archive"
            assert found["used_at"] >= used_at, "as if it had just been opened: nothing goes that should stay"
            assert await study.read(edge) == ["nearframe-edge; hit"] * 2
