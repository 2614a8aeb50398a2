"""Offers between nodes: what is recorded, what is lacking, and what an answer must not tell."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import zstandard
from starlette.routing import Router
from starlette.types import Scope as HTTPScope

from nearframe.context import Context, Scope, local_admin
from nearframe.ids import Digest, sha256
from nearframe.intake.ingest import Ingest
from nearframe.intake.spool import Spool, SpoolLimits
from nearframe.metrics import Metrics
from nearframe.query.contents import LocalContents
from nearframe.query.deltas import Deltas
from nearframe.query.feedwatch import FeedWatch
from nearframe.query.freshness import Freshness
from nearframe.query.headeredits import Part10Edits
from nearframe.query.manifests import Manifests
from nearframe.query.stored_file import piece_digest
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef
from nearframe.sync.app import sync_routes
from nearframe.sync.services import SyncServices, TakesIn
from nearframe.wire import contentstream
from nearframe.wire.offer import Answered, Offer, OfferAnswer, OfferedInstance, Stand, encode_offer, read_answer
from tests.syncing import STUDY_UID, Shelves, ct_series, edited, instance_uid, rename, shelves

STUDY = StudyRef("main", STUDY_UID)


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path / "origin")


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path / "sender")


class Desk:
    """An origin's routes, and a sender that knows what it has."""

    def __init__(self, origin: Shelves, sender: Shelves, folder: Path) -> None:
        self.workers = Workers("test", 2)
        self.metrics = Metrics()
        self.context: Context = local_admin()
        self.origin, self.sender = origin, sender
        self.ingest = Ingest(origin.store, origin.catalogue, self.metrics)
        manifests = Manifests(origin.catalogue, self.workers, 10_000_000)
        spool = Spool(folder / "spool", SpoolLimits(reserve_bytes=0))
        self.feed = FeedWatch(origin.catalogue, self.workers)
        self.services = SyncServices(
            catalogue=origin.catalogue,
            store=origin.store,
            contents=LocalContents(origin.store, self.workers),
            feed=self.feed,
            manifests=manifests,
            deltas=Deltas(origin.catalogue, origin.store, manifests, Part10Edits(), self.workers, 1_000_000),
            workers=self.workers,
            metrics=self.metrics,
            node_name="node-1",
            takes=TakesIn(self.ingest, spool, Freshness(), 1_000_000),
        )

        def gate(_: HTTPScope) -> Context:
            return self.context

        transport = httpx.ASGITransport(Router(sync_routes(self.services, gate)))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://origin")

    def pack(self, files: list[bytes], study: StudyRef = STUDY) -> Offer:
        """Return the offer of files that the sender has."""
        self.sender.put(files)
        records = self.sender.catalogue.list_instances(study)
        offered = [
            OfferedInstance(
                record.identity.sop_instance_uid,
                record.hdr,
                record.file,
                tuple(piece_digest(record, index) for index in range(len(record.pieces))),
            )
            for record in records
        ]
        return Offer(study.study_instance_uid, tuple(offered))

    async def offer(self, offer: Offer) -> OfferAnswer:
        response = await self.client.post("/api/offers", content=encode_offer(offer))
        assert response.status_code == 200, response.text
        return read_answer(response.json())

    async def put(self, kind: str, *contents: bytes, study: StudyRef = STUDY, **headers: str) -> httpx.Response:
        stream = b"".join(contentstream.opening(sha256(one), len(one)) + one for one in contents)
        return await self.put_stream(kind, stream + contentstream.ending(len(contents)), study, **headers)

    async def put_stream(self, kind: str, stream: bytes, study: StudyRef = STUDY, **headers: str) -> httpx.Response:
        path = f"/api/studies/{study.study_instance_uid}/contents"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.put(path, params={"kind": kind}, content=stream, headers=named)

    async def send(self, offer: Offer, lacks: tuple[Digest, ...], study: StudyRef = STUDY) -> None:
        headers = {one.hdr for one in offer.instances}
        for digest in lacks:
            kind = "header" if digest in headers else "frame"
            assert (await self.put(kind, self.sender.store.read(study, digest), study=study)).status_code == 200


@pytest.fixture
async def desk(origin: Shelves, sender: Shelves, tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(origin, sender, tmp_path)
    yield made
    await made.client.aclose()
    await made.feed.close()
    made.ingest.close()
    made.workers.close()


async def test_offered_sent_and_offered_again(desk: Desk) -> None:
    files = ct_series(3)
    offer = desk.pack(files)
    answer = await desk.offer(offer)
    assert [one.stand for one in answer.instances] == [Stand.LACKING] * 3
    assert len(answer.lacks) == 6
    await desk.send(offer, answer.lacks)
    assert await desk.offer(offer) == OfferAnswer((Answered(Stand.RECORDED, "created", 1),) * 3, ())
    assert {desk.origin.file(one.sop_instance_uid) for one in offer.instances} == set(files)
    again = await desk.offer(offer)
    assert {one.outcome for one in again.instances} == {"repeated"}


async def test_what_was_removed_does_not_come_back_from_an_edge_by_itself(desk: Desk) -> None:
    files = ct_series(2)
    desk.origin.put(files)
    desk.origin.catalogue.delete(STUDY, None, instance_uid(files[0]))
    offered = {one.sop_instance_uid: replace(one, is_again=True) for one in desk.pack(ct_series(3)).instances}
    offer = Offer(STUDY_UID, tuple(offered.values()))
    await desk.send(offer, (await desk.offer(offer)).lacks)
    stands = dict(zip(offered, (await desk.offer(offer)).instances, strict=True))
    assert stands[instance_uid(files[0])].stand is Stand.REFUSED
    assert "had removed it" in stands[instance_uid(files[0])].reason
    assert [one.stand for one in stands.values()].count(Stand.RECORDED) == 2
    sent_by_somebody = replace(offered[instance_uid(files[0])], is_again=False)
    [answered] = (await desk.offer(Offer(STUDY_UID, (sent_by_somebody,)))).instances
    assert answered.stand is Stand.RECORDED


async def test_what_is_held_is_not_asked_for(desk: Desk) -> None:
    desk.origin.put(ct_series(2))
    offer = desk.pack(ct_series(2, change=rename("Doe^Janet")))
    answer = await desk.offer(offer)
    assert set(answer.lacks) == {one.hdr for one in offer.instances}
    await desk.send(offer, answer.lacks)
    assert {one.outcome for one in (await desk.offer(offer)).instances} == {"revised"}


async def test_other_pixels_are_recorded_with_a_warning(desk: Desk) -> None:
    (theirs,) = ct_series(1)
    desk.origin.put([theirs])
    offer = desk.pack([edited(theirs, lambda ds: setattr(ds, "PixelData", bytes(reversed(ds.PixelData))))])
    await desk.send(offer, (await desk.offer(offer)).lacks)
    [answered] = (await desk.offer(offer)).instances
    assert (answered.outcome, answered.version) == ("conflicting", 2)
    assert "other pixels" in answered.reason


async def test_a_sender_of_one_study_learns_nothing_of_others(desk: Desk) -> None:
    secret = StudyRef("main", "1.2.826.1.1")
    desk.origin.put(ct_series(1, study=secret.study_instance_uid))
    moved = edited(
        ct_series(1, study=secret.study_instance_uid)[0], lambda ds: setattr(ds, "StudyInstanceUID", STUDY_UID)
    )
    offer = desk.pack([moved])
    [frame] = offer.instances[0].pieces
    desk.context = replace(local_admin(), scope=Scope(frozenset([STUDY_UID])))
    assert frame in (await desk.offer(offer)).lacks
    # Nor does asking twice, or recording a file around the digest, give it a reference.
    assert (await desk.put("header", desk.sender.store.read(STUDY, offer.instances[0].hdr))).status_code == 200
    assert (await desk.offer(offer)).lacks == (frame,)
    assert desk.origin.store.missing(STUDY, [frame]) == [frame]
    desk.context = local_admin()
    assert frame not in (await desk.offer(offer)).lacks, "who may read the whole tenant is spared it"


async def test_outside_its_scope_a_sender_may_nothing(desk: Desk) -> None:
    offer = desk.pack(ct_series(1))
    desk.context = replace(local_admin(), scope=Scope(frozenset(["1.2.3"])))
    assert (await desk.client.post("/api/offers", content=encode_offer(offer))).status_code == 403
    assert (await desk.put("frame", b"frame")).status_code == 403


async def test_contents_that_are_not_what_they_say(desk: Desk) -> None:
    stream = contentstream.opening(sha256(b"frame"), 5) + b"framf" + contentstream.ending(1)
    assert (await desk.put_stream("frame", stream)).status_code == 500
    assert desk.origin.store.missing(STUDY, [sha256(b"frame")]) != []


async def test_a_cut_keeps_what_was_complete(desk: Desk) -> None:
    whole = b"".join(contentstream.opening(sha256(one), 3) + one for one in (b"one", b"two"))
    assert (await desk.put_stream("frame", whole[:-1])).status_code == 400
    assert desk.origin.store.missing(STUDY, [sha256(b"one"), sha256(b"two")]) == [sha256(b"two")]


async def test_headers_come_compressed(desk: Desk) -> None:
    header = bytes(5000)
    stream = contentstream.opening(sha256(header), 5000) + header + contentstream.ending(1)
    packed = zstandard.compress(stream)
    assert (await desk.put_stream("header", packed, content_encoding="zstd")).status_code == 200
    assert desk.origin.store.read(STUDY, sha256(header)) == header
    assert (await desk.put_stream("header", packed[:-3] + b"???", content_encoding="zstd")).status_code == 400
    assert (await desk.put_stream("header", stream, content_encoding="br")).status_code == 415


@pytest.mark.parametrize("kind", ["", "derived", "other"])
async def test_a_kind_that_is_not_taken(desk: Desk, kind: str) -> None:
    assert (await desk.put(kind, b"x")).status_code == 400


async def test_a_file_that_comes_out_otherwise_is_refused(desk: Desk) -> None:
    offer = desk.pack(ct_series(2))
    await desk.send(offer, (await desk.offer(offer)).lacks)
    first, second = offer.instances
    for false in (
        replace(first, file=sha256(b"another")),
        replace(first, pieces=second.pieces),
        replace(first, pieces=()),
        replace(first, sop_instance_uid="1.2.3"),
        replace(first, hdr=first.pieces[0]),
    ):
        [answered] = (await desk.offer(replace(offer, instances=(false,)))).instances
        assert answered.stand is Stand.REFUSED, false
    assert desk.origin.catalogue.totals().instances == 0
    assert (await desk.offer(offer)).instances[1].stand is Stand.RECORDED


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"study": "1.2", "instances": [{}]}', b"\xff"])
async def test_what_is_no_offer(desk: Desk, body: bytes) -> None:
    assert (await desk.client.post("/api/offers", content=body)).status_code == 400


async def test_a_node_that_takes_nothing_in_says_so(desk: Desk) -> None:
    services = replace(desk.services, takes=None)
    transport = httpx.ASGITransport(Router(sync_routes(services, lambda _: local_admin())))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        answer = await client.post("/api/offers", content=encode_offer(desk.pack(ct_series(1))))
    assert answer.status_code == 403
    assert "behind" in json.loads(answer.content)["detail"]
