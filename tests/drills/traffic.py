"""What goes on meanwhile: a scanner that stores, and readers that believe nothing."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from typing import Final

import httpx

from nearframe.wire import multipart
from tests.drills.ledger import Instance, Ledger, digest
from tests.drills.site import Sited
from tests.syncing import edited, rename

WHOLE: Final = {"Accept": "application/dicom; transfer-syntax=*"}
_FRAME: Final = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


class Scanner:
    """Stores: new instances, the same again, corrected ones; at the edge mostly, at the origin sometimes.

    Attributes
    ----------
    answers, reasons
        Statuses of answers, and why instances were not stored: a Failure Reason, and words.
    """

    def __init__(self, site: Sited, ledger: Ledger, pool: list[Instance], rng: random.Random) -> None:
        self._site = site
        self._ledger = ledger
        self._new = list(reversed(pool))
        self._rng = rng
        self.answers = Counter[str]()
        self.reasons = Counter[str]()

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
            while True:
                await self.store_some(client)
                await asyncio.sleep(self._rng.uniform(0.0, 0.2))

    async def store_some(self, client: httpx.AsyncClient) -> None:
        batch = [self._next() for _ in range(self._rng.randrange(1, 5))]
        node = self._site.origin if self._rng.random() < 0.1 else self._site.edge
        await self.store(client, node.url, dict(batch))

    async def store(self, client: httpx.AsyncClient, url: str, files: Mapping[Instance, bytes]) -> None:
        """Send files in one request, and note what the answer acknowledges."""
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
            self.answers["none"] += 1
            return
        self.answers[str(answer.status_code)] += 1
        if answer.status_code not in (200, 202, 409):
            return
        document = answer.json()
        for item in document.get("00081198", {"Value": []})["Value"]:
            words = item.get("00000902", {"Value": [""]})["Value"][0]
            self.reasons[f"{item['00081197']['Value'][0]:04X} {words}"] += 1
        done = {item["00081155"]["Value"][0] for item in document.get("00081199", {"Value": []})["Value"]}
        for instance, data in files.items():
            if instance.uid in done:
                instance.acknowledged[digest(data)] = data

    def _next(self) -> tuple[Instance, bytes]:
        roll = self._rng.random()
        known = self._ledger.instances
        if self._new and (roll < 0.6 or not known):
            instance = self._new.pop()
            known.append(instance)
            return instance, instance.first
        instance = self._rng.choice(known)
        if roll < 0.8:
            return instance, self._rng.choice([instance.first, *instance.sent.values()])
        return instance, edited(instance.first, rename(f"Drill^{self._rng.randrange(5)}"))


class Reader:
    """Reads what was sent, from both nodes, all the time; every byte of what it gets is right, or it is an error.

    Parameters
    ----------
    sees_all
        What was acknowledged has to be there from then on, whichever process is asked.
    """

    def __init__(self, site: Sited, ledger: Ledger, rng: random.Random, *, sees_all: bool = False) -> None:
        self._site = site
        self._ledger = ledger
        self._rng = rng
        self._sees_all = sees_all
        self.answers = Counter[str]()
        self.wrong: list[str] = []

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            while True:
                if self._ledger.instances:
                    await self.read_one(client)
                await asyncio.sleep(0.02)

    async def read_one(self, client: httpx.AsyncClient) -> None:
        """Read a file, or a frame."""
        instance = self._rng.choice(self._ledger.instances)
        name, node = self._rng.choice((("edge", self._site.edge), ("origin", self._site.origin)))
        whole, was_acknowledged = self._rng.random() < 0.5, bool(instance.acknowledged)
        path = instance.path if whole else f"{instance.path}/frames/1"
        try:
            answer = await client.get(node.url + path, headers=WHOLE if whole else _FRAME)
        except httpx.HTTPError:
            self.answers["none"] += 1
            return
        self.answers[str(answer.status_code)] += 1
        if answer.status_code == 404 and was_acknowledged and self._sees_all:
            self.wrong.append(f"nothing of what was acknowledged: {answer.text}")
        if answer.status_code == 200:
            right = digest(answer.content) in instance.sent if whole else only_part(answer) == instance.pixels
            if not right:
                self.wrong.append(f"{'file' if whole else 'frame'} of {len(answer.content)} bytes from the {name}")


def only_part(answer: httpx.Response) -> bytes:
    """Return the body of the one part of a multipart answer; empty if it is not well formed."""
    boundary = answer.headers["content-type"].partition('boundary="')[2].partition('"')[0]
    boundary = boundary or answer.headers["content-type"].partition("boundary=")[2].partition(";")[0]
    head, _, rest = answer.content.partition(b"\r\n\r\n")
    data, ending, _ = rest.rpartition(f"\r\n--{boundary}--".encode())
    return data if ending and f"--{boundary}\r\n".encode() in head + b"\r\n" else b""
