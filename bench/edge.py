"""What an edge costs beside the caches of the shelf: ``python -m bench.edge [--quick] [--json] [WORKLOAD ...]``.

All on this machine, the upstream too; what is asked for is held unless it says otherwise.

hits
    2 000 random 200 KB frames over TLS 1.3, opened from their seal: CPU of the edge per
    request beside Debian's nginx with ``proxy_cache``.
plain
    The same without TLS, beside nginx and Varnish.
waiters
    Twenty clients ask for one frame that is not held, of an upstream that takes 50 ms and then
    sends slowly: how long after the upstream's first byte do they see one.
studies
    Frames of 8 KB out of 10 000 studies, beside as many out of ten.
restart
    200 000 frames held, the edge killed and started: time to the first of them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import corpus, load, peers
from bench.archive import FRAMES, frame_path, with_base
from bench.caches import nginx_cache, varnish
from bench.harness import (
    Comparison,
    Row,
    Work,
    compare,
    cpu_row,
    cpu_seconds,
    median_interval,
    rate_row,
    report,
    wait_idle,
)
from bench.reader import Export, Reader
from bench.waiters import ask_together, slow_upstream

_QUIET: Final = ("--no-renditions", "--no-perceptual")
_CLIENTS: Final = 20
_LATE_S: Final = 0.2


@dataclass(slots=True)
class Bench:
    """Where things lie, how much of them there is, and how long to run."""

    folder: Path
    quick: bool
    pairs: int
    seconds: int
    studies: int = 10_000
    frames: int = 200_000
    rows: list[Row] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    missed: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def place(self, name: str) -> Path:
        path = self.folder / f"{name}-{next(self._numbers)}"
        path.mkdir(parents=True)
        return path

    def say(self, line: str, holds: bool | None = None) -> None:
        """Add a line to the report; without a bar `holds` is None."""
        self.lines.append(line + {None: "", True: "  holds", False: "  MISSED"}[holds])
        self.missed = self.missed or holds is False


@dataclass(frozen=True, slots=True)
class Frames:
    """An origin with frames, and their paths below the DICOMweb root."""

    origin: peers.Server
    paths: list[str]


@contextlib.contextmanager
def large_frames(bench: Bench) -> Iterator[Frames]:
    """An origin with 2 000 incompressible frames of 200 KB."""
    objects = 4 if bench.quick else 20
    series = corpus.noise_multiframe(bench.place("noise"), objects, 100, 320, "320")
    with peers.origin(bench.place("origin"), options=_QUIET) as origin:
        for path in series.files:
            load.store_files(origin.url, [path])
        yield Frames(origin, [frame_path(series, one, n) for one in series.instances for n in range(1, 101)])


def fill(server: peers.Server, paths: Sequence[str]) -> None:
    """Read everything once."""
    export = Export(server.url, paths, connections=4, headers={}, accept=FRAMES)
    export.start()
    export.wait()


def expect_hit(server: peers.Server, path: str) -> None:
    """Raise unless a frame comes from what the server holds."""
    taken = Reader(server.url).ok(path, FRAMES)
    said = f"{taken.headers.get('X-Cache', '')} {taken.headers.get('cache-status', '')}".lower()
    if "hit" not in said and int(taken.headers.get("Age", "0")) + len(taken.headers.get("X-Varnish", "").split()) < 2:
        raise RuntimeError(f"{server.name} does not hold {path}: {said}")


def hits(bench: Bench) -> None:
    """Frames over TLS, beside nginx."""
    tls = peers.self_signed(bench.place("tls"))
    with large_frames(bench) as frames, nginx_cache(bench.place("nginx"), frames.origin, tls) as nginx:
        fill(nginx, frames.paths)
        expect_hit(nginx, frames.paths[-1])
        home = bench.place("edge")
        for opened, options in (("", []), (", each opened anew", ["--frame-memory-bytes", "0"])):
            with peers.edge(home, frames.origin, tls=tls, options=options) as edge:
                _wait_followed(edge, frames.origin)
                fill(edge, frames.paths)
                expect_hit(edge, frames.paths[-1])
                for protocol, bar in (("HTTP/1.1", 1.0), ("HTTP/2", 1.3)):
                    against = compare(
                        f"200 KB, TLS 1.3, {protocol}{opened}",
                        (edge.name, edge.pid, partial(_ask, bench, protocol, edge, frames.paths)),
                        (nginx.name, nginx.pid, partial(_ask, bench, protocol, nginx, frames.paths)),
                        pairs=bench.pairs,
                    )
                    bench.rows += [cpu_row(against, at_most=bar), rate_row(against)]


def plain(bench: Bench) -> None:
    """Frames without TLS, beside nginx and Varnish."""
    with contextlib.ExitStack() as stack:
        frames = stack.enter_context(large_frames(bench))
        edge = stack.enter_context(peers.edge(bench.place("edge"), frames.origin))
        nginx = stack.enter_context(nginx_cache(bench.place("nginx"), frames.origin))
        shelf = stack.enter_context(varnish(bench.place("varnish"), frames.origin))
        _wait_followed(edge, frames.origin)
        for server in (edge, nginx, shelf):
            fill(server, frames.paths)
            expect_hit(server, frames.paths[-1])
        for peer in (nginx, shelf):
            against = compare(
                "200 KB, plain, HTTP/1.1",
                (edge.name, edge.pid, partial(_ask, bench, "HTTP/1.1", edge, frames.paths)),
                (peer.name, peer.pid, partial(_ask, bench, "HTTP/1.1", peer, frames.paths)),
                pairs=bench.pairs,
            )
            bench.rows += [cpu_row(against), rate_row(against)]


def _ask(bench: Bench, protocol: str, server: peers.Server, paths: list[str]) -> Work:
    if protocol == "HTTP/1.1":
        listed = with_base(server.url, paths)
        return load.wrk(server.url, listed, accept=FRAMES, connections=16, seconds=bench.seconds)
    shuffled = paths[::7] + paths[1::7] + paths[2::7]
    return load.h2load(server.url, shuffled, accept=FRAMES, requests=int(1500 * bench.seconds))


# -- waiters -----------------------------------------------------------------------------------


def waiters(bench: Bench) -> None:
    """First bytes of a frame that many ask for at once."""
    with contextlib.ExitStack() as stack:
        frames = stack.enter_context(large_frames(bench))
        upstream = stack.enter_context(slow_upstream(frames.origin))
        servers = [
            stack.enter_context(peers.edge(bench.place("edge"), upstream.server, options=["--no-prefetch"])),
            stack.enter_context(nginx_cache(bench.place("nginx"), upstream.server)),
            stack.enter_context(varnish(bench.place("varnish"), upstream.server)),
        ]
        _wait_followed(servers[0], frames.origin)
        fresh = iter(frames.paths[1:])
        for server in servers:
            # The first ever may cost more: a connection, and what is known of the study.
            ask_together(server.url, frames.paths[0], FRAMES, [0.0])
            upstream.first_bytes()
        together: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
        late: dict[str, list[float]] = {server.name: [] for server in servers}
        fetches = dict.fromkeys(together, 0)
        for _ in range(bench.pairs):
            path = next(fresh)
            for server in servers:
                seen = ask_together(server.url, path, FRAMES, [0.01 * n / _CLIENTS for n in range(_CLIENTS)])
                firsts = upstream.first_bytes()
                fetches[server.name] = max(fetches[server.name], len(firsts))
                waits = [(one.first_byte - firsts[0]) * 1e3 for one in seen]
                together[server.name].append((statistics.median(waits), max(waits)))
            path = next(fresh)
            for server in servers:
                seen = ask_together(server.url, path, FRAMES, [0.0] + [_LATE_S] * (_CLIENTS - 1))
                upstream.first_bytes()
                late[server.name].append(statistics.median((one.first_byte - one.asked) * 1e3 for one in seen[1:]))
    for name, found in together.items():
        middle, longest = _interval([pair[0] for pair in found]), _interval([pair[1] for pair in found])
        bench.say(
            f"{name:18} {_CLIENTS} clients at once, ms after the upstream's first byte: median client {middle}, "
            f"last {longest} (bar 5); fetches at most {fetches[name]}; joining {_LATE_S * 1e3:g} ms later, own wait "
            f"{_interval(late[name])}",
            statistics.median(pair[1] for pair in found) <= 5 if name == servers[0].name else None,
        )


def _interval(values: Sequence[float]) -> str:
    median, low, high = median_interval(values)
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"


def _wait_followed(edge: peers.Server, origin: peers.Server) -> None:
    there, here = (Reader(server.url.removesuffix("/dicomweb")) for server in (origin, edge))
    while here.json("/api/status")["upstream"]["cursor"] != there.json("/api/status")["feed"]["head"]:
        time.sleep(1)  # an edge of many studies has to count them to answer


# -- studies -----------------------------------------------------------------------------------


def studies(bench: Bench) -> None:
    """Small frames out of many studies, and as many out of few."""
    count, few = bench.studies, 10
    with peers.origin(bench.place("origin"), options=_QUIET) as origin:
        many = _one_slice_studies(bench, origin, count)
        dense = []
        for number in range(few):
            # Label and seed differ, so that UIDs and pixels do.
            series = corpus.ct_series(bench.place("few"), count // few, 64, f"5.{number}", seed=10**6 + number * count)
            load.store_files(origin.url, series.files, together=100)
            dense += [frame_path(series, instance) for instance in series.instances]
        with peers.edge(bench.place("edge"), origin) as edge:
            _wait_followed(edge, origin)
            for paths in (many, dense):
                fill(edge, paths)
            wait_idle(edge.pid)  # it asks for the renditions of each study for a minute after it came
            sides = [
                (name, edge.pid, partial(_ask, bench, "HTTP/1.1", edge, paths))
                for name, paths in ((f"{count} studies", many), (f"{few} studies", dense))
            ]
            against: Comparison = compare("8 KB, plain, HTTP/1.1: many studies", *sides, pairs=bench.pairs)
            bench.rows += [cpu_row(against, at_most=1.1), rate_row(against)]


def _one_slice_studies(bench: Bench, origin: peers.Server, count: int) -> list[str]:
    series = corpus.ct_series(bench.place("one"), 1, 64, "4")
    file, path = series.files[0].read_bytes(), frame_path(series, series.instances[0])
    labels = [b"%010d" % (10**9 + number) for number in range(count)]
    for start in range(0, count, 100):
        objects = [file.replace(corpus.ROUND, label)[:-10] + label for label in labels[start : start + 100]]
        load.store(origin.url, [load.multipart(objects)], connections=1, instances=len(objects))
    return [path.replace(corpus.ROUND.decode(), label.decode()) for label in labels]


# -- restart -----------------------------------------------------------------------------------


def restart(bench: Bench) -> None:
    """Time from starting the program to the first held frame."""
    objects, each = 20, bench.frames // 20
    series = corpus.noise_multiframe(bench.place("tiny"), objects, each, 16, "16")
    home = bench.place("edge")
    with peers.origin(bench.place("origin"), options=_QUIET) as origin:
        for path in series.files:
            load.store_files(origin.url, [path])
        with peers.edge(home, origin) as edge:
            _wait_followed(edge, origin)
            Reader(edge.url).ok(frame_path(series, series.instances[0]), FRAMES)
            status = Reader(edge.url.removesuffix("/dicomweb"))
            while (moved := status.json("/api/status")["moved"]["frames"]) < objects * each:
                time.sleep(0.5)
            os.killpg(edge.pid, signal.SIGKILL)
        taken, cpu = [], []
        for _ in range(bench.pairs):
            with _started(home, origin) as (url, start, process):
                taken.append(_first_hit(url, frame_path(series, series.instances[-1], each), start))
                cpu.append(cpu_seconds(process.pid))
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    bench.say(
        f"restart after kill -9 with {moved} frames held: {_interval(taken)} s to the first hit (bar 1 s), "
        f"start of the interpreter included; {_interval(cpu)} s of CPU",
        statistics.median(taken) < 1,
    )


@contextlib.contextmanager
def _started(home: Path, origin: peers.Server) -> Iterator[tuple[str, float, subprocess.Popen[bytes]]]:
    port = peers.free_port()
    command = [sys.executable, "-m", "nearframe", "edge", "--home", str(home / "home"), "--insecure"]
    command += ["--http", f"127.0.0.1:{port}", "--upstream", origin.url.removesuffix("/dicomweb")]
    with (home / "log").open("ab") as out:
        start = time.perf_counter()
        own: dict[str, Any] = {"env": peers.environment(), "start_new_session": True}
        with subprocess.Popen(command, stdout=out, stderr=out, **own) as process:
            yield f"http://127.0.0.1:{port}/dicomweb", start, process


def _first_hit(url: str, path: str, start: float) -> float:
    while time.perf_counter() - start < 60:
        with contextlib.suppress(OSError):
            reader = Reader(url)
            reader.ok(path, FRAMES)
            reader.close()
            return time.perf_counter() - start
        time.sleep(0.005)
    raise RuntimeError("the edge does not come back")


WORKLOADS: Final[dict[str, Callable[[Bench], None]]] = {
    "hits": hits,
    "plain": plain,
    "waiters": waiters,
    "studies": studies,
    "restart": restart,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="*", choices=[[], *WORKLOADS], help="default: all")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--studies", type=int, default=10_000, help="of the workload of that name")
    parser.add_argument("--frames", type=int, default=200_000, help="held before a restart")
    parser.add_argument("--quick", action="store_true", help="three short pairs, to see that it runs: no figures")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
        quick = options.quick
        pairs, seconds = (3, 1) if quick else (options.pairs, 2)
        studies, frames = (300, 2_000) if quick else (options.studies, options.frames)
        bench = Bench(Path(folder), quick, pairs, seconds, studies, frames)
        for name in options.workload or WORKLOADS:
            print(f"running {name} …", file=sys.stderr, flush=True)
            WORKLOADS[name](bench)
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in bench.rows], "lines": bench.lines}, indent=1))
    else:
        report(bench.rows)
        print("\n".join(bench.lines))
    missed = bench.missed or any(row.holds is False for row in bench.rows)
    return 1 if missed and not quick else 0


if __name__ == "__main__":
    sys.exit(main())
