"""Side-by-side measurement: interleaved pairs, CPU of whole process trees, median ratio with its interval.

A benchmark is two callables that do the same work against two servers. They run in turn,
A B A B ..., so that a machine whose speed drifts slows both; what is reported is the
median of the per-pair ratios and an interval from order statistics, never a single time.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import comb
from pathlib import Path

LONGEST_SETTLE_S = 60.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Work:
    """What one run did: requests answered, bytes received, wall seconds of the load generator."""

    requests: int
    seconds: float
    received_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one side."""

    cpu_us_per_request: float
    requests_per_second: float


@dataclass(slots=True)
class Comparison:
    """A pair of servers on one workload."""

    name: str
    ours: str
    peer: str
    unit: str
    pairs: list[tuple[Sample, Sample]] = field(default_factory=list)

    def ratios(self, of: Callable[[Sample], float]) -> list[float]:
        """Return ours / peer for each pair."""
        return [of(ours) / of(peer) for ours, peer in self.pairs]


def process_tree(pid: int) -> Iterator[int]:
    """Yield a process and its living descendants."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return  # it has just ended
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from process_tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Return user + system CPU of a process tree, finished children included."""
    ticks = 0
    for member in process_tree(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(value) for value in fields[11:15])
    return ticks / TICKS_PER_SECOND


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of a process tree."""
    total = 0
    for member in process_tree(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


class PeakMemory:
    """Watches the proportional set size of a process tree while the block runs.

    Attributes
    ----------
    idle_bytes, peak_bytes
        At the beginning, and the most there was.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.idle_bytes = self.peak_bytes = pss_bytes(pid)

    def __enter__(self) -> PeakMemory:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def holds(self, bar_mib: int) -> bool:
        """Return whether the peak is within a bar."""
        return self.peak_bytes <= bar_mib * 2**20

    def __str__(self) -> str:
        return f"PSS idle {self.idle_bytes / 2**20:.0f} MiB, peak {self.peak_bytes / 2**20:.0f} MiB"

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.peak_bytes = max(self.peak_bytes, pss_bytes(self._pid))


def sample(pid: int, run: Callable[[], Work], *, settle: bool = False) -> Sample:
    """Run a workload once and charge it the server's CPU.

    Parameters
    ----------
    settle
        Go on until the server rests: what it does behind the answers is charged too, and is
        not in the way of the next run, whosever that is.
    """
    before = cpu_seconds(pid)
    work = run()
    if settle:
        wait_idle(pid)
    used = cpu_seconds(pid) - before
    return Sample(used / work.requests * 1e6, work.requests / work.seconds)


def wait_idle(pid: int) -> None:
    """Return once a process tree has used hardly any CPU for half a second."""
    deadline = time.monotonic() + LONGEST_SETTLE_S
    used, quiet_looks = cpu_seconds(pid), 0
    while quiet_looks < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
        now = cpu_seconds(pid)
        quiet_looks = quiet_looks + 1 if now - used < 0.02 else 0
        used = now


def compare(
    name: str,
    ours: tuple[str, int, Callable[[], Work]],
    peer: tuple[str, int, Callable[[], Work]],
    *,
    pairs: int = 9,
    unit: str = "request",
    settle: bool = False,
) -> Comparison:
    """Run both sides `pairs` times in turn after one warm-up each; `settle` as in `sample`."""
    for _, pid, run in (ours, peer):
        sample(pid, run, settle=settle)
    result = Comparison(name, ours[0], peer[0], unit)
    for number in range(pairs):
        first, second = (ours, peer) if number % 2 == 0 else (peer, ours)
        one, other = (sample(pid, run, settle=settle) for _, pid, run in (first, second))
        result.pairs.append((one, other) if number % 2 == 0 else (other, one))
    return result


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the median and a distribution-free interval for it.

    The interval is the narrowest symmetric pair of order statistics that covers the
    median with at least `confidence` (binomial with p = 1/2); for nine values these are
    the second and the eighth.
    """
    ordered = sorted(values)
    n = len(ordered)
    below = 0.0
    rank = 0
    while rank < n // 2:
        below += comb(n, rank) / 2**n
        if 1 - 2 * below < confidence:
            break
        rank += 1
    low = max(rank - 1, 0)
    return statistics.median(ordered), ordered[low], ordered[n - 1 - low]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the report."""

    name: str
    ours: str
    peer: str
    measure: str
    ours_median: float
    peer_median: float
    ratio: float
    low: float
    high: float
    bar: str
    holds: bool | None


def cpu_row(comparison: Comparison, *, at_most: float | None = None, at_least: float | None = None) -> Row:
    """Report CPU per request. `at_most` bounds ours/peer; `at_least` bounds peer/ours ("times as fast")."""
    return _row(comparison, "CPU us", lambda s: s.cpu_us_per_request, at_most, at_least, invert=at_least is not None)


def rate_row(comparison: Comparison, *, at_least: float | None = None) -> Row:
    """Report requests per second; `at_least` bounds ours/peer."""
    return _row(comparison, "per s", lambda s: s.requests_per_second, None, at_least, invert=False)


def _row(
    comparison: Comparison,
    measure: str,
    of: Callable[[Sample], float],
    at_most: float | None,
    at_least: float | None,
    *,
    invert: bool,
) -> Row:
    ratios = comparison.ratios(of)
    ratio, low, high = median_interval([1 / value for value in ratios] if invert else ratios)
    bar, holds = "", None
    if at_most is not None:
        bar, holds = f"<= {at_most:g}x", ratio <= at_most
    if at_least is not None:
        bar, holds = f">= {at_least:g}x", ratio >= at_least
    return Row(
        comparison.name,
        comparison.ours,
        comparison.peer,
        measure,
        statistics.median(of(ours) for ours, _ in comparison.pairs),
        statistics.median(of(peer) for _, peer in comparison.pairs),
        ratio,
        low,
        high,
        bar,
        holds,
    )


def report(rows: Sequence[Row], *, as_json: bool = False) -> None:
    """Print the rows; the ratio column is the one with a bar."""
    if as_json:
        json.dump([asdict(row) for row in rows], sys.stdout, indent=2)
        print()
        return
    print(
        f"{'workload':44} {'peer':16} {'measure':8} {'ours':>11} {'peer':>11} {'ratio':>8} {'95 % of median':>18} bar"
    )
    for row in rows:
        verdict = "" if row.holds is None else ("  holds" if row.holds else "  MISSED")
        print(
            f"{row.name:44} {row.peer:16} {row.measure:8} {row.ours_median:11.1f} {row.peer_median:11.1f} "
            f"{row.ratio:7.2f}x {row.low:8.2f}-{row.high:<9.2f} {row.bar}{verdict}"
        )


def timed(work: Callable[[], tuple[int, int]]) -> Work:
    """Run `work`, which returns requests and bytes, and take its wall time."""
    start = time.perf_counter()
    requests, received = work()
    return Work(requests, time.perf_counter() - start, received)
