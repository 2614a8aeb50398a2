"""Peak memory of every process of the origin while it takes in one large object: ``python -m bench.memory``."""

from __future__ import annotations

import argparse
import http.client
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bench import corpus, peers
from bench.harness import PeakMemory

BAR_MIB = 300


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a STOW body around a file, 1 MiB at a time."""
    yield b"--BENCH\r\nContent-Type: application/dicom\r\n\r\n"
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            yield chunk
    yield b"\r\n--BENCH--\r\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000, help="of 1 MB each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
        series = corpus.noise_multiframe(Path(folder, "large"), 1, options.frames, 724, "1000")
        path = series.files[0]
        with peers.origin(Path(folder, "origin")) as server, PeakMemory(server.pid) as memory:
            parts = urlsplit(server.url)
            connection = http.client.HTTPConnection(parts.netloc)
            start = time.perf_counter()
            connection.request(
                "POST",
                parts.path + "/studies",
                chunks(path),
                {"Content-Type": 'multipart/related; type="application/dicom"; boundary=BENCH'},
                encode_chunked=True,
            )
            answer = connection.getresponse()
            answer.read()
            seconds = time.perf_counter() - start
            time.sleep(3)  # the background work that follows counts too
        size = path.stat().st_size
    print(
        f"{size / 1e6:.0f} MB object stored with {answer.status} in {seconds:.1f} s ({size / 1e6 / seconds:.0f} MB/s); "
        f"{memory} (bar {BAR_MIB} MiB)"
    )
    return 0 if answer.status == 200 and memory.holds(BAR_MIB) else 1


if __name__ == "__main__":
    raise SystemExit(main())
