"""What a reader behind a thin line waits for: ``python -m bench.wan [--quick] [--json] [SCENARIO ...]``.

A clinic and a data centre on one machine, 40 ms apart, at 50 and at 10 Mbit/s
(`bench.network`); TCP and TLS 1.3 are the real ones. At the far end an origin holds a CT
series and its HTJ2K renditions, Orthanc the same in JPEG-LS. Each way to read begins with nothing held but
what an edge follows, and they take turns, round by round.

opening
    A reader connects, gets the metadata of the series and a picture from its middle, then all
    of it over six connections; *warm* is another study's picture on connections just used.
urgent
    Pictures of other studies, one after the other, on an idle line and while the series is
    exported at ``Priority: u=7`` over four connections.
correction
    The patient is renamed in every slice, at the archive; the reader opens the series again.
    *Sync* is one request to the origin itself, by a client that holds the state before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import network, peers
from bench.bottleneck import Line
from bench.harness import median_interval
from bench.network import WIDE, Network
from bench.reader import FRAMES, JSON, Export, Reader
from bench.sites import COLUMNS, EDGE, EDGES, NGINX, PLAIN_EDGE, Picture, Sites, two_archives

ROUND_TRIP_S: Final = 0.04
MEGABITS: Final = (50, 10)
URGENT: Final = {"Priority": "u=0"}
BULK: Final = {"Priority": "u=7"}
#: Pictures of an opening that are read to have the line in use before the one that counts.
_WARMING: Final = 2
_PAUSE_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value of one way to read."""

    row: str
    column: str
    value: float


@dataclass(frozen=True, slots=True)
class Bench:
    """What runs, and how often."""

    sites: Sites
    line: Line
    urgent_pictures: int

    def paths(self) -> list[str]:
        return [picture.path for picture in self.sites.pictures]

    def series_path(self) -> str:
        return f"/studies/{self.sites.series.study}/series/{self.sites.series.series}"

    def ideal_s(self, size: int) -> float:
        """Return one round trip, and some bytes at the rate of the line."""
        return self.line.round_trip_s + size * 8 / self.line.rate_bits_s


# -- opening -----------------------------------------------------------------------------------


def opening(bench: Bench, column: str) -> Iterator[Figure]:
    """Open the series cold, read all of it, then open another study warm."""
    sites, middle = bench.sites, bench.sites.pictures[len(bench.sites.pictures) // 2]
    sites.network.shape(bench.line)  # from the start: an edge that knew a wide line would take a minute to forget it
    with sites.column(column) as server:
        reader = Reader(server.url)
        start = time.perf_counter()
        reader.connect()
        reader.ok(bench.series_path() + "/metadata", JSON)
        asked = time.perf_counter() - start
        picture = reader.ok(middle.path, FRAMES, prefix_bytes=_quarter(column, middle))
        yield Figure("cold: connection, metadata: ms", column, asked * 1e3)
        yield Figure("cold: first quarter-resolution picture: ms", column, (asked + picture.prefix_s) * 1e3)
        yield Figure("cold: first full picture: ms", column, (asked + picture.whole_s) * 1e3)
        everything = Export(server.url, bench.paths(), connections=6, headers={})
        everything.start()
        everything.wait()
        yield Figure("whole series: s", column, time.perf_counter() - start)
        for one in sites.singles[:_WARMING]:
            reader.ok(one.path, FRAMES)
        warm = sites.singles[_WARMING]
        taken = reader.ok(warm.path, FRAMES, prefix_bytes=_quarter(column, warm))
        yield Figure("warm: quarter-resolution picture: ms", column, taken.prefix_s * 1e3)
        yield Figure("warm: full picture: ms", column, taken.whole_s * 1e3)
        yield Figure("warm: full picture, over round trip + bytes at line rate", column,
                     taken.whole_s / bench.ideal_s(warm.length))  # fmt: skip
        yield Figure("warm: bytes of the picture as sent, over its HTJ2K", column, len(taken.body) / warm.length)
        reader.close()


def _quarter(column: str, picture: Picture) -> int:
    """Return the bytes that show a quarter-resolution picture; of JPEG-LS it takes all, which 0 stands for."""
    return 0 if column == NGINX else picture.quarter_bytes


# -- urgent ------------------------------------------------------------------------------------


def urgent(bench: Bench, column: str) -> Iterator[Figure]:
    """Read pictures that nobody has asked for, on an idle line and beside an export."""
    sites, count = bench.sites, bench.urgent_pictures
    sites.network.shape(bench.line)  # from the start: an edge that knew a wide line would take a minute to forget it
    with sites.column(column) as server:
        reader = Reader(server.url)
        reader.connect()
        reader.ok(sites.singles[0].path, FRAMES)  # connections stand
        idle = [seconds for _, seconds in _one_by_one(reader, sites.singles[1 : count + 1])]
        export = Export(server.url, bench.paths(), connections=4, headers=BULK)
        export.start()
        while len(export.arrivals) < 20 and export.is_running:
            time.sleep(0.05)
        spans, busy = [], []
        for began, seconds in _one_by_one(reader, sites.singles[count + 1 : 2 * count + 1]):
            if not export.is_running:
                break
            spans.append((began, began + seconds))
            busy.append(seconds)
        export.stop()
        reader.close()
    if len(busy) < count // 2:
        raise RuntimeError(f"the export ended after {len(busy)} urgent pictures: take a longer series")
    yield Figure("urgent picture, idle line: p50 ms", column, _percentile(idle, 50) * 1e3)
    yield Figure("urgent picture, during an export: p50 ms", column, _percentile(busy, 50) * 1e3)
    yield Figure("urgent picture, during an export: p95 ms", column, _percentile(busy, 95) * 1e3)
    yield Figure("urgent p50, over idle p50", column, _percentile(busy, 50) / _percentile(idle, 50))
    yield Figure("urgent p95, over idle p95", column, _percentile(busy, 95) / _percentile(idle, 95))
    rate = bench.line.rate_bits_s * network.PAYLOAD_SHARE
    yield Figure("export between urgent pictures, of the line", column, export.goodput_bits_s(spans) / rate)


def _one_by_one(reader: Reader, pictures: Sequence[Picture]) -> Iterator[tuple[float, float]]:
    for picture in pictures:
        time.sleep(_PAUSE_S)
        began = time.perf_counter()
        yield began, reader.ok(picture.path, FRAMES, headers=URGENT).whole_s


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


# -- correction --------------------------------------------------------------------------------


def correction(bench: Bench, column: str) -> Iterator[Figure]:
    """Rename the patient at the archive behind a reader that has the whole series, and open it again."""
    sites = bench.sites
    sites.network.shape(WIDE)
    with sites.column(column) as server:
        etags = _read_everything(bench, server, {})
        root = _root_of(bench)
        _settle(sites.network)
        sites.network.shape(bench.line)
        before = sites.network.traffic()
        sites.rename(sites.orthanc if column == NGINX else sites.origin)
        if column in EDGES:
            sites.wait_followed(server)
        _settle(sites.network)
        moved = sites.network.traffic().since(before)
        yield Figure("correction: bytes over the line until it is known", column, moved.bytes)
        if column != NGINX:
            yield from _open_again(bench, column, server, etags)
        if column == EDGE:
            yield from _sync(bench, root)
    if column == NGINX:
        # What it holds is wrong now and it cannot know: it has to begin with nothing.
        with sites.column(column) as server:
            yield from _open_again(bench, column, server, {})


def _open_again(bench: Bench, column: str, server: peers.Server, etags: dict[str, str]) -> Iterator[Figure]:
    reader = Reader(server.url)
    reader.connect()
    before, start = bench.sites.network.traffic(), time.perf_counter()
    reader.ok(bench.series_path() + "/metadata", JSON)
    middle = bench.sites.pictures[len(bench.sites.pictures) // 2].path
    reader.get(middle, FRAMES, headers={"If-None-Match": etags[middle]} if middle in etags else {})
    seconds = time.perf_counter() - start
    reader.close()
    yield Figure("re-open: ms until the picture shows", column, seconds * 1e3)
    yield Figure("re-open: round trips of the line it took", column, seconds / bench.line.round_trip_s)
    yield Figure("re-open: bytes over the line", column, bench.sites.network.traffic().since(before).bytes)
    _read_everything(bench, server, etags)
    yield Figure("re-open, all of it: bytes over the line", column, bench.sites.network.traffic().since(before).bytes)


def _sync(bench: Bench, root: str) -> Iterator[Figure]:
    """Bring what a client holds up to date, over the line and on a connection just used: one request, one answer."""
    upstream = Reader(bench.sites.origin.url.removesuffix("/dicomweb"))
    upstream.ok("/healthz", "*/*")
    _settle(bench.sites.network)
    upstream.ok("/healthz", "*/*")
    before = bench.sites.network.traffic()
    taken = upstream.ok(f"/api/studies/{bench.sites.series.study}/sync?from={root}", "*/*")
    moved = bench.sites.network.traffic().since(before)
    upstream.close()
    yield Figure("sync from the state before: bytes of the answer", EDGE, taken.received_bytes)
    yield Figure("sync from the state before: bytes over the line", EDGE, moved.bytes)
    yield Figure("sync from the state before: round trips it took", EDGE, taken.whole_s / bench.line.round_trip_s)


def _root_of(bench: Bench) -> str:
    """Return the root of the series' study at the origin as it is now."""
    reader = Reader(bench.sites.origin.url.removesuffix("/dicomweb"))
    taken = reader.ok(f"/api/studies/{bench.sites.series.study}/manifest", "*/*")
    reader.close()
    return taken.headers["ETag"].strip('"')


def _read_everything(bench: Bench, server: peers.Server, etags: dict[str, str]) -> dict[str, str]:
    """Read the series as one who holds what `etags` name; return the validators that came."""
    everything = Export(server.url, bench.paths(), connections=6, headers={}, etags=etags)
    everything.start()
    everything.wait()
    return everything.validators


def _settle(line: Network) -> None:
    """Return once next to nothing has passed for half a second; followers ask for news now and then."""
    before = line.traffic().bytes
    while True:
        time.sleep(0.5)
        now = line.traffic().bytes
        if now - before < 1_000:
            return
        before = now


# -- rounds, and what is told -------------------------------------------------------------------

SCENARIOS: Final[dict[str, Callable[[Bench, str], Iterator[Figure]]]] = {
    "opening": opening,
    "urgent": urgent,
    "correction": correction,
}
#: What the edge has to reach, by row.
AT_MOST: Final = {
    "warm: full picture, over round trip + bytes at line rate": 1.3,
    "urgent p50, over idle p50": 1.3,
    "re-open: round trips of the line it took": 1.0,
    "re-open: bytes over the line": 1_000,
    "sync from the state before: bytes of the answer": 1_000,
}
AT_LEAST: Final = {"export between urgent pictures, of the line": 0.6}


def run(bench: Bench, scenario: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Let the columns take turns; return values by row and column.

    Whether deltas are followed matters to a correction only.
    """
    columns = COLUMNS if scenario == "correction" else tuple(one for one in COLUMNS if one != PLAIN_EDGE)
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        turn = number % len(columns)
        for column in columns[turn:] + columns[:turn]:
            try:
                for figure in SCENARIOS[scenario](bench, column):
                    found[figure.row][figure.column].append(figure.value)
            except Exception as error:
                error.add_note(f"in {scenario}, {column}, round {number + 1}")
                raise
        print(f"  {scenario}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def tell(megabits: float, found: dict[str, dict[str, list[float]]]) -> bool:
    """Print medians and intervals; return whether every bar holds."""
    shown = [column for column in COLUMNS if column in next(iter(found.values()))]
    heads = "".join(f"{column:>32}" for column in shown)
    print(f"\n{f'{megabits:g} Mbit/s, {ROUND_TRIP_S * 1e3:g} ms':<60}{heads}  bar of the edge")
    all_hold = True
    for row, columns in found.items():
        cells = "".join(f"{_cell(columns[column]) if columns[column] else '':>32}" for column in shown)
        edge = statistics.median(columns[EDGE])
        verdict = ""
        if row in AT_MOST:
            verdict = f"<= {AT_MOST[row]:g}: {'holds' if edge <= AT_MOST[row] else 'MISSED'}"
        if row in AT_LEAST:
            verdict = f">= {AT_LEAST[row]:g}: {'holds' if edge >= AT_LEAST[row] else 'MISSED'}"
        all_hold = all_hold and not verdict.endswith("MISSED")
        print(f"{row:<60}{cells}  {verdict}")
    return all_hold


def _cell(values: Sequence[float]) -> str:
    median, low, high = median_interval(values)
    return f"{_short(median)} [{_short(low)}, {_short(high)}]"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", choices=[[], *SCENARIOS], help="default: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a slice")
    parser.add_argument("--megabits", type=float, nargs="+", default=MEGABITS)
    parser.add_argument("--congestion-control", default=network.CONGESTION_CONTROL)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs: no figures")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    network.move_in("bench.wan")
    urgent_pictures = 4 if options.quick else 12
    slices, rounds = (80, 1) if options.quick else (options.slices, options.rounds)
    results, holds = [], True
    with (
        network.two_sites(options.congestion_control) as line,
        tempfile.TemporaryDirectory(prefix="nearframe-bench-") as folder,
        two_archives(line, Path(folder), slices, 2 * urgent_pictures + 1, options.size) as sites,
    ):
        for megabits in options.megabits:
            bench = Bench(sites, Line(megabits * 1e6, ROUND_TRIP_S), urgent_pictures)
            for scenario in options.scenario or SCENARIOS:
                found = run(bench, scenario, rounds)
                if options.json:
                    results.append({"megabits": megabits, "scenario": scenario, "rows": found})
                else:
                    holds = tell(megabits, found) and holds
    if options.json:
        print(json.dumps(results, indent=1))
    return 0 if holds or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
