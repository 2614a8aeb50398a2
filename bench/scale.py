"""What an archive's size and its number of processes cost: ``python -m bench.scale [--quick] [--json] [--part PART]``.

``operations``: searches, metadata, feed, deltas, look-alikes and storing at 10 000, 100 000 and a million
instances, in SQLite and in PostgreSQL. The catalogues of all sizes do each operation in turn, so that a machine
whose speed drifts slows all; the medians of the largest and the smallest have to stay within the bar. What is
compared is CPU: of this process, all threads, and of the PostgreSQL processes behind its connections.

``origins``: one to three origin processes over the largest of these catalogues (`bench.origins`).

Making the catalogues takes minutes and some gigabytes; with ``--home`` they stay and are used again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import corpus, origins
from bench.backends import Backends
from bench.catalogues import Engine, Made, PostgreSQL, engines, prepare
from bench.filling import trim
from bench.operations import STORED, Operation, Sized
from bench.synthetic import Shape

BAR: Final = 1.5
SIZES: Final = (10_000, 100_000, 1_000_000)
QUICK_SIZES: Final = (1_000, 5_000)
_ROUNDS: Final = 61
_WRITING_ROUNDS: Final = 25
_QUICK_ROUNDS: Final = 3
_ORIGIN_ROUNDS: Final = 3
_ORIGIN_SECONDS: Final = 2
#: Files of a study that is stored: small, so that the catalogue's part shows.
_SLICE: Final = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operation costs, by size, in ms of CPU: of this process, and of the database's."""

    engine: str
    operation: str
    own_ms: dict[int, float]
    database_ms: dict[int, float]
    rows: dict[int, int]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(sorted(self.own_ms))

    def both_ms(self, size: int) -> float:
        return self.own_ms[size] + self.database_ms[size]

    @property
    def ratio(self) -> float:
        return self.both_ms(self.sizes[-1]) / self.both_ms(self.sizes[0])


def main() -> int:
    options = _options()
    sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    shapes = [Shape(size) for size in sizes]
    found = Found()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nearframe-bench-")))
        folder.chmod(0o711)  # a server that runs by another account passes through
        home = options.home or folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        for engine in stack.enter_context(engines(home)):
            made = found.made[engine.name] = {size: prepare(engine, home, Shape(size)) for size in sizes}
            if not options.json:
                show_made(engine.name, made)
            if options.part != "origins":
                costs = operations(engine, shapes, _QUICK_ROUNDS if options.quick else None)
                found.costs += costs
                if not options.json:
                    show_costs(costs, judged=not options.quick)
            if options.part != "operations" and isinstance(engine, PostgreSQL):
                found.loads = _origins(engine, shapes[-1], folder, quick=options.quick)
                if not options.json:
                    origins.show(found.loads)
    if options.json:
        json.dump(found.as_json(), sys.stdout, indent=2)
        print()
    return 1 if not options.quick and any(cost.ratio > BAR for cost in found.costs) else 0


@dataclass(slots=True)
class Found:
    """What was measured, by engine and size where it depends on them."""

    made: dict[str, dict[int, Made]] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    loads: list[origins.Load] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        made = {name: {size: asdict(one) for size, one in by_size.items()} for name, by_size in self.made.items()}
        costs = [asdict(cost) | {"ratio": cost.ratio, "holds": cost.ratio <= BAR} for cost in self.costs]
        return {"made": made, "operations": costs, "origins": [asdict(one) for one in self.loads]}


def _origins(engine: PostgreSQL, shape: Shape, folder: Path, *, quick: bool) -> list[origins.Load]:
    lacking = origins.missing()
    if lacking is not None:
        print(f"origins are left out: {lacking}", file=sys.stderr)
        return []
    trim(engine.place(shape), shape)  # what else was stored is not in their bucket
    rounds, seconds = (1, 1) if quick else (_ORIGIN_ROUNDS, _ORIGIN_SECONDS)
    return origins.measure(engine.place(shape), engine.server_pid, shape, folder, rounds=rounds, seconds=seconds)


def operations(engine: Engine, shapes: Sequence[Shape], rounds: int | None = None) -> list[Cost]:
    """Measure every operation on the catalogues of these sizes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nearframe-bench-")))
        series = corpus.ct_series(folder / "series", STORED, _SLICE, "1")
        archives = [
            stack.enter_context(closing(Sized(folder / str(shape.instances), engine.place(shape), shape, series)))
            for shape in shapes
        ]
        backends = Backends(engine.server_pid)
        every = zip(*(archive.operations() for archive in archives), strict=True)
        return [_cost(engine, shapes, of_sizes, backends, rounds) for of_sizes in every]


def _cost(
    engine: Engine, shapes: Sequence[Shape], of_sizes: Sequence[Operation], backends: Backends, rounds: int | None
) -> Cost:
    """Do an operation in catalogues of several sizes, in turn."""
    operation = of_sizes[0]
    rounds = rounds or (_WRITING_ROUNDS if operation.writes else _ROUNDS)
    own: list[list[float]] = [[] for _ in shapes]
    database: list[list[float]] = [[] for _ in shapes]
    rows = [0] * len(shapes)
    # What is compared is CPU, not disks: what is read was read before. Statements are compiled by then, too.
    for number in range(1 if operation.writes else rounds):
        for of_size in of_sizes:
            of_size.ready(number)()
    for number in range(rounds):
        for turn in range(len(shapes)):
            side = (turn + number) % len(shapes)
            work = of_sizes[side].ready(number + operation.writes)
            database_s, own_s = backends.cpu_seconds(), time.process_time()
            answer = work()
            own_s, database_s = time.process_time() - own_s, backends.cpu_seconds() - database_s
            own[side].append(own_s)
            database[side].append(database_s)
            rows[side] = len(answer) if isinstance(answer, list) else 1

    def medians(taken: list[list[float]]) -> dict[int, float]:
        parts = operation.parts
        return {shape.instances: statistics.median(of) * 1e3 / parts for shape, of in zip(shapes, taken, strict=True)}

    return Cost(
        engine.name,
        operation.name,
        medians(own),
        medians(database),
        {shape.instances: count for shape, count in zip(shapes, rows, strict=True)},
    )


def show_made(engine: str, made: dict[int, Made]) -> None:
    """Print how large the catalogues are."""
    print(f"\n{engine}: bytes an instance")
    for size, one in made.items():
        total = sum(table.all_bytes for table in one.tables)
        print(
            f"  {size:>9} instances: {total / 1e6:7.0f} MB, {total / size:5.0f} an instance, "
            f"filled in {one.seconds:.0f} s ({one.cpu_seconds:.0f} s CPU here)"
        )
    size = max(made)
    print(f"  {'of ' + str(size):14} {'rows':>10} {'a row':>8} {'indexes':>8} {'an instance':>12}")
    for table in made[size].tables:
        print(
            f"  {table.table:14} {table.rows:10} {table.row_bytes / table.rows:8.0f} "
            f"{table.index_bytes / table.rows:8.0f} {table.all_bytes / size:12.0f}"
        )


def show_costs(costs: Sequence[Cost], *, judged: bool) -> None:
    """Print what operations cost; of PostgreSQL the part of its processes in brackets."""
    sizes = costs[0].sizes
    print(f"\n{costs[0].engine + ', ms of CPU':48}" + "".join(f"{size:>16}" for size in sizes) + f"{'ratio':>8}")
    for cost in costs:
        columns = "".join(
            f"{cost.both_ms(size):8.2f} ({cost.database_ms[size]:5.2f})"
            if any(cost.database_ms.values())
            else f"{cost.both_ms(size):16.2f}"
            for size in sizes
        )
        verdict = "   MISSED" if judged and cost.ratio > BAR else ""
        rows = "/".join(str(cost.rows[size]) for size in sizes) if len(set(cost.rows.values())) > 1 else ""
        print(f"{cost.operation:48}{columns}{cost.ratio:8.2f}{verdict}   {rows}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small catalogues: see that it runs, no figures to quote")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", choices=("operations", "origins"), help="one of them alone")
    parser.add_argument("--home", type=Path, help="keep the catalogues here, and use them again")
    parser.add_argument("--sizes", type=int, nargs="+", help="instances in each catalogue")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
