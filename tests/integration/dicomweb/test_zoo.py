"""Odd objects of the real world: every representation is given or refused, none fails, none is altered."""

from __future__ import annotations

import asyncio
import warnings
from io import BytesIO
from pathlib import Path

import httpx
import pydicom
import pytest

from tests.archive import Archive, open_archive

ELE = "1.2.840.10008.1.2.1"
HTJ2K = "1.2.840.10008.1.2.4.202"
AS_STORED = "application/dicom; transfer-syntax=*"

REPRESENTATIONS = [
    ("", "application/dicom"),
    ("", f"application/dicom; transfer-syntax={ELE}"),
    ("", f"application/dicom; transfer-syntax={HTJ2K}"),
    ("/metadata", "application/dicom+json"),
    ("/metadata", 'multipart/related; type="application/dicom+xml"'),
    ("/frames/1", "multipart/related; type=application/octet-stream; transfer-syntax=*"),
    ("/frames/1", "application/octet-stream"),
    ("/frames/1", "image/jphc"),
    ("/rendered", "*/*"),
    ("/thumbnail", "image/png"),
    ("/bulkdata/7FE00010", 'multipart/related; type="*/*"'),
]


@pytest.mark.data
async def test_every_object_of_the_zoo(data_dir: Path, tmp_path: Path) -> None:
    paths = [path for path in sorted((data_dir / "zoo").rglob("*")) if path.is_file()]
    some_at_once = asyncio.Semaphore(8)
    async with open_archive(tmp_path) as archive, archive.client() as client:

        async def one(path: Path) -> bool:
            async with some_at_once:
                url = await store(archive, client, path.read_bytes())
                if url is not None:
                    await check(client, url, path.name)
            return url is not None

        assert sum(await asyncio.gather(*map(one, paths))) > 250


async def store(archive: Archive, client: httpx.AsyncClient, data: bytes) -> str | None:
    """Store an object and return the address at which it comes back, or None if it was refused."""
    answer = await client.post("/dicomweb/studies", content=data, headers={"Content-Type": "application/dicom"})
    assert answer.status_code in (200, 202, 409), answer.text
    if answer.status_code == 409:
        return None
    item = answer.json()["00081199"]["Value"][0]
    versions = archive.catalogue.list_versions(archive.context.tenant, item["00081155"]["Value"][0])
    urls = [
        f"{item['00081190']['Value'][0]}%s?version={one.version}" for one in versions if one.file_bytes == len(data)
    ]
    for url in urls:
        exact = await client.get(url % "", headers={"Accept": AS_STORED})
        if exact.content == data:
            return url
    pytest.fail("what was stored does not come back")


async def check(client: httpx.AsyncClient, url: str, name: str) -> None:
    """Ask for everything an object may be had as."""
    for resource, accept in REPRESENTATIONS:
        answer = await client.get(url % resource, headers={"Accept": accept})
        assert answer.status_code in (200, 404, 406), (name, resource, accept, answer.text)
        if answer.status_code == 200 and resource == "":
            readable(answer.content)


def readable(data: bytes) -> None:
    """Read a file to its last element, as another implementation does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        list(pydicom.dcmread(BytesIO(data), force=True).iterall())
