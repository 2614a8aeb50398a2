"""Storing by C-STORE against Orthanc and DCMTK: ``python -m bench.dimse [--quick] [--json]``.

600 slices of 0.5 MB from one generator of ours (`nearframe.dimse.scu`, TCP_NODELAY), over one
association and over four, an instance after the other on each. Ours answers when an instance is
durable, and makes renditions beside; Orthanc has its defaults; ``storescp`` writes files and syncs none.
Every round has UIDs and pixels of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import corpus, peers
from bench.harness import Row, Work, compare, cpu_row, rate_row, report
from nearframe.dimse.scu import Peer, User, associate
from nearframe.dimse.status import Status

SLICES = 600
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


@contextlib.contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, Peer]]:
    """DCMTK's receiver, as a user starts it."""
    folder.mkdir(parents=True)
    port = peers.free_port()
    process = subprocess.Popen(["storescp", "--fork", "--output-directory", str(folder), str(port)])
    try:
        yield process.pid, Peer("127.0.0.1", port, "STORESCP", "BENCH")
    finally:
        process.terminate()
        process.wait()


def rows(place: Callable[[str], Path], slices: int, pairs: int) -> Iterator[Row]:
    """Compare, for one association and for four."""
    series = corpus.ct_series(place("ct512"), slices, 512, "512")
    rounds = itertools.count(1)
    for associations in (1, 4):
        with contextlib.ExitStack() as stack:
            port = peers.free_port()
            ours = stack.enter_context(
                peers.origin(place(f"ours-{associations}"), options=["--dicom", f"127.0.0.1:{port}"])
            )
            orthanc_port = peers.free_port()
            orthanc = stack.enter_context(peers.orthanc(place(f"orthanc-{associations}"), dicom_port=orthanc_port))
            files_pid, files = stack.enter_context(storescp(place(f"storescp-{associations}")))

            def run(peer: Peer, associations: int = associations) -> Work:
                return send(peer, objects(series, next(rounds)), associations)

            own = Peer("127.0.0.1", port, "NEARFRAME", "BENCH")
            theirs = Peer("127.0.0.1", orthanc_port, "ORTHANC", "BENCH")
            name = f"C-STORE 0.5 MB, {associations} association{'s' if associations > 1 else ''}"
            for peer_name, pid, peer, bar in (
                ("Orthanc", orthanc.pid, theirs, 1.5),
                ("storescp", files_pid, files, None),
            ):
                against = compare(
                    name,
                    (ours.name, ours.pid, partial(run, own)),
                    (peer_name, pid, partial(run, peer)),
                    pairs=pairs,
                    unit="instance",
                    settle=True,
                )
                yield rate_row(against, at_least=bar)
                yield cpu_row(against)


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
