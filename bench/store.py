"""What a sealed frame costs: append, group sync, read from the page cache, restart, scrub, compaction.

    python -m bench.store [--frames N] [--size BYTES] [--contents N] [--tuned] [--home DIR]

Figures are medians of single operations, in microseconds of CPU time of the calling thread
(what waits for the disk: of wall time), beside what the same bytes cost without a store:
`pread`, SHA-256, AES-256-GCM.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nearframe.ids import sha256
from nearframe.listener.allocator import tune_allocator
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import ContentKind, StudyRef
from nearframe.units import format_size

STUDY = StudyRef("main", "1.2.3")
SETTINGS = PackSettings(reserve_bytes=0)


def microseconds(
    operation: Callable[[int], object], times: int, clock: Callable[[], float] = time.thread_time
) -> tuple[float, float]:
    """Return median and 95th percentile of one operation."""
    taken = []
    for number in range(times):
        start = clock()
        operation(number)
        taken.append((clock() - start) * 1e6)
    return statistics.median(taken), statistics.quantiles(taken, n=20)[18]


def line(name: str, median: float, p95: float | None = None, note: str = "") -> None:
    tail = "" if p95 is None else f"  p95 {p95:9.1f}"
    print(f"{name:<44}{median:10.1f} us{tail}  {note}")


def floor(size: int) -> None:
    """Print what the parts cost alone."""
    data, key, nonce = os.urandom(size), AESGCM(bytes(32)), bytes(12)
    sealed = key.encrypt(nonce, data, b"")
    with tempfile.TemporaryFile() as file:
        file.write(sealed)
        file.flush()
        line("floor: pread", *microseconds(lambda _: os.pread(file.fileno(), len(sealed), 0), 500))
    line("floor: SHA-256", *microseconds(lambda _: sha256(data), 500))
    line("floor: AES-256-GCM seal", *microseconds(lambda _: key.encrypt(nonce, data, b""), 500))
    line("floor: AES-256-GCM open", *microseconds(lambda _: key.decrypt(nonce, sealed, b""), 500))


def frames(home: Path, count: int, size: int) -> None:
    """Print the cost of frames of one size."""
    store = PackStore(home, SETTINGS)
    datas = [os.urandom(size) for _ in range(count)]
    digests = [sha256(data) for data in datas]
    mark = store.mark()

    def append(number: int) -> None:
        store.append(STUDY, ContentKind.FRAME, digests[number], size, [datas[number]])

    def append_and_sync(number: int) -> None:
        data = datas[number][:-8] + number.to_bytes(8, "big")
        store.append(STUDY, ContentKind.FRAME, sha256(data), size, [data])
        store.sync(mark)

    line("append (digest known)", *microseconds(append, count))
    start = time.perf_counter()
    store.sync(mark)
    line(f"sync of {format_size(count * size)}", (time.perf_counter() - start) * 1e6)
    line("append and sync, alone", *microseconds(append_and_sync, min(count, 200), time.perf_counter))
    _grouped(store, size)
    store.flush()
    order = random.Random(1).sample(digests, k=min(2000, count))
    line("read_nowait, random", *microseconds(lambda n: store.read_nowait(STUDY, order[n]), len(order)))
    line("read_nowait, found lately", *microseconds(lambda n: store.read_nowait(STUDY, order[n]), len(order)))
    line("read, random", *microseconds(lambda n: store.read(STUDY, order[n]), len(order)))
    line("size_of", *microseconds(lambda n: store.size_of(STUDY, order[n]), len(order)))
    line("append of a held content", *microseconds(append, count))
    _scrub_and_compact(store, digests)
    store.close()


def _grouped(store: PackStore, size: int) -> None:
    """Eight senders at a time, each syncing after every frame."""
    mark = store.mark()

    def send(number: int) -> None:
        data = os.urandom(size)
        store.append(STUDY, ContentKind.FRAME, sha256(data), size, [data])
        store.sync(mark)

    with ThreadPoolExecutor(8) as senders:
        start = time.perf_counter()
        list(senders.map(send, range(400)))
        line("append and sync, of 8 senders", (time.perf_counter() - start) * 1e6 / 400)


def _scrub_and_compact(store: PackStore, digests: Sequence[bytes]) -> None:
    start = time.perf_counter()
    report = store.scrub()
    seconds = time.perf_counter() - start
    print(f"{'scrub':<44}{report.read_bytes / seconds / 1e6:10.0f} MB/s")
    store.release(STUDY, digests[::2])
    store.sync(store.mark())
    before = store.stats().stored_bytes
    start = time.perf_counter()
    done = store.compact(1.0)
    seconds = time.perf_counter() - start
    print(f"{'compaction':<44}{before / seconds / 1e6:10.0f} MB/s  {done.removed} packs into {done.written}")


def restart(home: Path, count: int) -> None:
    """Print the time from start to the first read, after a clean stop, a crash, and without an index."""
    store = PackStore(home, SETTINGS)
    mark = store.mark()
    datas = [number.to_bytes(8, "big") * 25 for number in range(count)]
    studies = [StudyRef("main", f"1.2.{number}") for number in range(max(count // 1000, 1))]
    start = time.perf_counter()
    for number, data in enumerate(datas):
        store.append(studies[number // 1000 % len(studies)], ContentKind.FRAME, sha256(data), len(data), [data])
    store.sync(mark)
    per_content = (time.perf_counter() - start) * 1e6 / count
    line(f"append of {count} contents of 200 bytes", per_content)
    store.close()

    def first_read(name: str) -> PackStore:
        start = time.perf_counter()
        opened = PackStore(home, SETTINGS)
        opened.read(studies[0], sha256(datas[0]))
        line(name, (time.perf_counter() - start) * 1e6, note=f"{opened.recovered.records} records read again")
        return opened

    store = first_read(f"start to first read, {count} contents")
    for number in range(4000):
        data = b"late" + number.to_bytes(8, "big") * 25
        store.append(studies[0], ContentKind.FRAME, sha256(data), len(data), [data])
    store.sync(store.mark())
    store.abandon()
    first_read("start after a crash").close()
    for file in (home / "packs" / "index").iterdir():
        file.unlink()
    first_read("start without an index").close()
    index = sum(file.stat().st_blocks * 512 for file in (home / "packs" / "index").iterdir())
    print(f"{'index':<44}{index / count:10.0f} bytes a content")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--size", type=int, default=200_000)
    parser.add_argument("--contents", type=int, default=200_000)
    parser.add_argument("--tuned", action="store_true", help="with the allocator tuned, as nodes run")
    parser.add_argument("--home", type=Path, help="where to put the store, a new folder; default: in TMPDIR")
    arguments = parser.parse_args()
    if arguments.tuned:
        tune_allocator()
    with tempfile.TemporaryDirectory(dir=arguments.home) as folder:
        floor(arguments.size)
        frames(Path(folder) / "frames", arguments.frames, arguments.size)
        if arguments.contents:
            restart(Path(folder) / "restart", arguments.contents)


if __name__ == "__main__":
    main()
