"""The frame table: what it promises is what a request for the frame gets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nearframe.dicom.transcode import transcode
from nearframe.dicom.transfersyntax import ExplicitVRLittleEndian, HTJ2KLosslessRPCL
from nearframe.dicomweb.ports import StoredInstance
from nearframe.ids import sha256
from nearframe.query.known_renditions import KEPT_S
from nearframe.storage.ports import ContentKind, Rendition
from tests.archive import FILES, Archive, Stocked, open_archive, path_of
from tests.multiparts import split_parts
from tests.syncing import STUDY_UID, ct_series, rename

OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
NATIVE = "application/octet-stream"


async def table(client: httpx.AsyncClient, study: str, accept: str = OHIF, **headers: str) -> httpx.Response:
    wanted = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.get(f"/dicomweb/studies/{study}/frames", params={"accept": accept}, headers=wanted)


async def rows(client: httpx.AsyncClient, study: str, accept: str = OHIF) -> dict[str, list[str | None]]:
    found: dict[str, Any] = (await table(client, study, accept)).json()["instances"]
    return found


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path) as archive:
        yield archive


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("accept", [OHIF, NATIVE, "image/jls"])
async def test_a_row_is_the_validator_of_the_frame_and_names_the_payload(stocked: Stocked, accept: str) -> None:
    for name in FILES:
        identity = stocked.instances[name].identity
        own = (await rows(stocked.client, identity.study_instance_uid, accept))[identity.sop_instance_uid]
        for number, row in enumerate(own[:3], 1):
            answer = await stocked.get(f"{stocked.path(name)}/frames/{number}", accept)
            if row is None:
                assert answer.status_code == 406 or re.fullmatch(r'"[0-9a-f]{64}-.*"', answer.headers["etag"])
                continue
            assert answer.headers["etag"] == f'"{row}"'
            content_type = answer.headers["content-type"]
            is_multipart = content_type.startswith("multipart")
            payload = split_parts(answer.content, content_type)[0][1] if is_multipart else answer.content
            assert sha256(payload).hex() == row[:64]


async def test_a_corrected_name_leaves_the_table_as_it_is(archive: Archive) -> None:
    await archive.add(*ct_series(3))
    async with archive.client() as client:
        before = await table(client, STUDY_UID)
        await archive.add(*ct_series(3, change=rename("Doe^Janet")))
        after = await table(client, STUDY_UID, If_None_Match=before.headers["etag"])
    assert after.status_code == 304
    assert archive.services.frame_tables.made == 2


async def test_another_instance_changes_no_other_row(archive: Archive) -> None:
    first = ct_series(3)
    await archive.add(*first)
    async with archive.client() as client:
        before = await rows(client, STUDY_UID)
        await archive.add(*ct_series(4)[3:])
        after = await rows(client, STUDY_UID)
    assert len(after) == 4
    assert {sop: after[sop] for sop in before} == before


async def test_a_rendition_made_meanwhile_is_named_a_little_later(archive: Archive) -> None:
    (stored,) = await archive.add(*ct_series(1))
    sop = stored.identity.sop_instance_uid
    async with archive.client() as client:
        ((before,),) = (await rows(client, STUDY_UID)).values()
        made = _add_rendition(archive, stored)
        assert (await rows(client, STUDY_UID))[sop] == [before]
        archive.clock.advance(KEPT_S)
        ((after,),) = (await rows(client, STUDY_UID)).values()
        frame = await client.get(path_of(stored) + "/frames/1", headers={"Accept": OHIF})
    assert after is not None
    assert after.startswith(sha256(made).hex())
    assert frame.headers["etag"] == f'"{after}"'


async def test_a_table_is_made_once_and_sent_compressed(archive: Archive) -> None:
    await archive.add(*ct_series(50))
    async with archive.client() as client:
        plain = await table(client, STUDY_UID)
        packed = await table(client, STUDY_UID, Accept_Encoding="gzip")
    assert archive.services.frame_tables.made == 1
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < 50 * 64
    assert packed.headers["cache-control"] == "private, no-cache"


async def test_an_unknown_study_has_none(archive: Archive) -> None:
    async with archive.client() as client:
        assert (await table(client, "1.2.3")).status_code == 404


def _add_rendition(archive: Archive, stored: StoredInstance) -> bytes:
    record = archive.record(stored)
    assert record.pixel is not None
    enc = record.frames.enc_of(0)
    frame = archive.contents.read(record.study, enc)
    made = transcode(frame, ExplicitVRLittleEndian, record.pixel, HTJ2KLosslessRPCL).encoded
    since = archive.contents.mark()
    archive.contents.append(record.study, ContentKind.DERIVED, sha256(made), len(made), [made])
    archive.contents.sync(since)
    archive.catalogue.add_renditions(record.study.tenant, [Rendition(enc, HTJ2KLosslessRPCL, sha256(made), len(made))])
    return made
