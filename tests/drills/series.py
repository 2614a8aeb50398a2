"""A series that goes by C-STORE: what was sent of it, what was acknowledged, and whether an archive has it once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import httpx

from nearframe.dimse.scu import Peer, User, associate
from nearframe.dimse.status import Status
from nearframe.errors import UpstreamError
from tests.integration.dimse.hostile import uid_of
from tests.integration.dimse.test_workflow import data_set_of
from tests.multiparts import split_parts
from tests.syncing import CT_IMAGE, EXPLICIT_LE, ct_series

ASSOCIATIONS: Final = 3
WINDOW: Final = 4  # operations at once on each
CONTEXTS: Final = [(CT_IMAGE, (EXPLICIT_LE,))]
_WHOLE: Final = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


class Series:
    """A series on its way to an archive.

    Attributes
    ----------
    sent, acknowledged
        By UID: how often it was sent, and what the sender need not send again.
    """

    def __init__(self, study: str, count: int, *, rows: int, seed: int) -> None:
        self.study = study
        files = map(data_set_of, ct_series(count, rows=rows, study=study, seed=seed))
        self.objects = {uid_of(data): data for data in files}
        self.sent = dict.fromkeys(self.objects, 0)
        self.acknowledged: set[str] = set()

    async def send(self, peer: Peer, on_answer: Callable[[], None] = lambda: None) -> None:
        """Send what was not acknowledged, until that is all, or the archive is gone."""
        left = iter([uid for uid in self.objects if uid not in self.acknowledged])
        over = await asyncio.gather(
            *(self._associate(peer, left, on_answer) for _ in range(ASSOCIATIONS)), return_exceptions=True
        )
        for error in over:
            assert error is None or isinstance(error, UpstreamError), error

    async def store(self, user: User, uid: str) -> int:
        """Send one object; return the status."""
        self.sent[uid] += 1
        answer = await user.store(CT_IMAGE, uid, EXPLICIT_LE, self.objects[uid])
        if answer.status == Status.SUCCESS:
            self.acknowledged.add(uid)
        return answer.status

    async def check(self, client: httpx.AsyncClient, url: str) -> None:
        """Check what an archive holds and lists against what was sent and acknowledged."""
        held, listed = await _data_sets(client, url, self.study), await _listed(client, url, self.study)
        by_uid = {uid_of(data): data for data in held}
        assert len(held) == len(by_uid), "an instance is there twice"
        assert sorted(listed) == sorted(by_uid), "a search finds other instances than there are, or one twice"
        assert self.acknowledged <= set(by_uid), "an acknowledged instance is not there"
        assert all(self.objects.get(uid) == data for uid, data in by_uid.items()), "an instance is another one"

    async def _associate(self, peer: Peer, left: Iterator[str], on_answer: Callable[[], None]) -> None:
        async with associate(peer, CONTEXTS, window=WINDOW) as user:
            await asyncio.gather(*(self._store_all(user, left, on_answer) for _ in range(WINDOW)))

    async def _store_all(self, user: User, left: Iterator[str], on_answer: Callable[[], None]) -> None:
        for uid in left:
            assert await self.store(user, uid) == Status.SUCCESS
            on_answer()


async def versions(client: httpx.AsyncClient, url: str, uid: str) -> int:
    """Return how often an archive holds an instance."""
    answer = await client.get(f"{url}/api/instances/{uid}/versions")
    return len(answer.json()["versions"]) if answer.status_code == 200 else 0


async def _data_sets(client: httpx.AsyncClient, url: str, study: str) -> list[bytes]:
    answer = await client.get(f"{url}/dicomweb/studies/{study}", headers=_WHOLE)
    if answer.status_code == 404:
        return []
    assert answer.status_code == 200, answer.text
    return [data_set_of(file) for _, file in split_parts(answer.content, answer.headers["content-type"])]


async def _listed(client: httpx.AsyncClient, url: str, study: str) -> list[str]:
    """Return the UIDs that a search finds."""
    answer = await client.get(f"{url}/dicomweb/studies/{study}/instances?limit=5000")
    return [item["00080018"]["Value"][0] for item in answer.json()] if answer.content else []
