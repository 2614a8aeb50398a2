"""Load generators: wrk for HTTP/1.1, h2load for HTTP/2, and plain sockets for stores.

``python -m bench.load URL FOLDER`` stores a folder of files, from wherever it is started.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bench.harness import Work

_WRK_SCRIPT = """
local paths = {}
for line in io.lines("%(paths)s") do paths[#paths + 1] = line end
local accept = "%(accept)s"
math.randomseed(%(seed)d)
request = function()
  return wrk.format("GET", paths[math.random(#paths)], {["Accept"] = accept, ["Host"] = "%(host)s"})
end
done = function(summary, latency, requests)
  local bad = summary.errors.connect + summary.errors.read + summary.errors.write
            + summary.errors.status + summary.errors.timeout
  io.write(string.format('{"requests":%%d,"bytes":%%d,"us":%%d,"bad":%%d}\\n',
           summary.requests, summary.bytes, summary.duration, bad))
end
"""


def wrk(base: str, paths: Sequence[str], *, accept: str, connections: int = 8, seconds: int = 2, seed: int = 1) -> Work:
    """Ask for random `paths` over HTTP/1.1 keep-alive connections, one thread."""
    with tempfile.TemporaryDirectory() as folder:
        listing, script = Path(folder, "paths"), Path(folder, "wrk.lua")
        listing.write_text("\n".join(paths))
        parts = urlsplit(base)
        script.write_text(
            _WRK_SCRIPT % {"paths": listing, "accept": accept.replace('"', '\\"'), "seed": seed, "host": parts.netloc}
        )
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), base]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    counts = json.loads(done.stdout.strip().splitlines()[-1])
    if counts["bad"] or not counts["requests"]:
        raise RuntimeError(f"load on {base} saw errors: {counts}")
    return Work(counts["requests"], counts["us"] / 1e6, counts["bytes"])


def h2load(base: str, paths: Sequence[str], *, accept: str, requests: int, streams: int = 16) -> Work:
    """Ask for `paths` in turn over one HTTP/2 connection with `streams` concurrent streams."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listing:
        listing.write("\n".join(base + path for path in paths))
        listing.flush()
        command = ["h2load", "-n", str(requests), "-c", "1", "-m", str(streams), "-w", "20", "-W", "24"]
        command += ["-H", f"accept: {accept}", "-i", listing.name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    finished = re.search(r"finished in ([\d.]+)(ms|s),", done.stdout)
    status = re.search(r"status codes: (\d+) 2xx", done.stdout)
    if finished is None or status is None or int(status[1]) != requests:
        raise RuntimeError(f"load on {base} saw errors:\n{done.stdout}")
    seconds = float(finished[1]) / (1000 if finished[2] == "ms" else 1)
    return Work(requests, seconds)


def connect(url: str) -> http.client.HTTPConnection:
    """Return a connection to a server of ours, over TLS if its URL says so."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return http.client.HTTPConnection(parts.netloc, timeout=600)
    context = ssl._create_unverified_context()  # noqa: S323 - a certificate made a moment ago
    return http.client.HTTPSConnection(parts.netloc, context=context, timeout=600)


def one_by_one(base: str, path: str, *, accept: str, times: int) -> Work:
    """Ask for one path `times` times over one connection, reading every byte."""
    parts = urlsplit(base)
    connection = connect(base)
    received = 0
    start = time.perf_counter()
    for _ in range(times):
        connection.request("GET", parts.path + path, headers={"Accept": accept})
        answer = connection.getresponse()
        received += len(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
    return Work(times, time.perf_counter() - start, received)


def store(base: str, bodies: Sequence[bytes], *, connections: int, instances: int) -> Work:
    """POST the bodies, which hold `instances` together, over `connections` keep-alive connections."""
    parts = urlsplit(base)
    queue = list(enumerate(bodies))
    lock = threading.Lock()
    failures: list[str] = []

    def work() -> None:
        connection = connect(base)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            with lock:
                if not queue or failures:
                    return
                _, body = queue.pop()
            connection.request(
                "POST",
                parts.path + "/studies",
                body,
                {
                    "Content-Type": 'multipart/related; type="application/dicom"; boundary=BENCH',
                    "Accept": "application/dicom+json",
                },
            )
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                failures.append(f"{answer.status}: {text[:300]!r}")

    threads = [threading.Thread(target=work) for _ in range(connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if failures:
        raise RuntimeError(failures[0])
    return Work(instances, seconds)


def multipart(objects: Sequence[bytes]) -> bytes:
    """Wrap objects as one STOW-RS body."""
    head = b"--BENCH\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + part10 + b"\r\n" for part10 in objects) + b"--BENCH--\r\n"


def store_files(base: str, files: Sequence[Path], together: int = 25) -> None:
    """Store files, some in a request."""
    for start in range(0, len(files), together):
        objects = [path.read_bytes() for path in files[start : start + together]]
        store(base, [multipart(objects)], connections=1, instances=len(objects))


if __name__ == "__main__":
    store_files(sys.argv[1], sorted(Path(sys.argv[2]).iterdir()))
