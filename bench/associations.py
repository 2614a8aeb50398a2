"""Peak memory of every process of the origin while many associations bring large objects at once.

``python -m bench.associations``: 50 associations, each with an object of 100 MB, all begun before any ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import struct
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from bench import corpus, peers
from bench.harness import PeakMemory
from nearframe.dimse.scu import Peer, User, associate
from nearframe.dimse.status import Status

BAR_MIB: Final = 256
_ENHANCED_CT: Final = "1.2.840.10008.5.1.4.1.1.2.1"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_META_LENGTH_AT: Final = 140
_CHUNK_BYTES: Final = 1 << 18
_AFTERWARDS_S: Final = 3.0  # the background work that follows counts too


async def data_set(path: Path, number: int) -> AsyncIterator[bytes]:
    """Yield the data set of a file, with UIDs and a last sample of its own."""
    label = b"%d" % (10**9 + number)
    with path.open("rb") as source:
        source.seek(_META_LENGTH_AT)
        (length,) = struct.unpack("<I", source.read(4))
        source.seek(length, 1)
        left = path.stat().st_size - source.tell() - 2
        yield (head := source.read(_CHUNK_BYTES)).replace(corpus.ROUND, label)
        left -= len(head)
        while left > 0:
            yield (chunk := source.read(min(left, _CHUNK_BYTES)))
            left -= len(chunk)
    yield struct.pack("<H", number)


async def send(peer: Peer, series: corpus.Series, associations: int) -> list[int]:
    """Store an object on each of some associations at once, and return the answers."""
    async with contextlib.AsyncExitStack() as stack:
        contexts = [(_ENHANCED_CT, (_EXPLICIT,))]
        users = [await stack.enter_async_context(associate(peer, contexts)) for _ in range(associations)]
        return await asyncio.gather(*(_store(user, series, number) for number, user in enumerate(users)))


async def _store(user: User, series: corpus.Series, number: int) -> int:
    uid = series.instances[0].replace(corpus.ROUND.decode(), str(10**9 + number))
    return (await user.store(_ENHANCED_CT, uid, _EXPLICIT, data_set(series.files[0], number))).status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--associations", type=int, default=50)
    parser.add_argument("--frames", type=int, default=100, help="of 1 MB each, in each object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
        series = corpus.noise_multiframe(Path(folder, "large"), 1, options.frames, 724, "1000")
        port = peers.free_port()
        dicom = ["--dicom", f"127.0.0.1:{port}"]
        with peers.origin(Path(folder, "origin"), options=dicom) as server, PeakMemory(server.pid) as memory:
            start = time.perf_counter()
            peer = Peer("127.0.0.1", port, "NEARFRAME", "BENCH")
            answers = asyncio.run(send(peer, series, options.associations))
            seconds = time.perf_counter() - start
            time.sleep(_AFTERWARDS_S)
        size = series.files[0].stat().st_size * options.associations
    stored = answers.count(Status.SUCCESS)
    print(
        f"{stored} of {options.associations} objects, {size / 1e6:.0f} MB together, stored in {seconds:.1f} s "
        f"({size / 1e6 / seconds:.0f} MB/s); {memory} (bar {BAR_MIB} MiB)"
    )
    return 0 if stored == options.associations and memory.holds(BAR_MIB) else 1


if __name__ == "__main__":
    raise SystemExit(main())
