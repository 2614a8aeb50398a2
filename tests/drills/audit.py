"""Afterwards: is every acknowledged file upstream, once, byte for byte? Asked through the public interface."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import httpx

from tests.drills.ledger import Instance, Ledger, digest
from tests.drills.site import Reachable, Sited
from tests.drills.traffic import WHOLE, Scanner

_PATIENCE_S: Final = 600.0
_AT_ONCE: Final = 4


class Audit:
    """The state of both nodes against what their clients remember.

    Attributes
    ----------
    spoiled
        Files of which a flipped bit had spoiled the only copy: they were stored anew.
    damaged
        Contents that each node found damaged.
    """

    def __init__(self, site: Sited, ledger: Ledger, scanner: Scanner) -> None:
        self._site = site
        self._ledger = ledger
        self._scanner = scanner
        self.spoiled = 0
        self.damaged: dict[str, int] = {}

    async def run(self) -> None:
        """Wait until everything is upstream, look for damage, mend it, and check."""
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client, asyncio.timeout(_PATIENCE_S):
            await self._settle(client)
            for name, node in (("edge", self._site.edge), ("origin", self._site.origin)):
                self.damaged[name] = await _scrub(client, node)
            await _a_few_at_once(partial(self._mend, client), self._ledger.instances)
            await self._settle(client)
            await self.check(client)

    async def check(self, client: httpx.AsyncClient) -> None:
        """Check what both nodes have, as they are."""
        await _a_few_at_once(partial(self._check, client), self._ledger.instances)
        for study, instances in self._ledger.studies().items():
            await self._check_listed(client, study, instances)

    async def _settle(self, client: httpx.AsyncClient) -> None:
        """Wait until the edge has nothing that is not upstream; send again what was damaged before that."""
        while True:
            lines = await _get(client, f"{self._site.edge.url}/api/outbox")
            if not lines["studies"]:
                return
            refused = [line for line in lines["studies"] if line["state"] == "refused"]
            for line in refused:
                assert "damaged" in line["reason"], line
                self.spoiled += line["instances"]
                for instance in self._ledger.studies()[line["study"]]:
                    await self._send_again(client, self._site.edge, instance)
            await asyncio.sleep(0.2)

    async def _send_again(self, client: httpx.AsyncClient, node: Reachable, instance: Instance) -> None:
        for data in list(instance.acknowledged.values()):
            await self._scanner.store(client, node.url, {instance: data})

    async def _mend(self, client: httpx.AsyncClient, instance: Instance) -> None:
        """Send an instance to the origin again of which a flipped bit has spoiled a version there."""
        unreadable = (await self.versions(client, instance)).count(None)
        if unreadable:
            self.spoiled += unreadable
            await self._send_again(client, self._site.origin, instance)

    async def _check(self, client: httpx.AsyncClient, instance: Instance) -> None:
        """Check that what was acknowledged of an instance is upstream once, and nothing that nobody sent."""
        held = await self.versions(client, instance)
        assert None not in held, "a version cannot be read"
        assert len(held) == len(set(held)), "a file is upstream twice"
        assert set(instance.acknowledged) <= set(held), "an acknowledged file is not upstream"
        assert set(held) <= set(instance.sent), "a file is upstream that nobody sent"
        if instance.acknowledged:
            shown = [await client.get(node.url + instance.path, headers=WHOLE) for node in self._both]
            assert [answer.status_code for answer in shown] == [200, 200]
            assert shown[0].content == shown[1].content, "the edge shows another version"

    async def _check_listed(self, client: httpx.AsyncClient, study: str, instances: list[Instance]) -> None:
        """Check that a search at either node finds each instance once."""
        acknowledged = {instance.uid for instance in instances if instance.acknowledged}
        sent = {instance.uid for instance in instances}
        for node in self._both:
            found = await _get(client, f"{node.url}/dicomweb/studies/{study}/instances?limit=5000")
            uids = [item["00080018"]["Value"][0] for item in found]
            assert len(uids) == len(set(uids)), "an instance is listed twice"
            assert acknowledged <= set(uids) <= sent, "an instance is not listed, or one that nobody sent"

    async def versions(self, client: httpx.AsyncClient, instance: Instance) -> list[bytes | None]:
        """Return the digest of every version of an instance that the origin holds; None for one it cannot read."""
        origin = self._site.origin.url
        answer = await client.get(f"{origin}/api/instances/{instance.uid}/versions")
        if answer.status_code == 404:
            return []
        return [
            await _digest_at(client, f"{origin}{instance.path}?version={version['version']}")
            for version in answer.json()["versions"]
        ]

    @property
    def _both(self) -> tuple[Reachable, Reachable]:
        return self._site.origin, self._site.edge


async def _digest_at(client: httpx.AsyncClient, url: str) -> bytes | None:
    try:
        answer = await client.get(url, headers=WHOLE)
    except httpx.RemoteProtocolError:  # begun, and cut where the damage is
        return None
    return digest(answer.content) if answer.status_code == 200 else None


async def _scrub(client: httpx.AsyncClient, node: Reachable) -> int:
    """Have a node read all it holds; return how much of it is damaged."""
    (await client.post(f"{node.url}/api/scrub")).raise_for_status()
    while True:
        state = await _get(client, f"{node.url}/api/scrub")
        if state["finished_at"] and not state["running"]:
            return int(state["damaged"] + state["quarantined"])
        await asyncio.sleep(0.1)


async def _get(client: httpx.AsyncClient, url: str) -> Any:
    answer = await client.get(url)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _a_few_at_once(look: Callable[[Instance], Awaitable[None]], instances: list[Instance]) -> None:
    rest = iter(instances)

    async def some() -> None:
        for instance in rest:
            await look(instance)

    async with asyncio.TaskGroup() as looks:
        for _ in range(_AT_ONCE):
            looks.create_task(some())
