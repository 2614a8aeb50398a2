"""The listener alone against nginx: 2 000 random 200 KB frames, decrypted at rest, over TLS 1.3.

Our side is the smallest application that does the work: find the record, open it
(AES-256-GCM), send it. What the archive's own routes add is measured by ``bench.archive
tls``. Rows without a bar split the cost: a body kept in memory (HTTP and TLS only), and the
allocator as it comes.

    python -m bench.listener [--pairs 9]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import mmap
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from starlette.types import Receive, Scope, Send

from bench import load, peers
from bench.harness import Row, Work, compare, cpu_row, report
from bench.nginx import nginx_files
from nearframe.listener import Listener, TLSFiles, tune_allocator
from nearframe.metrics import Metrics
from nearframe.settingkinds import Address

FRAMES: Final = 2_000
FRAME_BYTES: Final = 204_800
RECORD_BYTES: Final = FRAME_BYTES + 16  # and the tag
KEY: Final = b"k" * 32
HEADERS: Final = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % FRAME_BYTES)]


class Frames:
    """Serves ``/<number>`` from a file of sealed records, or one body from memory."""

    def __init__(self, records: Path, *, in_memory: bool) -> None:
        self._cipher = AESGCM(KEY)
        with records.open("rb") as file:
            self._records = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        self._kept = self._open(0) if in_memory else None

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        body = self._kept or self._open(int(scope["path"][1:] or 0))
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": body})

    def _open(self, number: int) -> bytes:
        record = self._records[number * RECORD_BYTES : (number + 1) * RECORD_BYTES]
        return self._cipher.decrypt(number.to_bytes(12), record, None)


def serve(records: Path, port: int, tls: TLSFiles, *, in_memory: bool, untuned: bool) -> None:
    """Run our side until SIGTERM."""
    if not untuned:
        tune_allocator()

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        app = Frames(records, in_memory=in_memory)
        listener = Listener(app, Address("127.0.0.1", port), metrics=Metrics(), tls=tls, hosts=["127.0.0.1"])
        await listener.start()
        await stop.wait()
        await listener.stop()

    uvloop.run(run())


def write_frames(folder: Path) -> Path:
    """Write the same frames as files for nginx and as one file of sealed records for us; return the latter."""
    cipher, noise, records = AESGCM(KEY), random.Random(1), folder / "records"
    (folder / "files").mkdir()
    with records.open("wb") as sealed:
        for number in range(FRAMES):
            frame = noise.randbytes(FRAME_BYTES)
            (folder / "files" / str(number)).write_bytes(frame)
            sealed.write(cipher.encrypt(number.to_bytes(12), frame, None))
    return records


def ask(server: peers.Server, protocol: str) -> Work:
    """Ask for random frames for about two seconds."""
    paths = [f"/{number}" for number in range(FRAMES)]
    if protocol == "HTTP/1.1":
        return load.wrk(server.url, paths, accept="*/*", connections=32)
    random.Random(2).shuffle(paths)
    return load.h2load(server.url, paths, accept="*/*", requests=3 * FRAMES)


@contextlib.contextmanager
def ours(folder: Path, records: Path, certificate: tuple[Path, Path], *options: str) -> Iterator[peers.Server]:
    """Run this file as a server."""
    port = peers.free_port()
    command = [sys.executable, "-m", "bench.listener", "--serve", str(records), "--port", str(port)]
    command += ["--tls", str(certificate[0]), str(certificate[1]), *options]
    url = f"https://127.0.0.1:{port}"
    with peers.running(command, f"{url}/0", folder / "log") as pid:
        yield peers.Server("nearframe", pid, url)


def measure(folder: Path, pairs: int) -> Iterator[Row]:
    """Compare each variant with nginx."""
    records = write_frames(folder)
    certificate = peers.self_signed(folder / "tls")
    with nginx_files(folder / "nginx", folder / "files", certificate) as nginx:
        for name, options, bars in (
            ("frame 200 KB, opened at rest", [], {"HTTP/1.1": 1.0, "HTTP/2": 1.3}),
            ("frame 200 KB from memory", ["--in-memory"], {"HTTP/1.1": None}),
            ("frame 200 KB, allocator untuned", ["--untuned"], {"HTTP/1.1": None}),
        ):
            with ours(folder, records, certificate, *options) as server:
                for protocol, bar in bars.items():
                    yield cpu_row(
                        compare(
                            f"{name}, {protocol}",
                            (server.name, server.pid, partial(ask, server, protocol)),
                            (nginx.name, nginx.pid, partial(ask, nginx, protocol)),
                            pairs=pairs,
                        ),
                        at_most=bar,
                    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--tls", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--in-memory", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--untuned", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        tls = TLSFiles(*options.tls)
        serve(options.serve, options.port, tls, in_memory=options.in_memory, untuned=options.untuned)
        return 0
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
        rows = list(measure(Path(folder), options.pairs))
    report(rows, as_json=options.json)
    return 0 if all(row.holds is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
