"""What a correction moves between an archive and its edge: ``python -m bench.corrections [DATA] [--json]``.

Two nodes as a user starts them, and on the line between them a relay that counts every byte of every connection, both
ways. The edge holds two studies of two patients. Each kind of correction is made at the archive, or comes to it as a
rejection note or an HL7 message; it is read at the edge; then it is undone. Looked at are

- bytes on the line until the edge shows it, and until everything was read there again,
- frames that came over it, which should be none,
- whether every version before is given out byte for byte,
- whether after the undoing both nodes give out the same bytes as before: files, metadata, what searches find.

DATA is the folder of real studies, found as the tests find it; without it the studies are made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from bench import corpus, peers
from bench.correctionkinds import KINDS, Site, Study
from bench.resend import STORED
from bench.studies import studies_folder
from bench.sync import Relay, relayed
from nearframe.ids import sha256
from nearframe.settingkinds import Address

_QUIET: Final = ("--no-renditions", "--no-perceptual")
_PATIENCE_S: Final = 120.0
_SLICES: Final = 200
_FRAMES: Final = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


@dataclass(frozen=True, slots=True)
class Moved:
    """What went over the line.

    Attributes
    ----------
    until_shown, until_read
        Bytes from the correction on, both ways.
    """

    until_shown: int
    until_read: int
    frames: int


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of correction.

    Attributes
    ----------
    reopened_ms
        Metadata of the study and its first frame at the edge, once it follows; None where nothing is left in view.
    """

    kind: str
    instances: int
    made: Moved
    undone: Moved
    old_versions: bool
    exact: bool
    shown_after_ms: float
    reopened_ms: float | None

    @property
    def holds(self) -> bool:
        return self.old_versions and self.exact and not self.made.frames and not self.undone.frames


# -- what is held ------------------------------------------------------------------------------


def real_studies(data: Path) -> tuple[Study, Study]:
    """Return a CT of three series, and one of another patient."""
    return Study.of(_files(data / "patient-timeline" / "4-ct-20180201")), Study.of(_files(data / "ct-head-ge"))


def made_studies(folder: Path, slices: int) -> tuple[Study, Study]:
    """Return two CT studies of two patients."""
    series = [corpus.ct_series(folder / str(number), slices, 256, str(number), 1000 * number) for number in (1, 2)]
    first, second = (Study.of([path.read_bytes() for path in one.files]) for one in series)
    return first, second


def _files(folder: Path) -> list[bytes]:
    found = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [data for data in found if data[128:132] == b"DICM"]


# -- measuring ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Bench:
    """Both nodes, and the line between them."""

    site: Site
    edge: httpx.AsyncClient
    relay: Relay

    async def settle(self) -> None:
        """Return once the edge follows, and has read everything."""
        await self._until_followed()
        await self._state(self.edge)

    async def row(self, kind: str, make: Callable[[Site], Awaitable[None]]) -> Row:
        """Make a correction, look at it, and undo it."""
        as_before = await self._states()
        counted = await self._counted()
        began = time.perf_counter()
        await make(self.site)
        await self._until_followed()
        shown_after_ms = (time.perf_counter() - began) * 1e3
        shown = self._bytes()
        (record,) = (await _json(self.site.origin, "/api/corrections?limit=1"))["corrections"]
        changed = (await _json(self.site.origin, f"/api/corrections/{record['id']}"))["changed"]
        reopened_ms = await self._reopen({one["study"] for one in changed})
        await self._state(self.edge)
        made = await self._moved(counted, shown)
        old_versions = await self._old_versions(changed)
        counted = await self._counted()
        answer = await self.site.origin.post(f"/api/corrections/{record['id']}/undo", json={"reason": "it was right"})
        answer.raise_for_status()
        while self.site.notes:  # which came into view with what it rejected
            study, uid = self.site.notes.pop()
            await self.site.correct("delete", select={"study": study, "instances": [uid]})
        await self._until_followed()
        shown = self._bytes()
        is_exact = await self._states() == as_before
        undone = await self._moved(counted, shown)
        return Row(kind, record["instances"], made, undone, old_versions, is_exact, shown_after_ms, reopened_ms)

    async def _states(self) -> tuple[bytes, bytes]:
        return await self._state(self.site.origin), await self._state(self.edge)

    async def _state(self, node: httpx.AsyncClient) -> bytes:
        """Return a digest of everything that a node gives out: what searches find, metadata, files."""
        everything = "?includefield=all"
        said: list[bytes] = []
        for study in await _json(node, f"/dicomweb/studies{everything}"):
            path = f"/dicomweb/studies/{study['0020000D']['Value'][0]}"
            metadata = await _json(node, f"{path}/metadata")
            found = [await _json(node, f"{path}/{level}{everything}") for level in ("series", "instances")]
            said += [json.dumps(one, sort_keys=True).encode() for one in (study, *metadata, *found[0], *found[1])]
            for one in metadata:
                series, instance = (one[tag]["Value"][0] for tag in ("0020000E", "00080018"))
                answer = await node.get(f"{path}/series/{series}/instances/{instance}", headers=STORED)
                said.append(answer.raise_for_status().content)
        return sha256(b"".join(map(sha256, sorted(said))))

    async def _old_versions(self, changed: Sequence[dict[str, Any]]) -> bool:
        """Return whether each instance of a correction is given out as it was, by the number of its version."""
        for one in changed:
            if one["instance"] not in self.site.sent:
                continue  # a rejection note, which was never in view
            path, file = self.site.sent[one["instance"]]
            answer = await self.site.origin.get(path, params={"version": one["before"]}, headers=STORED)
            if answer.status_code != 200 or answer.content != file:
                return False
        return True

    async def _reopen(self, studies: set[str]) -> float | None:
        """Return how long a reader of a study waits at the edge: for its metadata and the first frame."""
        began = time.perf_counter()
        for study in sorted(studies):
            answer = await self.edge.get(f"/dicomweb/studies/{study}/metadata")
            if answer.status_code != 200:
                continue
            pictures = [one for one in answer.json() if "00280010" in one]
            series, instance = (pictures[0][tag]["Value"][0] for tag in ("0020000E", "00080018"))
            path = f"/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/1"
            (await self.edge.get(path, headers=_FRAMES)).raise_for_status()
            return (time.perf_counter() - began) * 1e3
        return None

    async def _until_followed(self) -> None:
        head = (await _json(self.site.origin, "/api/status"))["feed"]["head"]
        async with asyncio.timeout(_PATIENCE_S):
            while (await _json(self.edge, "/api/status"))["upstream"]["cursor"] != head:
                await asyncio.sleep(0.01)

    def _bytes(self) -> int:
        return self.relay.sent + self.relay.received

    async def _counted(self) -> tuple[int, int]:
        return self._bytes(), await _frames(self.edge)

    async def _moved(self, since: tuple[int, int], shown: int) -> Moved:
        now, frames = await self._counted()
        return Moved(shown - since[0], now - since[0], frames - since[1])


async def _json(node: httpx.AsyncClient, path: str) -> Any:
    answer = await node.get(path)
    return answer.raise_for_status().json()


async def _frames(edge: httpx.AsyncClient) -> int:
    """Return how many frames an edge got from its upstream so far."""
    told = (await edge.get("/metrics")).text
    values = [line.rpartition(" ")[2] for line in told.splitlines() if line.startswith(_FRAMES_COUNTED)]
    return sum(int(float(value)) for value in values)


_FRAMES_COUNTED: Final = 'nearframe_upstream_items_total{kind="frame"}'


@asynccontextmanager
async def nodes(folder: Path, studies: tuple[Study, Study]) -> AsyncIterator[Bench]:
    """Run an archive that holds two studies, and an edge that has read them."""
    hl7 = Address("127.0.0.1", peers.free_port())
    with peers.origin(folder / "origin", options=[*_QUIET, "--hl7", str(hl7)]) as origin:
        root = origin.url.removesuffix("/dicomweb")
        async with relayed(root) as (near, relay), httpx.AsyncClient(base_url=root, timeout=300) as client:
            upstream = peers.Server("relay", origin.pid, f"{near}/dicomweb")
            site = Site(client, hl7, *studies)
            for file in (*site.first.files, *site.second.files):
                await site.store(file)
            with peers.edge(folder / "edge", upstream, options=_QUIET) as server:
                url = server.url.removesuffix("/dicomweb")
                async with httpx.AsyncClient(base_url=url, timeout=300) as edge:
                    bench = Bench(site, edge, relay)
                    await bench.settle()
                    yield bench


async def measure(studies: tuple[Study, Study]) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
        async with nodes(Path(folder), studies) as bench:
            return [await bench.row(name, make) for name, make in KINDS]


# -- telling -----------------------------------------------------------------------------------


def _print_table(studies: tuple[Study, Study], rows: Iterable[Row]) -> None:
    first, second = studies
    size = sum(map(len, first.files))
    print(f"a study of {len(first.files)} instances ({size / 1e6:.1f} MB), beside one of {len(second.files)}\n")
    print(
        "| | instances | bytes until shown | until all was read | undone: until shown | until all was read "
        "| frames moved | old versions | undo | shown after, ms | reopened in, ms |"
    )
    print("|---|" + "---|" * 10)
    for row in rows:
        reopened = "" if row.reopened_ms is None else f"{row.reopened_ms:.0f}"
        print(
            f"| {row.kind} | {row.instances} | {row.made.until_shown:,} | {row.made.until_read:,} "
            f"| {row.undone.until_shown:,} | {row.undone.until_read:,} | {row.made.frames + row.undone.frames} "
            f"| {'readable' if row.old_versions else 'LOST'} | {'exact' if row.exact else 'NOT EXACT'} "
            f"| {row.shown_after_ms:.0f} | {reopened} |"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=studies_folder(), help="folder of real studies")
    parser.add_argument("--slices", type=int, help="make studies of so many slices, whatever real ones there are")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.getLogger("nearframe").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        is_real = options.data is not None and options.slices is None
        studies = real_studies(options.data) if is_real else made_studies(Path(folder), options.slices or _SLICES)
    rows = asyncio.run(measure(studies))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        _print_table(studies, rows)
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
