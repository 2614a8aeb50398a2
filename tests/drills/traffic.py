"""What goes on meanwhile: a scanner that stores, and a reader that believes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections import Counter
from dataclasses import dataclass, field

import httpx
import pydicom

from nearframe.wire import multipart
from tests.drills.site import Site
from tests.syncing import ct_series, edited, rename

_ROOT = "1.2.826.0.1.3680043.2.1125.7"
_WHOLE = {"Accept": "application/dicom; transfer-syntax=*"}
_FRAME = {"Accept": "application/octet-stream; transfer-syntax=*"}
_ROWS = 96  # frames of 18 KB


@dataclass(eq=False)
class Instance:
    """An instance, every file that was ever sent of it, and those that were acknowledged."""

    path: str
    uid: str
    pixels: bytes
    first: bytes
    sent: dict[bytes, bytes] = field(default_factory=dict)
    acknowledged: dict[bytes, bytes] = field(default_factory=dict)


def instances(studies: int, each: int) -> list[Instance]:
    """Return the instances of a few CT studies, none of them sent yet."""
    made = []
    for number in range(studies):
        for file in ct_series(each, rows=_ROWS, study=f"{_ROOT}.{number}", seed=number):
            ds = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
            path = f"/dicomweb/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}"
            uid = str(ds.SOPInstanceUID)
            made.append(Instance(f"{path}/instances/{uid}", uid, file[-_ROWS * _ROWS * 2 :], file))
    return made


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Scanner:
    """Stores: new instances, the same again, corrected ones; here mostly, at the origin sometimes."""

    def __init__(self, site: Site, pool: list[Instance], rng: random.Random) -> None:
        self._site = site
        self._new = list(reversed(pool))
        self._rng = rng
        self.known: list[Instance] = []
        self.stores = Counter[str]()

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            while True:
                await self.store_some(client)
                await asyncio.sleep(self._rng.uniform(0.0, 0.1))

    async def store_some(self, client: httpx.AsyncClient) -> None:
        batch = [self._next() for _ in range(self._rng.randrange(1, 5))]
        node = self._site.origin if self._rng.random() < 0.1 else self._site.edge
        await self.store(client, node.url, dict(batch))

    async def store(self, client: httpx.AsyncClient, url: str, files: dict[Instance, bytes]) -> None:
        for instance, data in files.items():
            instance.sent[digest(data)] = data
        boundary = "boundary-of-a-drill"
        parts = [
            multipart.part_head(boundary, "application/dicom", first=i == 0) + data
            for i, data in enumerate(files.values())
        ]
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
        body = b"".join(parts) + multipart.closing(boundary)
        try:
            answer = await client.post(f"{url}/dicomweb/studies", content=body, headers=headers)
        except httpx.HTTPError:
            self.stores["unanswered"] += 1
            return
        self.stores[str(answer.status_code)] += 1
        if answer.status_code not in (200, 202):
            return
        done = {item["00081155"]["Value"][0] for item in answer.json().get("00081199", {"Value": []})["Value"]}
        for instance, data in files.items():
            if instance.uid in done:
                instance.acknowledged[digest(data)] = data

    def _next(self) -> tuple[Instance, bytes]:
        roll = self._rng.random()
        if self._new and (roll < 0.6 or not self.known):
            instance = self._new.pop()
            self.known.append(instance)
            return instance, instance.first
        instance = self._rng.choice(self.known)
        if roll < 0.8:
            return instance, self._rng.choice([instance.first, *instance.sent.values()])
        return instance, edited(instance.first, rename(f"Drill^{self._rng.randrange(5)}"))


class Reader:
    """Reads what was sent, from both, all the time; what it gets is right or an error."""

    def __init__(self, site: Site, scanner: Scanner, rng: random.Random) -> None:
        self._site = site
        self._scanner = scanner
        self._rng = rng
        self.answers = Counter[str]()
        self.wrong: list[str] = []

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            while True:
                if self._scanner.known:
                    await self.read_one(client)
                await asyncio.sleep(0.02)

    async def read_one(self, client: httpx.AsyncClient) -> None:
        instance = self._rng.choice(self._scanner.known)
        node = self._rng.choice((self._site.edge, self._site.edge, self._site.origin))
        whole = self._rng.random() < 0.5
        path = instance.path if whole else f"{instance.path}/frames/1"
        try:
            answer = await client.get(node.url + path, headers=_WHOLE if whole else _FRAME)
        except httpx.HTTPError:
            self.answers["none"] += 1
            return
        self.answers[str(answer.status_code)] += 1
        if answer.status_code == 200:
            right = digest(answer.content) in instance.sent if whole else instance.pixels in answer.content
            if not right:
                self.wrong.append(f"{'file' if whole else 'frame'} of {len(answer.content)} bytes")


async def versions_of(client: httpx.AsyncClient, origin_url: str, instance: Instance) -> list[bytes]:
    """Return every version of an instance that the origin holds."""
    found = (await client.get(f"{origin_url}/api/instances/{instance.uid}/versions")).json().get("versions", [])
    files = []
    for version in found:
        answer = await client.get(f"{origin_url}{instance.path}?version={version['version']}", headers=_WHOLE)
        assert answer.status_code == 200, answer.text
        files.append(answer.content)
    return files
