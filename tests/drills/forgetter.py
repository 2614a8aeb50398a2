"""Somebody who deletes and purges what others store the same pictures of, into the same study, at the same time."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, Final

import httpx

from tests.drills.traffic import WHOLE
from tests.multiparts import store_body
from tests.syncing import ct_series, instance_uid

STUDY: Final = "1.2.826.0.1.3680043.2.1125.11"
_ROWS: Final = 48
_MOST: Final = 2000


class Forgetter:
    """Stores one object after the other, all with the same pixels, and has the ones before go for good.

    Attributes
    ----------
    kept, purged
        Numbers of those that must be there, and of those that must be gone.
    """

    def __init__(self, url: str, rng: random.Random) -> None:
        self._url = url
        self._rng = rng
        first, *others = ct_series(_MOST, rows=_ROWS, study=STUDY)
        picture = first[-2 * _ROWS * _ROWS :]
        self._files = [first, *(file[: -len(picture)] + picture for file in others)]
        self._deleted: set[int] = set()
        self.kept: set[int] = set()
        self.purged: set[int] = set()
        self.answers = Counter[str]()

    async def run(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=30, trust_env=False) as client:
            for number in range(_MOST):
                await asyncio.gather(self._store(client, number), self._forget(client, number - 1))
                await asyncio.sleep(self._rng.uniform(0.0, 0.3))

    async def check(self, client: httpx.AsyncClient) -> None:
        """Check that what must be there is, byte for byte, and that what must be gone is."""
        for number, file in enumerate(self._files):
            path = f"/dicomweb/studies/{STUDY}/series/{STUDY}.1/instances/{instance_uid(file)}"
            if number in self.kept:
                answer = await client.get(path, headers=WHOLE)
                assert answer.status_code == 200, "an object went with another one that was purged"
                assert answer.content == file, "an object is another one"
            elif number in self.purged:
                answer = await client.get(f"/api/instances/{instance_uid(file)}/versions")
                assert answer.status_code == 404, "an object is there that was purged"

    async def _store(self, client: httpx.AsyncClient, number: int) -> None:
        content_type, body = store_body([self._files[number]])
        if await self._ask(client, "/dicomweb/studies", content=body, headers={"Content-Type": content_type}):
            self.kept.add(number)

    async def _forget(self, client: httpx.AsyncClient, number: int) -> None:
        if number not in self.kept or self._rng.random() < 0.2:
            return
        self.kept.remove(number)  # whatever becomes of what is asked
        select = {"study": STUDY, "instances": [instance_uid(self._files[number])]}
        asked = {"action": "delete", "reason": "drill", "select": select}
        if await self._ask(client, "/api/corrections", json=asked):
            self._deleted.add(number)
        deleted = set(self._deleted)
        if await self._ask(client, "/api/purge", json={"study": STUDY, "reason": "drill"}):
            self.purged |= deleted

    async def _ask(self, client: httpx.AsyncClient, path: str, **options: Any) -> bool:
        try:
            answer = await client.post(path, **options)
        except httpx.HTTPError:
            self.answers["none"] += 1
            return False
        self.answers[str(answer.status_code)] += 1
        return answer.status_code == 200
