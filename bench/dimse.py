"""Storing by C-STORE against Orthanc and DCMTK: ``python -m bench.dimse [--quick] [--json]``.

600 slices of 0.5 MB from one generator of ours (`nearframe.dimse.scu`, TCP_NODELAY), over one
association and over four, an instance after the other on each. Ours answers when an instance is
durable, and makes renditions beside, or after; ``storescp`` writes files and syncs none. Orthanc runs twice:
as it comes, its answers are two small writes, and the second waits for a delayed acknowledgement
of the first, some 40 ms; told ``TCP_NODELAY=1`` it does not wait. Every round has UIDs and pixels of its own.

The first slice of an association: from before its last fragment is sent to the answer. By then the
event that hands it on is in the outbox, since that is in the transaction which the answer follows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import corpus, peers
from bench.harness import Row, Work, compare, cpu_row, median_interval, rate_row, report, wait_idle
from nearframe.dimse.scu import Peer, User, associate
from nearframe.dimse.status import Status

SLICES = 600
FIRST_SLICES = 15
FIRST_SLICE_MS = 20.0
_LAST_BYTES = 16 << 10
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT = "1.2.840.10008.1.2.1"
_META = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Object:
    """What one C-STORE carries."""

    sop_instance_uid: str
    data: bytes


def objects(series: corpus.Series, round_number: int) -> list[Object]:
    """Return the data sets of a series with UIDs and pixels that no earlier round used."""
    label = b"%d" % (10**9 + round_number)
    samples = struct.pack("<10H", *map(int, f"{round_number:010d}"))
    made = []
    for uid, path in zip(series.instances, series.files, strict=True):
        file = path.read_bytes().replace(corpus.ROUND, label)
        (length,) = _META.unpack_from(file, 140)
        data = file[144 + length : -len(samples)] + samples
        made.append(Object(uid.encode().replace(corpus.ROUND, label).decode(), data))
    return made


def send(peer: Peer, made: Sequence[Object], associations: int) -> Work:
    """Store objects, and take the time from the first request to the last answer."""
    return asyncio.run(_send(peer, made, associations))


async def _send(peer: Peer, made: Sequence[Object], associations: int) -> Work:
    async with contextlib.AsyncExitStack() as stack:
        users = [await stack.enter_async_context(associate(peer, [(_CT, (_EXPLICIT,))])) for _ in range(associations)]
        left = iter(made)
        start = time.perf_counter()
        await asyncio.gather(*(_store(user, left) for user in users))
        seconds = time.perf_counter() - start
    return Work(len(made), seconds)


async def _store(user: User, left: Iterator[Object]) -> None:
    for one in left:
        answer = await user.store(_CT, one.sop_instance_uid, _EXPLICIT, one.data)
        if answer.status != Status.SUCCESS:
            raise RuntimeError(f"C-STORE answered {answer.status:#06x}")


def first_slice_ms(peer: Peer, one: Object) -> float:
    """Store an object on an association of its own; return the time from its last fragment to the answer."""
    return asyncio.run(_first_slice_ms(peer, one))


async def _first_slice_ms(peer: Peer, one: Object) -> float:
    last_fragment_s = 0.0

    async def data() -> AsyncIterator[bytes]:
        nonlocal last_fragment_s
        yield one.data[:-_LAST_BYTES]
        yield one.data[-_LAST_BYTES:]
        last_fragment_s = time.perf_counter()

    async with associate(peer, [(_CT, (_EXPLICIT,))]) as user:
        await user.store(_CT, one.sop_instance_uid, _EXPLICIT, data())
        return (time.perf_counter() - last_fragment_s) * 1e3


def first_slice_row(ours: tuple[int, Peer], theirs: tuple[int, Peer], made: Sequence[Object]) -> Row:
    """Report how soon the first slice of an association is handed on, and when Orthanc answers one."""
    pairs = []
    for one in made:
        for pid, _ in (ours, theirs):
            wait_idle(pid)
        pairs.append((first_slice_ms(ours[1], one), first_slice_ms(theirs[1], one)))
    ratio, low, high = median_interval([own / other for own, other in pairs])
    own_ms, other_ms = (statistics.median(times) for times in zip(*pairs, strict=True))
    holds = own_ms <= FIRST_SLICE_MS
    bar = f"ours <= {FIRST_SLICE_MS:g} ms"
    return Row("first slice, handed on", "nearframe", "Orthanc", "ms", own_ms, other_ms, ratio, low, high, bar, holds)


@contextlib.contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, Peer]]:
    """DCMTK's receiver, as a user starts it."""
    folder.mkdir(parents=True)
    port = peers.free_port()
    # By its full path: pynetdicom has a command of this name.
    process = subprocess.Popen(["/usr/bin/storescp", "--fork", "--output-directory", str(folder), str(port)])
    try:
        yield process.pid, Peer("127.0.0.1", port, "STORESCP", "BENCH")
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True, slots=True)
class Site:
    """The servers of one comparison: each its process, and how it is called."""

    ours: tuple[int, Peer]
    orthanc: tuple[int, Peer]
    orthanc_undelayed: tuple[int, Peer]
    storescp: tuple[int, Peer]


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Start them."""
    with contextlib.ExitStack() as stack:
        port = peers.free_port()
        node = stack.enter_context(peers.origin(folder / "ours", options=["--dicom", f"127.0.0.1:{port}"]))
        yield Site(
            (node.pid, Peer("127.0.0.1", port, "NEARFRAME", "BENCH")),
            stack.enter_context(orthanc(folder / "orthanc", {})),
            stack.enter_context(orthanc(folder / "orthanc-undelayed", {"TCP_NODELAY": "1"})),
            stack.enter_context(storescp(folder / "storescp")),
        )


@contextlib.contextmanager
def orthanc(folder: Path, env: dict[str, str]) -> Iterator[tuple[int, Peer]]:
    """Orthanc, called by DIMSE."""
    port = peers.free_port()
    with peers.orthanc(folder, dicom_port=port, env=env) as server:
        yield server.pid, Peer("127.0.0.1", port, "ORTHANC", "BENCH")


def rows(place: Callable[[str], Path], slices: int, pairs: int) -> Iterator[Row]:
    """Compare, for one association and for four; then the first slice."""
    series = corpus.ct_series(place("ct512"), slices, 512, "512")
    rounds = itertools.count(1)
    for associations in (1, 4):
        with site(place(f"{associations} associations")) as servers:

            def run(peer: Peer, associations: int = associations) -> Work:
                return send(peer, objects(series, next(rounds)), associations)

            name = f"C-STORE 0.5 MB, {associations} association{'s' if associations > 1 else ''}"
            for peer_name, (pid, peer), bar in (
                ("Orthanc", servers.orthanc, 1.5),
                ("Orthanc no delay", servers.orthanc_undelayed, None),
                ("storescp", servers.storescp, None),
            ):
                own_pid, own = servers.ours
                against = compare(
                    name,
                    ("nearframe", own_pid, partial(run, own)),
                    (peer_name, pid, partial(run, peer)),
                    pairs=pairs,
                    unit="instance",
                    settle=True,
                )
                yield rate_row(against, at_least=bar)
                yield cpu_row(against)
            if associations == 1:
                made = objects(series, next(rounds))[:FIRST_SLICES]
                yield first_slice_row(servers.ours, servers.orthanc, made)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three short pairs, to see that it runs: no figures")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
        slices, pairs = (100, 3) if options.quick else (SLICES, options.pairs)
        found = list(rows(lambda name: Path(folder) / name, slices, pairs))
    report(found, as_json=options.json)
    return 0 if all(row.holds is not False for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
