"""Metadata: complete, compressed once, revalidated for nothing."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import imagecodecs
import pydicom
import pytest
import zstandard
from pydicom.uid import UID

from nearframe.ids import sha256
from nearframe.storage.ports import StudyRef
from nearframe.wire.dictionarycoding import decompress_against
from tests.archive import FILES, TEST_FILES, Stocked, open_archive, path_of, rewritten
from tests.multiparts import split_parts
from tests.syncing import ct_series, rename

pytestmark = pytest.mark.asyncio(loop_scope="session")

NATIVE_DICOM_MODEL = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}NativeDicomModel"


def series_of(path: str) -> str:
    return path.rsplit("/instances", 1)[0]


@pytest.mark.parametrize("name", FILES)
async def test_every_level_gives_the_whole_header(stocked: Stocked, name: str) -> None:
    path = stocked.path(name)
    answers = [
        await stocked.get(level + "/metadata", "application/dicom+json")
        for level in (path, series_of(path), path.rsplit("/series", 1)[0])
    ]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/dicom+json"
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["vary"] == "Accept, Accept-Encoding"
        uid = stocked.instances[name].identity.sop_instance_uid
        assert [one["00080018"]["Value"] for one in answer.json()].count([uid]) == 1
    expected = pydicom.dcmread(TEST_FILES / name)
    missing = {f"{e.tag:08X}" for e in expected if e.tag.element != 0} - set(answers[0].json()[0])
    assert missing <= {"FFFCFFFC"}


def links(node: Any) -> list[str]:
    if isinstance(node, list):
        return [link for one in node for link in links(one)]
    if not isinstance(node, dict):
        return []
    own = [node["BulkDataURI"]] if isinstance(node.get("BulkDataURI"), str) else []
    return own + [link for one in node.values() for link in links(one)]


@pytest.mark.parametrize("name", FILES)
async def test_every_link_leads_somewhere(stocked: Stocked, name: str) -> None:
    answer = await stocked.get(stocked.path(name) + "/metadata", "application/dicom+json")
    for link in links(answer.json()):
        assert link.startswith(f"http://archive.test{stocked.path(name)}/bulkdata/")
        value = await stocked.get(link, 'multipart/related; type="*/*"')
        assert value.status_code == 200
        assert len(value.content) > 100


async def test_small_tables_stand_in_the_metadata_itself(stocked: Stocked) -> None:
    """The first picture must not wait for a palette or an overlay."""
    palette = (await stocked.get(stocked.path("examples_palette.dcm") + "/metadata")).json()[0]
    assert all("InlineBinary" in palette[tag] for tag in ("00281201", "00281202", "00281203"))
    overlay = (await stocked.get(stocked.path("examples_overlay.dcm") + "/metadata")).json()[0]
    assert "InlineBinary" in overlay["60003000"]


DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
    "br": lambda data: bytes(imagecodecs.brotli_decode(data)),
}


@pytest.mark.parametrize("coding", DECODERS)
async def test_codings(stocked: Stocked, coding: str) -> None:
    path = stocked.path("examples_ybr_color.dcm") + "/metadata"
    plain = await stocked.get(path, "application/dicom+json")
    request = stocked.client.build_request("GET", path, headers={"Accept-Encoding": coding})
    coded = await stocked.client.send(request, stream=True)
    body = b"".join([chunk async for chunk in coded.aiter_raw()])
    assert coded.headers["content-encoding"] == coding
    assert coded.headers["content-length"] == str(len(body))
    assert coded.headers["etag"] != plain.headers["etag"]
    assert DECODERS[coding](body) == plain.content


async def test_a_304_builds_nothing(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/metadata"
    etag = (await stocked.get(path)).headers["etag"]
    built = stocked.archive.services.metadata.built
    again = await stocked.get(path, If_None_Match=etag)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    assert stocked.archive.services.metadata.built == built


async def test_a_document_is_built_once_for_each_state(stocked: Stocked) -> None:
    dataset = pydicom.dcmread(TEST_FILES / "MR_small.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.4712")
    dataset.StudyInstanceUID = UID("2.25.4713")
    (first,) = await stocked.archive.add(rewritten(dataset))
    path = series_of(path_of(first)) + "/metadata"
    before = await stocked.get(path)
    built = stocked.archive.services.metadata.built
    assert (await stocked.get(path)).content == before.content
    assert stocked.archive.services.metadata.built == built
    dataset.PatientName = "Corrected^Name"
    await stocked.archive.add(rewritten(dataset))
    after = await stocked.get(path, If_None_Match=before.headers["etag"])
    assert after.status_code == 200
    assert after.json()[0]["00100010"]["Value"] == [{"Alphabetic": "Corrected^Name"}]
    metadata = stocked.archive.services.metadata
    dataset.PatientName = "Corrected^Again"
    await stocked.archive.add(rewritten(dataset))
    await metadata.renew(StudyRef("main", "2.25.4713"))
    built = metadata.built
    renewed = await stocked.get(path)
    assert renewed.json()[0]["00100010"]["Value"] == [{"Alphabetic": "Corrected^Again"}]
    assert metadata.built == built, "it was built before it was asked for"
    old = await stocked.get(path_of(first) + "/metadata?version=1")
    assert old.json()[0]["00100010"] == before.json()[0]["00100010"]


async def test_a_value_that_looks_like_a_link_is_none(stocked: Stocked) -> None:
    dataset = pydicom.dcmread(TEST_FILES / "MR_small.dcm")
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.4714")
    dataset.StudyInstanceUID = UID("2.25.4715")
    dataset.ImageComments = 'x"BulkDataURI":"bulkdata/7FE00010"'
    (stored,) = await stocked.archive.add(rewritten(dataset))
    found = (await stocked.get(path_of(stored) + "/metadata")).json()[0]
    assert found["00204000"]["Value"] == [dataset.ImageComments]


JUNK = "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*; transfer-syntax=*"


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/json", JUNK, 'multipart/related; type="*/*"', "a/b, */*;q=0.1"]
)
async def test_json_for_everyone(stocked: Stocked, accept: str | None) -> None:
    answer = await stocked.get(stocked.path("CT_small.dcm") + "/metadata", accept)
    assert answer.status_code == 200
    assert "json" in answer.headers["content-type"]
    assert len(answer.json()) == 1


async def test_xml(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/metadata"
    answer = await stocked.get(path, 'multipart/related; type="application/dicom+xml"')
    ((head, document),) = split_parts(answer.content, answer.headers["content-type"])
    assert head.splitlines()[0] == "Content-Type: application/dicom+xml"
    assert ElementTree.fromstring(document).tag == NATIVE_DICOM_MODEL  # noqa: S314 - our own
    single = await stocked.get(path, "application/dicom+xml")
    assert single.content == document
    assert (await stocked.get(path, "text/html")).status_code == 406


async def test_head(stocked: Stocked) -> None:
    path = stocked.path("CT_small.dcm") + "/metadata"
    head = await stocked.client.head(path)
    assert head.headers["content-length"] == str(len((await stocked.get(path)).content))
    assert head.content == b""
    assert json.loads((await stocked.get(path)).content)


class TestDictionaries:
    """RFC 9842: what was offered for a study helps that study, and nobody else."""

    async def test_a_named_version_is_a_dictionary_for_the_next(self, tmp_path: Path) -> None:
        async with open_archive(tmp_path, dictionaries=True) as archive, archive.client() as client:
            first = (await archive.add(*ct_series(20)))[0]
            path = path_of(first).split("/series")[0] + "/metadata"
            seq = archive.catalogue.head().seq
            kept = await client.get(f"{path}?version={seq}")
            assert kept.headers["use-as-dictionary"] == f'match="{path}*"'
            assert kept.headers["cache-control"] == "private, max-age=31536000, immutable"
            await archive.add(*ct_series(20, change=rename("Doe^Janet")))

            asking = {
                "Accept-Encoding": "gzip, br, zstd, dcb, dcz",
                "Available-Dictionary": f":{base64.b64encode(sha256(kept.content)).decode()}:",
            }
            answer = await client.get(path, headers=asking)
            assert answer.headers["content-encoding"] == "dcz"
            assert answer.headers["vary"] == "Accept, Accept-Encoding, Available-Dictionary"
            assert answer.headers["cache-control"] == "private, no-cache"
            assert "use-as-dictionary" not in answer.headers
            assert len(answer.content) < 400
            plain = (await client.get(path)).content
            assert decompress_against(answer.content, kept.content, len(plain)) == plain
            assert b"Doe^Janet" in plain
            again = await client.get(path, headers={**asking, "If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304

            # A dictionary that was never offered, and another study's, are of no use.
            for headers in (
                {**asking, "Available-Dictionary": f":{base64.b64encode(bytes(32)).decode()}:"},
                {**asking, "Accept-Encoding": "zstd"},
            ):
                assert (await client.get(path, headers=headers)).headers["content-encoding"] == "zstd"
            other = (await archive.add(*ct_series(20, study="1.2.3")))[0]
            path = path_of(other).split("/series")[0] + "/metadata"
            assert (await client.get(path, headers=asking)).headers["content-encoding"] == "zstd"

    async def test_where_nothing_is_gained_nothing_is_tried(self, tmp_path: Path) -> None:
        async with open_archive(tmp_path) as archive, archive.client() as client:
            first = (await archive.add(*ct_series(1)))[0]
            path = path_of(first).split("/series")[0] + "/metadata"
            answer = await client.get(f"{path}?version={archive.catalogue.head().seq}")
            assert "use-as-dictionary" not in answer.headers
            assert "Available-Dictionary" not in answer.headers["vary"]
