"""A consultation replayed three ways: ``python -m bench.consult [DATA] [--quick] [--json]``.

The workload is fixed (``bench/consult.json``, see `bench.workload`): a new study, two priors,
corrections, re-sends and photographs, two readers at the clinic. It is replayed against the
origin over the thin line, through nginx with ``proxy_cache``, and through an edge; each time
with an origin that begins empty. Readers keep what they were sent, as browsers do, and ask
whether it still holds. nginx asks about what is older than a second, so that corrections show.

Counted are all bytes that pass the bottleneck, in both directions, whoever caused them, and
the time of each frame from request to last byte.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import network, peers
from bench.bottleneck import Line
from bench.caches import nginx_cache
from bench.harness import median_interval
from bench.network import FAR_ADDRESS, WIDE, Network
from bench.reader import FRAMES, JSON, Reader
from bench.studies import studies_folder
from bench.workload import WORKLOAD, Step, Workload, corrected, read_workload, write

ORIGIN, NGINX, EDGE = "origin direct", "nginx proxy_cache", "edge"
COLUMNS: Final = (ORIGIN, NGINX, EDGE)
#: What of the origin's figure an edge may need: bytes over the line, mean time of a frame.
BYTES_AT_MOST: Final = 1 - 0.62
TIME_AT_MOST: Final = 1 - 0.38
_PATIENCE_S: Final = 600.0


@dataclass(slots=True)
class Replayed:
    """One replay.

    Attributes
    ----------
    frame_bytes
        Of the frames that the reader was sent.
    frame_ms
        For each frame asked for, its time to the last byte.
    opening_ms
        For each study opened, the time of its metadata.
    """

    line_bytes: int = 0
    frame_ms: list[float] = field(default_factory=list)
    opening_ms: list[float] = field(default_factory=list)
    frame_bytes: int = 0

    @property
    def figures(self) -> dict[str, float]:
        return {
            "bytes over the line": self.line_bytes,
            "frame, mean ms": statistics.mean(self.frame_ms),
            "frame, p95 ms": statistics.quantiles(self.frame_ms, n=20)[-1],
            "metadata of a study, mean ms": statistics.mean(self.opening_ms),
        }


@dataclass(slots=True)
class _Seat:
    """A reader at work: a connection, and what it was sent before, by path."""

    reader: Reader
    etags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


class Replay:
    """Plays a workload once, against one way to read."""

    def __init__(self, line: Network, workload: Workload, folder: Path, origin: peers.Server, url: str) -> None:
        self._network = line
        self._workload = workload
        self._folder = folder
        self._origin = origin
        self._url = url
        self._seats: dict[str, _Seat] = {}
        self._sent = 0
        self.result = Replayed()

    def run(self) -> Replayed:
        """Play every step; the line is as thin as the workload says."""
        self._network.shape(Line(self._workload.megabits * 1e6, self._workload.round_trip_s))
        before = self._network.traffic()
        for step in self._workload.steps:
            self.play(step)
        self.result.line_bytes = self._network.traffic().since(before).bytes
        for seat in self._seats.values():
            seat.reader.close()
        return self.result

    def play(self, step: Step) -> None:
        """Let one thing happen."""
        match step.verb:
            case "archive" | "resend":
                self._store(self._workload.sets[step.what])
            case "correct":
                self._store([corrected(file) for file in self._workload.sets[step.what]])
            case "pause_s":
                time.sleep(float(step.what))
            case "open":
                for study in self._workload.studies[step.what]:
                    self._open(self._seat(step.by), study)

    def _store(self, files: Sequence[bytes]) -> None:
        """Send the archive objects from within its own site, and let it do what it does with them."""
        self._sent += 1
        folder = write(files, self._folder / f"sent-{self._sent}")
        enter = self._network.far.enter
        subprocess.run([*enter, sys.executable, "-m", "bench.load", self._origin.url, str(folder)], check=True)
        command = [*enter, sys.executable, "-m", "bench.consult", "--wait-for", self._origin.url]
        subprocess.run(command, check=True)

    def _seat(self, name: str) -> _Seat:
        if name not in self._seats:
            self._seats[name] = _Seat(Reader(self._url))
        return self._seats[name]

    def _open(self, seat: _Seat, study: str) -> None:
        path = f"/studies/{study}/metadata"
        held = {"If-None-Match": seat.etags[path]} if path in seat.etags else {}
        taken = seat.reader.get(path, JSON, headers=held)
        self.result.opening_ms.append(taken.whole_s * 1e3)
        if taken.status == 200:
            seat.metadata[study] = json.loads(taken.body)
            seat.etags[path] = taken.headers.get("ETag", "")
        elif taken.status != 304:
            raise RuntimeError(f"metadata: {taken.status}")
        for frame in _frames(study, seat.metadata[study]):
            self._look_at(seat, frame)

    def _look_at(self, seat: _Seat, path: str) -> None:
        held = {"If-None-Match": seat.etags[path]} if path in seat.etags else {}
        taken = seat.reader.get(path, FRAMES, headers=held)
        if taken.status not in (200, 304):
            raise RuntimeError(f"a frame: {taken.status}")
        self.result.frame_ms.append(taken.whole_s * 1e3)
        self.result.frame_bytes += len(taken.body)
        if etag := taken.headers.get("ETag"):
            seat.etags[path] = etag


def _frames(study: str, metadata: list[dict[str, Any]]) -> Iterator[str]:
    for one in metadata:
        if "7FE00010" not in one:
            continue
        series, instance = (one[tag]["Value"][0] for tag in ("0020000E", "00080018"))
        for number in range(1, int(one.get("00280008", {}).get("Value", [1])[0]) + 1):
            yield f"/studies/{study}/series/{series}/instances/{instance}/frames/{number}"


def wait_for_background(url: str) -> None:
    """Return once an origin has done what it does behind its answers: renditions for one."""
    reader = Reader(url.removesuffix("/dicomweb"))
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if all(job["lag"] == 0 for job in reader.json("/api/status")["background"].values()):
            return
        time.sleep(0.1)
    raise RuntimeError("the origin's background work does not end")


def replay(line: Network, workload: Workload, folder: Path, column: str) -> Replayed:
    """Start an empty origin and one way to read it, and play the workload."""
    line.shape(WIDE)
    with contextlib.ExitStack() as stack:
        tls = peers.self_signed(folder / "tls", FAR_ADDRESS)
        quiet = ("--no-perceptual",)
        origin = stack.enter_context(peers.origin(folder / "origin", tls=tls, options=quiet, place=line.far))
        server = origin
        if column == NGINX:
            server = stack.enter_context(nginx_cache(folder / "nginx", origin, tls, fresh="1s"))
        if column == EDGE:
            server = stack.enter_context(peers.edge(folder / "edge", origin, tls=tls, options=quiet))
        return Replay(line, workload, folder, origin, server.url).run()


def tell(found: dict[str, list[dict[str, float]]]) -> bool:
    """Print medians by column, and what each saves against the origin; return whether the edge saves enough."""
    print(f"{'':32}" + "".join(f"{column:>20}" for column in COLUMNS) + f"{'nginx / origin':>24}{'edge / origin':>24}")
    holds = True
    for name in found[ORIGIN][0]:
        cells = "".join(f"{statistics.median(one[name] for one in found[column]):>20,.0f}" for column in COLUMNS)
        ratios = {}
        for column in (NGINX, EDGE):
            pairs = zip(found[column], found[ORIGIN], strict=True)
            ratios[column] = median_interval([ours[name] / theirs[name] for ours, theirs in pairs])
        bar = {"bytes over the line": BYTES_AT_MOST, "frame, mean ms": TIME_AT_MOST}.get(name)
        verdict = ""
        if bar is not None:
            verdict = f"  <= {bar:.2f}: {'holds' if ratios[EDGE][0] <= bar else 'MISSED'}"
            holds = holds and ratios[EDGE][0] <= bar
        shown = (f"{median:.2f} [{low:.2f}, {high:.2f}]" for median, low, high in ratios.values())
        print(f"{name:32}{cells}" + "".join(f"{one:>24}" for one in shown) + verdict)
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=studies_folder(), help="folder of real studies")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one round, to see that it runs: no figures")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--wait-for", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.wait_for:
        wait_for_background(options.wait_for)
        return 0
    if options.data is None:
        print("python -m bench.consult needs the folder of real studies: name it, or set NEARFRAME_TEST_DATA")
        return 0
    network.move_in("bench.consult")
    workload = read_workload(WORKLOAD, options.data)
    found: dict[str, list[dict[str, float]]] = {column: [] for column in COLUMNS}
    rounds = 1 if options.quick else options.rounds
    with network.two_sites() as line:
        for number in range(rounds):
            turn = number % len(COLUMNS)
            for column in COLUMNS[turn:] + COLUMNS[:turn]:
                with tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder:
                    found[column].append(replay(line, workload, Path(folder), column).figures)
            print(f"  round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    return 0 if tell(found) or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
