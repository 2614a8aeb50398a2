"""Real studies through ingest: every byte back, every version readable, pixels stored once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path

import httpx
import pytest

from nearframe.app import open_origin
from nearframe.config import Settings
from nearframe.ids import sha256
from nearframe.importer.sources import Found, find
from nearframe.storage.ports import Outcome
from tests.integration.origin.conftest import Node

pytestmark = pytest.mark.data

SENDERS = 16

#: UIDs that occur with more than one content. There is one more, of which one file is cut short.
REPEATED_UIDS = 22
#: No SOP Instance UID, a declared length that is not there, or no DICOM behind a preamble.
REFUSED = 10


def objects(folder: Path) -> Iterator[bytes]:
    for found in find([folder]):
        if isinstance(found, Found):
            with found.open() as file:
                yield file.read()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A whole origin, over ASGI; nothing is made of what it takes in."""
    settings = Settings(home=tmp_path / "home", insecure=True, disk_reserve_bytes=0, renditions=False, perceptual=False)
    async with open_origin(settings) as (app, _):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://origin", timeout=60) as client:
            yield client


async def test_every_object_comes_back_byte_for_byte_by_the_url_of_its_version(
    client: httpx.AsyncClient, data_dir: Path
) -> None:
    sent: dict[str, set[bytes]] = defaultdict(set)
    refused = 0
    for batch in batches(objects(data_dir)):
        for data, uid in zip(batch, await asyncio.gather(*(store(client, data) for data in batch)), strict=True):
            if uid is None:
                refused += 1
            else:
                sent[uid].add(sha256(data))
    assert sum(len(files) > 1 for files in sent.values()) == REPEATED_UIDS
    assert refused == REFUSED
    for uid, files in sent.items():
        answer = await client.get(f"/api/instances/{uid}/versions")
        urls = [version["url"] for version in answer.json()["versions"]]
        assert len(urls) == len(files)
        assert {sha256(await stored(client, url)) for url in urls} == files


async def store(client: httpx.AsyncClient, data: bytes) -> str | None:
    """Store an object; return its SOP Instance UID, or None if it was refused."""
    answer = await client.post("/dicomweb/studies", content=data, headers={"Content-Type": "application/dicom"})
    if answer.status_code == 409:
        return None
    assert answer.status_code in (200, 202), answer.text
    (item,) = answer.json()["00081199"]["Value"]
    return str(item["00081155"]["Value"][0])


async def stored(client: httpx.AsyncClient, url: str) -> bytes:
    answer = await client.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert answer.status_code == 200
    return answer.content


def batches(files: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(files, SENDERS)):
        yield batch


async def store_folder(node: Node, folder: Path, tenant: str) -> int:
    """Store a folder; return how many instances were created."""
    created = 0
    for data in objects(folder):
        (stored,) = (await node.store(data, tenant=tenant)).stored
        created += stored.outcome is Outcome.CREATED
    return created


@pytest.mark.parametrize(("second_tenant", "reused"), [("clinic", 50), ("hospital", 0)])
async def test_the_second_hospitals_import_brings_no_pixels(
    node: Node, data_dir: Path, second_tenant: str, reused: int
) -> None:
    timeline = data_dir / "patient-timeline"
    assert await store_folder(node, timeline / "1-mr-20180107-original-cd", "clinic") == 50
    before = node.contents.stats()
    assert await store_folder(node, timeline / "2-mr-20180107-imported-by-second-hospital", second_tenant) == 50
    after = node.contents.stats()
    assert after.dedupe_hits - before.dedupe_hits == reused
    # Header blobs are new in either case: every UID changed.
    assert after.contents - before.contents == 50 + (50 - reused)
