"""The archive against Orthanc + DICOMweb and nginx: ``python -m bench.archive [--quick] [--json] [WORKLOAD ...]``.

Everything runs on this machine: servers, load generators and disk. Each workload runs in
interleaved pairs on the same bytes; the figure with a bar is the ratio of server CPU per
request (or of stored instances per second), as median with its interval.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import corpus, load, peers
from bench.harness import Comparison, Row, Work, compare, cpu_row, rate_row, report
from bench.nginx import nginx_files

#: Uncompressed frames, the one form that every server here can serve without transcoding.
FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
FRAMES_ORTHANC = 'multipart/related; type="application/octet-stream"'
JSON = "application/dicom+json"


@dataclass(slots=True)
class Bench:
    """Where things lie and how long to run."""

    folder: Path
    pairs: int
    seconds: int

    def place(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def frame_path(series: corpus.Series, instance: str, frame_number: int = 1) -> str:
    """Return the path of a frame below the DICOMweb root."""
    return f"/studies/{series.study}/series/{series.series}/instances/{instance}/frames/{frame_number}"


def put(server: peers.Server, series: corpus.Series) -> None:
    """Store a series."""
    for path in series.files:
        load.store(server.url, [load.multipart([path.read_bytes()])], connections=1, instances=1)


def bodies(series: corpus.Series, round_number: int, together: int = 1) -> list[bytes]:
    """Return STOW bodies with UIDs and pixels that no earlier round used."""
    made = corpus.anew(series, round_number)
    return [load.multipart(made[start : start + together]) for start in range(0, len(made), together)]


def with_base(base: str, paths: list[str]) -> list[str]:
    """wrk takes absolute paths: prefix the path of the server's root."""
    from urllib.parse import urlsplit

    prefix = urlsplit(base).path
    return [prefix + path for path in paths]


def frames(bench: Bench) -> Iterator[Row]:
    """8, 128 and 512 KB frames over HTTP/1.1 without TLS, against Orthanc and nginx."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(peers.origin(bench.place("frames-ours"), options=["--no-renditions"]))
        orthanc = stack.enter_context(peers.orthanc(bench.place("frames-orthanc")))
        static = bench.place("frames-static")
        nginx = stack.enter_context(nginx_files(bench.place("frames-nginx"), static))
        for kilobytes, size in ((8, 64), (128, 256), (512, 512)):
            series = corpus.ct_series(bench.place(f"ct{size}"), 100, size, str(size))
            put(ours, series)
            put(orthanc, series)
            paths = [frame_path(series, instance) for instance in series.instances]
            for number, path in enumerate(series.files):
                (static / f"{kilobytes}-{number}").write_bytes(path.read_bytes()[-size * size * 2 :])
            plain = [f"/{kilobytes}-{number}" for number in range(len(paths))]

            def ask(server: peers.Server, listing: list[str], accept: str) -> Callable[[], Work]:
                return lambda: load.wrk(
                    server.url, with_base(server.url, listing), accept=accept, seconds=bench.seconds
                )

            us = (ours.name, ours.pid, ask(ours, paths, FRAMES))
            against = compare(
                f"frame {kilobytes} KB, HTTP/1.1",
                us,
                ("Orthanc", orthanc.pid, ask(orthanc, paths, FRAMES_ORTHANC)),
                pairs=bench.pairs,
            )
            yield cpu_row(against, at_least=4)
            yield rate_row(against)
            yield cpu_row(
                compare(
                    f"frame {kilobytes} KB, HTTP/1.1",
                    us,
                    ("nginx", nginx.pid, ask(nginx, plain, "*/*")),
                    pairs=bench.pairs,
                )
            )


#: Of the frames asked for at random: as a node comes, and with none of them kept in memory.
_OPENED = {"": [], ", each opened anew": ["--frame-memory-bytes", "0"]}


def tls(bench: Bench) -> Iterator[Row]:
    """2 000 random 200 KB frames over TLS 1.3: ours are sealed at rest, nginx sends files."""
    certificate = peers.self_signed(bench.place("tls"))
    series = corpus.noise_multiframe(bench.place("noise"), 20, 100, 320, "320")
    home, quiet = bench.place("tls-ours"), ["--no-renditions", "--no-perceptual"]
    with contextlib.ExitStack() as stack:
        put(stack.enter_context(peers.origin(home, options=quiet)), series)
    static = bench.place("tls-static")
    plain = []
    for number, path in enumerate(series.files):
        whole = path.read_bytes()[-100 * 204800 :]
        for frame in range(100):
            (static / f"{number}-{frame}").write_bytes(whole[frame * 204800 : (frame + 1) * 204800])
            plain.append(f"/{number}-{frame}")
    paths = [frame_path(series, instance, frame) for instance in series.instances for frame in range(1, 101)]
    for opened, options in _OPENED.items():
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(peers.origin(home, tls=certificate, options=[*quiet, *options]))
            nginx = stack.enter_context(nginx_files(bench.place("tls-nginx"), static, certificate))
            for protocol, bar in (("HTTP/1.1", 1.0), ("HTTP/2", 1.3)):
                yield cpu_row(
                    compare(
                        f"frame 200 KB, TLS 1.3, {protocol}{opened}",
                        (ours.name, ours.pid, partial(_ask, bench, protocol, ours, paths, FRAMES)),
                        ("nginx", nginx.pid, partial(_ask, bench, protocol, nginx, plain, "*/*")),
                        pairs=bench.pairs,
                    ),
                    at_most=bar,
                )


def _ask(bench: Bench, protocol: str, server: peers.Server, listing: list[str], accept: str) -> Work:
    if protocol == "HTTP/1.1":
        listed = with_base(server.url, listing)
        return load.wrk(server.url, listed, accept=accept, connections=16, seconds=bench.seconds)
    shuffled = listing[::7] + listing[1::7] + listing[2::7]
    return load.h2load(server.url, shuffled, accept=accept, requests=int(1500 * bench.seconds))


def metadata(bench: Bench) -> Iterator[Row]:
    """Metadata and QIDO of a 600-instance series; a frame of an 88-frame, 92 MB object."""
    series = corpus.ct_series(bench.place("ct600"), 600, 128, "600")
    large = corpus.noise_multiframe(bench.place("large"), 1, 88, 724, "88")
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(peers.origin(bench.place("meta-ours"), options=["--no-renditions"]))
        orthanc = stack.enter_context(peers.orthanc(bench.place("meta-orthanc")))
        for server in (ours, orthanc):
            put(server, series)
            put(server, large)
        root = f"/studies/{series.study}/series/{series.series}"
        picture = frame_path(large, large.instances[0], 44)
        workloads = (
            ("metadata of 600 instances", root + "/metadata", JSON, JSON, 3, 200, 50),
            ("QIDO 600 instances", root + "/instances?limit=1000", JSON, JSON, 3, 100, 20),
            ("frame of an 88-frame 92 MB object", picture, FRAMES, FRAMES_ORTHANC, 4, 400, 100),
        )
        for name, path, accept, accept_orthanc, times_orthanc, times_ours, bar in workloads:
            against = compare(
                name,
                (
                    ours.name,
                    ours.pid,
                    partial(load.one_by_one, ours.url, path, accept=accept, times=times_ours),
                ),
                (
                    "Orthanc",
                    orthanc.pid,
                    partial(load.one_by_one, orthanc.url, path, accept=accept_orthanc, times=times_orthanc),
                ),
                pairs=bench.pairs,
            )
            yield cpu_row(against, at_least=bar)
            yield rate_row(against)


def stow(bench: Bench) -> Iterator[Row]:
    """Store 0.5 MB instances: ours with fsync and renditions on, Orthanc with its default."""
    series = corpus.ct_series(bench.place("ct512"), 200, 512, "512")
    rounds = itertools.count(1)
    for connections, together in ((1, 1), (4, 1), (16, 1), (1, 10)):
        with contextlib.ExitStack() as stack:
            place = f"{connections}-{together}"
            ours = stack.enter_context(peers.origin(bench.place(f"stow-ours-{place}")))
            orthanc = stack.enter_context(peers.orthanc(bench.place(f"stow-orthanc-{place}")))

            def run(server: peers.Server, connections: int = connections, together: int = together) -> Work:
                made = bodies(series, next(rounds), together)
                return load.store(server.url, made, connections=connections, instances=len(series.files))

            against: Comparison = compare(
                f"STOW 0.5 MB, {together} a request, {connections} connection{'s' if connections > 1 else ''}",
                (ours.name, ours.pid, partial(run, ours)),
                ("Orthanc", orthanc.pid, partial(run, orthanc)),
                pairs=bench.pairs,
                unit="instance",
                settle=True,
            )
            yield rate_row(against, at_least=1.5)
            yield cpu_row(against)


WORKLOADS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "frames": frames,
    "tls": tls,
    "metadata": metadata,
    "stow": stow,
}


def versions() -> str:
    """Return the versions of what is compared."""
    out = []
    for command in (["Orthanc", "--version"], ["nginx", "-v"], ["wrk", "-v"], ["h2load", "--version"]):
        with contextlib.suppress(OSError):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            out.append((done.stdout + done.stderr).strip().splitlines()[0])
    plugin = subprocess.run(
        ["dpkg-query", "-W", "-f", "orthanc-dicomweb ${Version}", "orthanc-dicomweb"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "; ".join([*out, plugin.stdout.strip(), f"Python {sys.version.split()[0]}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="*", choices=[[], *WORKLOADS], help="default: all")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="three short pairs, to see that it runs: no figures")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
        bench = Bench(Path(folder), 3 if options.quick else options.pairs, 1 if options.quick else 2)
        for name in options.workload or WORKLOADS:
            print(f"running {name} …", file=sys.stderr)
            for row in WORKLOADS[name](bench):
                rows.append(row)
                print(f"  {row.name}: {row.ratio:.2f}x {row.bar}", file=sys.stderr, flush=True)
    if not options.json:
        print(versions())
    report(rows, as_json=options.json)
    return 0 if all(row.holds is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
