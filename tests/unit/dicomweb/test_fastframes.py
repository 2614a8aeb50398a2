"""The short way for frames: by counters, that it is short, and never shorter than the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import UID
from starlette.types import Receive, Scope, Send

from nearframe.context import Context
from nearframe.context import Scope as Reach
from nearframe.dicom.transcode import transcode
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian, HTJ2KLosslessRPCL
from nearframe.dicomweb.fastframes import _REPLAN_S, FastFrames
from nearframe.dicomweb.ports import StoredInstance
from nearframe.errors import AccessError
from nearframe.ids import sha256
from nearframe.storage.ports import ContentKind, Rendition
from tests.archive import TEST_FILES, Archive, open_archive, path_of, rewritten, sample

OHIF = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}


class Counted:
    """The application behind, and how often it and the catalogue were asked."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.ordinary = 0
        self.clock = archive.clock
        self.app = FastFrames(self._ordinary, archive.services, lambda scope: archive.context, self.clock.monotonic)
        self.looked_up = 0
        find = archive.catalogue.find_instance

        def counted(*arguments: Any, **named: Any) -> Any:
            self.looked_up += 1
            return find(*arguments, **named)

        archive.catalogue.find_instance = counted  # type: ignore[method-assign]
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://a.test", headers=OHIF)

    async def _ordinary(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.ordinary += 1
        await self.archive.app(scope, receive, send)


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path) as archive:
        yield archive


@pytest.fixture
async def counted(archive: Archive) -> AsyncIterator[Counted]:
    counted = Counted(archive)
    async with counted.client:
        yield counted


@pytest.fixture
async def stored(archive: Archive) -> StoredInstance:
    (stored,) = await archive.add(sample("CT_small.dcm"))
    return stored


async def test_a_frame_is_planned_once(counted: Counted, stored: StoredInstance) -> None:
    path = path_of(stored) + "/frames/1"
    answers = [await counted.client.get(path) for _ in range(5)]
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert (counted.looked_up, counted.ordinary) == (1, 0)
    assert answers[-1].headers["cache-status"] == "nearframe; hit"


def _scope(path: str, *headers: tuple[bytes, bytes], query: bytes = b"") -> Scope:
    accept = (b"accept", OHIF["Accept"].encode())
    return {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": [accept, *headers]}


async def test_what_was_planned_is_held_without_waiting(counted: Counted, stored: StoredInstance) -> None:
    path = path_of(stored) + "/frames/1"
    assert counted.app.held(_scope(path)) is None
    answers = [await counted.client.get(path) for _ in range(2)]
    scope = _scope(path)
    held = counted.app.held(scope)
    assert held is not None
    assert bytes(held.body) == answers[0].content
    assert scope["state"] == {"route": "retrieve_frames"}
    others = [
        _scope(path, (b"range", b"bytes=0-9")),
        _scope(path, (b"if-none-match", b"*")),
        _scope(path, query=b"version=1"),
        {**_scope(path), "method": "HEAD"},
        _scope(path_of(stored) + "/frames/2"),
        _scope(path_of(stored) + "/metadata"),
    ]
    assert [counted.app.held(other) for other in others] == [None] * len(others)
    counted.clock.advance(_REPLAN_S)
    assert counted.app.held(_scope(path)) is None


async def test_who_is_refused_is_told_so_the_ordinary_way(archive: Archive, stored: StoredInstance) -> None:
    studies: frozenset[str] | None = None
    is_known = True

    def gate(_: Scope) -> Context:
        if not is_known:
            raise AccessError("who are you")
        return replace(archive.context, scope=Reach(studies))

    app = FastFrames(archive.app, archive.services, gate, archive.clock.monotonic)
    path = path_of(stored) + "/frames/1"
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://a.test", headers=OHIF) as client:
        for _ in range(2):
            assert (await client.get(path)).status_code == 200
        assert app.held(_scope(path)) is not None
        studies = frozenset({"1.2.3"})
        assert app.held(_scope(path)) is None
        assert (await client.get(path)).status_code == 403
        studies, is_known = None, False
        assert app.held(_scope(path)) is None
        assert (await client.get(path)).status_code == 403


async def test_ranges_and_known_frames_too(counted: Counted, stored: StoredInstance) -> None:
    path = path_of(stored) + "/frames/1"
    whole = await counted.client.get(path)
    part = await counted.client.get(path, headers={"Range": "bytes=5-99"})
    assert (part.status_code, part.content) == (206, whole.content[5:100])
    known = await counted.client.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert known.status_code == 304
    assert (counted.looked_up, counted.ordinary) == (1, 0)


async def test_the_rest_takes_the_ordinary_way(counted: Counted, stored: StoredInstance) -> None:
    path = path_of(stored)
    for resource in ("/metadata", "/frames/1?version=1", "/frames/1,1", "/frames/0", "/frames/1/rendered"):
        await counted.client.get(path + resource, headers={"Accept": "*/*"})
    await counted.client.get(path + "/frames/1", headers={"Range": "bytes=0-1,5-6"})
    await counted.client.head(path + "/frames/1")
    assert counted.ordinary == 7


async def test_a_change_is_seen_by_the_next_request(counted: Counted, archive: Archive) -> None:
    dataset = pydicom.dcmread(TEST_FILES / "MR_small_jp2klossless.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.31")
    (stored,) = await archive.add(rewritten(dataset))
    path, octets = path_of(stored) + "/frames/1", {"Accept": "application/octet-stream"}
    before = await counted.client.get(path, headers=octets)
    dataset.PatientName = "Corrected^Name"
    await archive.add(rewritten(dataset))
    assert (await counted.client.get(path, headers=octets)).content == before.content
    assert counted.looked_up == 2
    await archive.services.remove.remove(  # type: ignore[union-attr]
        archive.context, stored.identity.study_instance_uid, None, stored.identity.sop_instance_uid
    )
    assert (await counted.client.get(path, headers=octets)).status_code == 404


async def test_errors_are_problems_here_too(counted: Counted, stored: StoredInstance) -> None:
    missing = await counted.client.get(path_of(stored) + "/frames/2")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.headers["x-content-type-options"] == "nosniff"
    refused = await counted.client.get(path_of(stored) + "/frames/1", headers={"Accept": "text/html"})
    assert refused.status_code == 406


def add_rendition(archive: Archive, stored: StoredInstance) -> bytes:
    """Keep an HTJ2K rendition of the first frame, as the background work of an origin does."""
    record = archive.record(stored)
    assert record.pixel is not None
    enc = record.frames.enc_of(0)
    frame = archive.contents.read(record.study, enc)
    made = transcode(frame, ExplicitVRLittleEndian, record.pixel, HTJ2KLosslessRPCL).encoded
    since = archive.contents.mark()
    archive.contents.append(record.study, ContentKind.DERIVED, sha256(made), len(made), [made])
    archive.contents.sync(since)
    rendition = Rendition(enc, HTJ2KLosslessRPCL, sha256(made), len(made))
    archive.catalogue.add_renditions(record.study.tenant, [rendition])
    return made


async def test_a_rendition_made_meanwhile_takes_the_place_of_the_stored_frame(
    counted: Counted, archive: Archive, stored: StoredInstance
) -> None:
    path = path_of(stored) + "/frames/1"
    before = await counted.client.get(path)
    made = add_rendition(archive, stored)
    assert (await counted.client.get(path)).content == before.content
    counted.clock.advance(_REPLAN_S)
    after = await counted.client.get(path)
    assert made in after.content
    assert after.headers["etag"].startswith(f'"{sha256(made).hex()}-m')
    assert f"transfer-syntax={HTJ2KLosslessRPCL}" in after.headers["content-type"]
    assert archive.services.frames.transcoded == 0


async def test_a_rendition_that_was_dropped_is_made_again(
    counted: Counted, archive: Archive, stored: StoredInstance
) -> None:
    made = add_rendition(archive, stored)
    archive.contents.release(archive.record(stored).study, [sha256(made)])
    answer = await counted.client.get(path_of(stored) + "/frames/1")
    assert made in answer.content
    assert archive.services.frames.transcoded == 1


async def test_a_dropped_rendition_of_another_encoder_is_not_passed_off_as_the_same(
    counted: Counted, archive: Archive, stored: StoredInstance
) -> None:
    record = archive.record(stored)
    gone = Rendition(record.frames.enc_of(0), HTJ2KLosslessRPCL, sha256(b"of an older release"), 19)
    archive.catalogue.add_renditions(record.study.tenant, [gone])
    path = path_of(stored) + "/frames/1"
    first = await counted.client.get(path)
    assert (first.status_code, first.headers["retry-after"]) == (503, "2")
    again = await counted.client.get(path)
    assert again.status_code == 200
    assert sha256(b"of an older release").hex() not in again.headers["etag"]
