"""Whether an archive is well: seen at once when a request fails, and without anybody asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from nearframe.context import Urgency
from nearframe.edge.pacs.watch import ArchiveWatch
from nearframe.edge.pacs.webarchive import WebArchive
from nearframe.errors import UpstreamUnavailable
from nearframe.query.workers import Workers
from tests.unit.edge.test_upstream import Bytes, upstream

DICOM_JSON = {"Content-Type": "application/dicom+json"}


class Pacs:
    """What an archive answers to every request, or how it fails."""

    def __init__(self) -> None:
        self.says: httpx.Response | OSError = answer(b"[]")
        self.asked = asyncio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.set()
        if isinstance(self.says, OSError):
            raise self.says
        return self.says


def answer(body: bytes, status: int = 200) -> httpx.Response:
    return httpx.Response(status, stream=Bytes(body), headers=DICOM_JSON)


@pytest.fixture
def pacs() -> Pacs:
    return Pacs()


@pytest.fixture
async def archive(pacs: Pacs) -> AsyncIterator[WebArchive]:
    made, workers = upstream(pacs), Workers("test", 1)
    yield WebArchive(made, made._clock, workers)
    workers.close()


@pytest.fixture
async def watch(archive: WebArchive) -> AsyncIterator[ArchiveWatch]:
    made = ArchiveWatch(archive)
    yield made
    await made.stop()


async def test_an_archive_that_nobody_asked_yet(watch: ArchiveWatch) -> None:
    assert not watch.is_reachable


@pytest.mark.parametrize(("body", "status"), [(b"[]", 200), (b"", 204), (b'[{"0020000D": {"vr": "UI"}}]', 200)])
async def test_an_archive_that_is_well(pacs: Pacs, watch: ArchiveWatch, body: bytes, status: int) -> None:
    pacs.says = answer(body, status)
    await watch.look()
    assert watch.is_reachable
    assert watch.problem == ""


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"not found", 404, "DICOMweb root"),
        (b'["a1b2-c3d4"]', 200, "DICOMweb root"),  # Orthanc's own interface: identifiers
        (b"<html>", 200, "DICOMweb root"),
        (b"", 401, "rights"),
        (b"", 500, "answered 500"),
    ],
)
async def test_what_answers_and_is_no_archive(
    pacs: Pacs, watch: ArchiveWatch, body: bytes, status: int, word: str
) -> None:
    pacs.says = answer(body, status)
    await watch.look()
    assert watch.is_reachable
    assert word in watch.problem
    pacs.says = answer(b"[]")
    await watch.look()
    assert watch.problem == ""


async def test_one_failed_request_is_enough(pacs: Pacs, archive: WebArchive, watch: ArchiveWatch) -> None:
    await watch.look()
    pacs.says = ConnectionRefusedError(111, "Connection refused")
    with pytest.raises(UpstreamUnavailable):
        await archive.passed("/studies", {}, Urgency.ROUTINE)
    assert not watch.is_reachable


async def test_a_failed_request_is_looked_into_at_once(pacs: Pacs, archive: WebArchive, watch: ArchiveWatch) -> None:
    watch.start()
    await pacs.asked.wait()
    pacs.says = ConnectionResetError(104, "Connection reset by peer")
    with pytest.raises(UpstreamUnavailable):
        await archive.passed("/studies", {}, Urgency.ROUTINE)
    pacs.asked.clear()
    async with asyncio.timeout(10):
        await pacs.asked.wait()


async def test_each_change_is_logged_once(pacs: Pacs, watch: ArchiveWatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for says in (answer(b"[]"), answer(b"", 404), answer(b"", 404), answer(b"[]")):
        pacs.says = says
        await watch.look()
    assert [record.message for record in caplog.records] == ["archive_unusable", "archive_answers"]
