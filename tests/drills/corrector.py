"""Somebody who corrects: renames, merges, deletes, undoes; and what must have become of all that."""

from __future__ import annotations

import asyncio
import io
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pydicom

from tests.drills.ledger import digest
from tests.drills.traffic import WHOLE
from tests.multiparts import store_body
from tests.syncing import ct_series

_ROOT: Final = "1.2.826.0.1.3680043.2.1125.8"
_STUDIES: Final = 5
_EACH: Final = 3
_ROWS: Final = 48
_PAGE: Final = 1000
#: Told from the reasons of others by how it begins.
_REASON: Final = "found to be wrong, by number"

#: Whose an object is and what it is called; None while it is out of view.
Shown = tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Instance:
    """An object as it was stored, before any correction."""

    study: str
    uid: str
    file: bytes
    shown: Shown


@dataclass
class Corrector:
    """Corrects studies that nobody else touches.

    Attributes
    ----------
    asked
        By reason, of which no two corrections have the same: the number that the archive acknowledged it with.
    kept
        What versions were once read as, by UID and number.
    """

    url: str
    rng: random.Random
    asked: dict[str, int | None] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    kept: dict[tuple[str, int], bytes] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)

    async def run(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False) as client:
            for number in range(_STUDIES):
                await self._store(client, number)
            while True:
                await self._correct(client)
                await asyncio.sleep(self.rng.uniform(0.0, 0.4))

    async def _store(self, client: httpx.AsyncClient, number: int) -> None:
        """Store a study of a patient of its own; again until it is acknowledged."""

        def name(ds: pydicom.Dataset) -> None:
            ds.PatientID, ds.PatientName = f"CORRECTED-{number}", f"First^{number}"

        files = ct_series(_EACH, rows=_ROWS, study=f"{_ROOT}.{number}", seed=number, change=name)
        content_type, body = store_body(files)
        is_stored = False
        while not is_stored:
            answer = await self._ask(client, "POST", "/dicomweb/studies", content=body,
                                                          headers={"Content-Type": content_type})  # fmt: skip
            is_stored = answer is not None and answer.status_code == 200
        for file in files:
            ds = pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True)
            shown = str(ds.PatientID), str(ds.PatientName)
            self.instances.append(Instance(str(ds.StudyInstanceUID), str(ds.SOPInstanceUID), file, shown))

    async def _correct(self, client: httpx.AsyncClient) -> None:
        number, instance = len(self.asked), self.rng.choice(self.instances)
        select: dict[str, Any] = {"study": instance.study}
        roll = self.rng.random()
        if roll < 0.35:
            body = {"action": "attributes", "select": select, "set": {"PatientName": f"Renamed^{number}"}}
        elif roll < 0.5:
            into = {"id": f"MERGED-{number}", "attributes": {"PatientName": f"Merged^{number}"}}
            body = {"action": "merge", "from": {"id": await self._patient(client, instance)}, "into": into}
        elif roll < 0.65:
            some = {"instances": [instance.uid]} if self.rng.random() < 0.5 else {}
            body = {"action": "delete", "select": select | some}
        else:
            await self._undo(client, instance)
            return
        await self._make(client, "/api/corrections", body)

    async def _undo(self, client: httpx.AsyncClient, instance: Instance) -> None:
        """Undo the latest correction of a study that stands, or now and then an undoing."""
        answer = await self._ask(client, "GET", "/api/corrections", params={"study": instance.study})
        if answer is None or answer.status_code != 200:
            return
        again = self.rng.random() < 0.2
        for one in answer.json()["corrections"]:
            if one["undone_by"] is None and (again or one["undoes"] is None):
                await self._make(client, f"/api/corrections/{one['id']}/undo", {})
                return

    async def _make(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
        reason = f"{_REASON} {len(self.asked)}"
        self.asked[reason] = None
        answer = await self._ask(client, "POST", path, json=body | {"reason": reason})
        if answer is None or answer.status_code != 200:
            return
        number = self.asked[reason] = answer.json()["id"]
        await self._keep_one(client, number)

    async def _keep_one(self, client: httpx.AsyncClient, correction: int) -> None:
        """Read a version that a correction made, and remember it."""
        answer = await self._ask(client, "GET", f"/api/corrections/{correction}")
        if answer is None or answer.status_code != 200:
            return
        one = self.rng.choice(answer.json()["changed"])
        if one["after"] is None:
            return
        found = next(instance for instance in self.instances if instance.uid == one["instance"])
        read = await self._ask(client, "GET", version_path(found, one["after"]), headers=WHOLE)
        if read is not None and read.status_code == 200:
            self.kept[found.uid, one["after"]] = digest(read.content)

    async def _patient(self, client: httpx.AsyncClient, instance: Instance) -> str:
        shown = await self._ask(client, "GET", f"/dicomweb/studies?StudyInstanceUID={instance.study}")
        found = shown.json() if shown is not None and shown.status_code == 200 else []
        return str(found[0]["00100020"]["Value"][0]) if found else "NOBODY"

    async def _ask(self, client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response | None:
        try:
            answer = await client.request(method, path, **options)
        except httpx.HTTPError:
            self.answers["none"] += 1
            return None
        self.answers[str(answer.status_code)] += 1
        return answer


class CorrectionAudit:
    """Is each acknowledged correction in force, once, and every version that there ever was still to be read?"""

    def __init__(self, corrector: Corrector, client: httpx.AsyncClient) -> None:
        self._corrector = corrector
        self._client = client
        self._state: dict[str, Shown] = {one.uid: one.shown for one in corrector.instances}
        self._versions = Counter[str]({one.uid: 1 for one in corrector.instances})

    async def check(self) -> int:
        """Check; return how many corrections there are."""
        made = [one async for one in self._made() if one["reason"].startswith(_REASON)]
        reasons = Counter[str](one["reason"] for one in made)
        assert set(reasons.values()) <= {1}, "a correction was made twice"
        assert reasons.keys() <= self._corrector.asked.keys(), "a correction is there that nobody asked for"
        numbers = {one["reason"]: one["id"] for one in made}
        for reason, number in self._corrector.asked.items():
            assert number in (None, numbers.get(reason)), "an acknowledged correction is not there"
        await self._replay(made)
        for instance in self._corrector.instances:
            await self._check_shown(instance)
            await self._check_versions(instance)
        return len(made)

    async def _made(self) -> AsyncIterator[Any]:
        """Yield all corrections, the latest first."""
        before: dict[str, int] = {}
        while True:
            page = (await self._get("/api/corrections", limit=_PAGE, **before))["corrections"]
            for one in page:
                yield one
            if len(page) < _PAGE:
                return
            before = {"before": page[-1]["id"]}

    async def _replay(self, made: list[Any]) -> None:
        """Follow what they came to, in the order in which they were made."""
        before: dict[int, dict[str, Shown]] = {}
        for one in reversed(made):
            changed = (await self._get(f"/api/corrections/{one['id']}"))["changed"]
            uids = [each["instance"] for each in changed]
            self._versions.update(each["instance"] for each in changed if each["after"] is not None)
            before[one["id"]] = {uid: self._state[uid] for uid in uids}
            self._state |= before[one["undoes"]] if one["undoes"] else dict(self._outcomes(one, uids))

    def _outcomes(self, one: Any, uids: list[str]) -> Iterator[tuple[str, Shown]]:
        asked = one["asked"]
        for uid in uids:
            shown = self._state[uid]
            if one["action"] == "delete":
                yield uid, None
                continue
            assert shown is not None, "something was corrected that was out of view"
            if one["action"] == "merge":
                yield uid, (asked["into"]["id"], asked["into"]["attributes"]["PatientName"])
            else:
                yield uid, (shown[0], asked["set"]["PatientName"])

    async def _check_shown(self, instance: Instance) -> None:
        answer = await self._client.get(_path(instance) + "/metadata")
        shown: Shown = None
        if answer.status_code != 404:
            (document,) = answer.json()
            shown = document["00100020"]["Value"][0], document["00100010"]["Value"][0]["Alphabetic"]
        assert shown == self._state[instance.uid], "an object is not as its corrections left it"

    async def _check_versions(self, instance: Instance) -> None:
        listed = (await self._get(f"/api/instances/{instance.uid}/versions"))["versions"]
        numbers = sorted(one["version"] for one in listed)
        assert numbers == list(range(1, self._versions[instance.uid] + 1)), "a version is missing, or there twice"
        pixels = instance.file[-2 * _ROWS * _ROWS :]
        for number in numbers:
            answer = await self._client.get(version_path(instance, number), headers=WHOLE)
            assert answer.status_code == 200, "a version cannot be read"
            assert answer.content.endswith(pixels), "a correction moved a pixel"
            assert number > 1 or answer.content == instance.file, "the first version is not what was stored"
            kept = self._corrector.kept.get((instance.uid, number))
            assert kept in (None, digest(answer.content)), "a version is not what it was"

    async def _get(self, path: str, **params: Any) -> Any:
        answer = await self._client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()


def version_path(instance: Instance, number: int) -> str:
    """Return where a version of an object is read."""
    return f"{_path(instance)}?version={number}"


def _path(instance: Instance) -> str:
    return f"/dicomweb/studies/{instance.study}/series/{instance.study}.1/instances/{instance.uid}"
