"""Store requests as real clients write them, and the answers they need."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pydicom
import pytest
import pytest_asyncio
from pydicom.uid import UID

from tests.archive import Archive, open_archive, path_of, rewritten, sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = "application/dicom+json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archive(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Archive]:
    async with open_archive(tmp_path_factory.mktemp("store")) as archive:
        yield archive


def numbered(number: int, study: int | None = None) -> bytes:
    """Return a small image of its own."""
    dataset = pydicom.dcmread(BytesIO(sample("MR_small.dcm")))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.1{number}")
    dataset.StudyInstanceUID = UID(f"2.25.2{number if study is None else study}")
    return rewritten(dataset)


def multipart(*parts: bytes, part_type: str = "Content-Type: application/dicom", boundary: str = "B") -> bytes:
    body = b"".join(b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary.encode(), part_type.encode(), part) for part in parts)
    return body + b"--%b--\r\n" % boundary.encode()


QUOTED = 'multipart/related; type="application/dicom"; boundary="B"'


async def post(
    archive: Archive,
    body: bytes | AsyncIterator[bytes],
    content_type: str | None = QUOTED,
    path: str = "/dicomweb/studies",
    accept: str = "*/*",
) -> tuple[int, Any]:
    headers = {"Accept": accept} | ({} if content_type is None else {"Content-Type": content_type})
    async with archive.client(headers) as client:
        answer = await client.post(path, content=body)
    assert "json" in answer.headers["content-type"]
    return answer.status_code, answer.json()


def values(dataset: Any, tag: str) -> list[Any]:
    found: list[Any] = dataset.get(tag, {}).get("Value", [])
    return found


async def test_one_object(archive: Archive) -> None:
    status, answer = await post(archive, multipart(numbered(1)))
    assert status == 200
    assert values(answer, "00081190") == ["http://archive.test/dicomweb/studies/2.25.21"]
    (item,) = values(answer, "00081199")
    assert values(item, "00081155") == ["2.25.11"]
    assert values(item, "00081190")[0].endswith("/instances/2.25.11")
    assert "00081198" not in answer, "an empty sequence of failures is read as a failure"
    async with archive.client() as client:
        found = await client.get(
            values(item, "00081190")[0], headers={"Accept": "application/dicom; transfer-syntax=*"}
        )
    assert found.content == numbered(1)


BODIES = [
    pytest.param(b"\r\n" + multipart(numbered(2)), QUOTED, id="CRLF first (dicomweb-client)"),
    pytest.param(multipart(numbered(2)) + bytes(80), QUOTED, id="NULs behind (dicomweb-client.js)"),
    pytest.param(multipart(numbered(2))[:-2], QUOTED, id="no CRLF behind"),
    pytest.param(b"a preamble\r\n" + multipart(numbered(2)), QUOTED, id="preamble"),
    pytest.param(multipart(numbered(2)), "multipart/related; type=application/dicom; boundary=B", id="bare"),
    pytest.param(multipart(numbered(2)), "Multipart/Related;BOUNDARY=B", id="no type"),
    pytest.param(multipart(numbered(2), part_type="content-TYPE:application/dicom"), QUOTED, id="header case"),
    pytest.param(
        multipart(numbered(2), part_type="Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
        QUOTED,
        id="transfer syntax in the part",
    ),
    pytest.param(numbered(2), "application/dicom", id="single part"),
]


@pytest.mark.parametrize(("body", "content_type"), BODIES)
async def test_bodies_of_real_clients(archive: Archive, body: bytes, content_type: str) -> None:
    status, answer = await post(archive, body, content_type)
    assert status == 200
    assert values(values(answer, "00081199")[0], "00081155") == ["2.25.12"]


async def test_a_chunked_body(archive: Archive) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        body = multipart(numbered(3), numbered(4, study=3))
        for at in range(0, len(body), 777):
            yield body[at : at + 777]

    status, answer = await post(archive, chunks())
    assert status == 200
    assert len(values(answer, "00081199")) == 2
    assert values(answer, "00081190") == ["http://archive.test/dicomweb/studies/2.25.23"]


async def test_several_studies_have_no_common_address(archive: Archive) -> None:
    status, answer = await post(archive, multipart(numbered(5), numbered(6)))
    assert status == 200
    assert "00081190" not in answer


async def test_one_good_one_bad(archive: Archive) -> None:
    status, answer = await post(archive, multipart(numbered(7), b"this is not DICOM"))
    assert status == 202
    assert len(values(answer, "00081199")) == 1
    (failure,) = values(answer, "0008119A")
    assert values(failure, "00081197") == [0xC000]
    assert "00081198" not in answer


async def test_all_bad(archive: Archive) -> None:
    status, answer = await post(archive, multipart(b"this is not DICOM"))
    assert status == 409
    assert "00081199" not in answer


async def test_another_study_than_the_address_names(archive: Archive) -> None:
    path = "/dicomweb/studies/2.25.28"
    status, answer = await post(archive, multipart(numbered(8), numbered(9)), path=path)
    assert status == 202
    (failure,) = values(answer, "00081198")
    assert values(failure, "00081197") == [0xA901]
    assert values(failure, "00081155") == ["2.25.19"]
    assert values(answer, "00081190") == ["http://archive.test" + path]


async def test_other_pixels_under_the_same_uid_are_kept_and_reported(archive: Archive) -> None:
    dataset = pydicom.dcmread(BytesIO(numbered(10)))
    await post(archive, multipart(numbered(10)))
    dataset.PixelData = bytes(len(dataset.PixelData))
    status, answer = await post(archive, multipart(rewritten(dataset)))
    assert status == 202
    (item,) = values(answer, "00081199")
    assert values(item, "00081196")[0] & 0xF000 == 0xB000
    repeated, again = await post(archive, multipart(numbered(10)))
    assert repeated == 200
    assert len(values(again, "00081199")) == 1


async def test_metadata_with_bulk_data(archive: Archive) -> None:
    (stored,) = await archive.add(numbered(11))
    async with archive.client() as client:
        metadata = (await client.get(path_of(stored) + "/metadata")).json()
    metadata[0]["00080018"]["Value"] = ["2.25.1111"]
    metadata[0]["7FE00010"] = {"vr": "OW", "BulkDataURI": "bulk/1"}
    pixels = pydicom.dcmread(BytesIO(numbered(11))).PixelData
    body = (
        b"--B\r\nContent-Type: application/dicom+json; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n"
        + json.dumps(metadata).encode()
        + b"\r\n--B\r\nContent-Type: application/octet-stream\r\nContent-Location: bulk/1\r\n\r\n"
        + pixels
        + b"\r\n--B--"
    )
    status, answer = await post(archive, body, f'multipart/related; type="{JSON}"; boundary=B')
    assert status == 200, answer
    async with archive.client({"Accept": "application/octet-stream"}) as client:
        url = values(values(answer, "00081199")[0], "00081190")[0]
        assert (await client.get(url + "/frames/1")).content == pixels


REFUSED = [
    pytest.param(b"x", None, 415, id="no type"),
    pytest.param(b"x", "text/plain", 415, id="text"),
    pytest.param(b"x", "multipart/form-data; boundary=B", 415, id="form"),
    pytest.param(b"x", "multipart/related; type=application/dicom", 400, id="no boundary"),
    pytest.param(b"x", "nonsense", 400, id="no media type"),
    pytest.param(multipart(b"x", boundary="C"), QUOTED, 400, id="another boundary"),
    pytest.param(b"", QUOTED, 400, id="empty"),
]


@pytest.mark.parametrize(("body", "content_type", "status"), REFUSED)
async def test_requests_that_cannot_be_read(
    archive: Archive, body: bytes, content_type: str | None, status: int
) -> None:
    found, problem = await post(archive, body, content_type)
    assert found == status
    assert problem["status"] == status
    assert problem["detail"]


@pytest.mark.parametrize("attribute", [{"vr": []}, {"vr": "UI", "Value": ["\ud800"]}])
async def test_identifiers_that_no_answer_can_hold(archive: Archive, attribute: Any) -> None:
    metadata = {"00080016": attribute, "00080018": {"vr": "UI", "Value": ["\ud800"]}}
    body = multipart(json.dumps([metadata]).encode(), part_type="Content-Type: application/dicom+json")
    status, dataset = await post(archive, body)
    assert status == 409
    assert dataset


async def test_a_request_that_breaks_off_keeps_what_was_complete(archive: Archive) -> None:
    body = multipart(numbered(12), numbered(13))
    status, _ = await post(archive, body[: len(body) // 2 + 2000])
    assert status == 400
    async with archive.client() as client:
        assert (await client.get("/dicomweb/instances?SOPInstanceUID=2.25.112")).json()
        assert not (await client.get("/dicomweb/instances?SOPInstanceUID=2.25.113")).json()


async def test_xml_for_those_who_ask(archive: Archive) -> None:
    async with archive.client({"Content-Type": "application/dicom", "Accept": "application/dicom+xml"}) as client:
        answer = await client.post("/dicomweb/studies", content=numbered(14))
    assert answer.headers["content-type"] == "application/dicom+xml"
    assert ElementTree.fromstring(answer.content).tag.endswith("NativeDicomModel")  # noqa: S314 - our own


async def test_an_accept_that_fits_nothing_does_not_hide_the_outcome(archive: Archive) -> None:
    status, _ = await post(archive, numbered(15), "application/dicom", accept="image/jpeg")
    assert status == 200


async def test_what_was_stored_shows_at_once(archive: Archive) -> None:
    async with archive.client() as client:
        query = "/dicomweb/studies?StudyInstanceUID=2.25.216"
        assert (await client.get(query)).json() == []
        await post(archive, numbered(16), "application/dicom")
        assert len((await client.get(query)).json()) == 1


async def test_removal_by_policy(archive: Archive, tmp_path: Path) -> None:
    (stored,) = await archive.add(numbered(17))
    path = path_of(stored)
    async with archive.client() as client:
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path + "/metadata")).status_code == 404
        assert (await client.delete(path)).status_code == 404
    async with open_archive(tmp_path, delete_policy="refuse") as strict:
        (kept,) = await strict.add(numbered(17))
        async with strict.client() as client:
            refused = await client.delete(path_of(kept))
            assert refused.status_code == 403
            assert "delete_policy" in refused.json()["detail"]
            assert (await client.get(path_of(kept) + "/metadata")).status_code == 200
