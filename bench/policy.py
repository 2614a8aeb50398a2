"""What an edge keeps, compared: ``python -m bench.policy [--trace FILE] [--seeds N] [--json]``.

A trace of a radiology site is replayed against caches of 5, 10 and 20 % of its bytes: once
as caches are, filled by what is read, and once with what is acquired pushed and nightly sweeps passed
by. Printed are the share of urgent and routine reads that miss, and the share of the bytes
read that cross the line while somebody waits.

The trace is made by a seeded generator (14 days; one study in seven an emergency, half read twice,
a tenth a consult of several viewers, a third with priors, a quarter of all reads a nightly
sweep), or a recorded one: CSV lines ``seconds,arrive|read,study,object,bytes,class``.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.replacement import POLICIES, Key, Policy
from nearframe.context import Urgency
from nearframe.units import MIB

SHARES = (0.05, 0.10, 0.20)
DAYS = 14
_HOUR = 3600.0
_DAY = 24 * _HOUR


class Event(NamedTuple):
    """An object that came into the archive, or that somebody reads."""

    at: float
    is_arrival: bool
    study: int
    object: int
    size: int
    urgency: Urgency

    @property
    def key(self) -> Key:
        return self.study, self.object


# -- the trace ---------------------------------------------------------------------------------

#: Modality: share of studies, objects (a few frames each), bytes of an object.
_MODALITIES = {"CR": (0.4, 2, 8 * MIB), "CT": (0.25, 60, 4 * MIB), "MR": (0.15, 40, 2 * MIB),
               "US": (0.12, 20, MIB), "MG": (0.08, 4, 20 * MIB)}  # fmt: skip


class _Site:
    """The generator's state: what has been acquired by whom."""

    def __init__(self, seed: int, studies: int) -> None:
        self.rng = random.Random(seed)
        self.sizes: list[list[int]] = []
        self.patients: dict[int, list[int]] = {}
        self.studies = studies

    def study(self) -> int:
        names = list(_MODALITIES)
        _, objects, size = _MODALITIES[self.rng.choices(names, [_MODALITIES[name][0] for name in names])[0]]
        self.sizes.append([int(size * self.rng.uniform(0.5, 1.5)) for _ in range(objects)])
        return len(self.sizes) - 1

    def events(self) -> Iterator[Event]:
        old = [self.study() for _ in range(self.studies // 2)]  # priors, acquired long ago
        for at in sorted(self._acquisitions()):
            study = self.study()
            patient = self.rng.randrange(self.studies)
            priors = self.patients.setdefault(patient, [self.rng.choice(old)])
            yield from self._study(at, study, priors)
            priors.append(study)
        for night in range(DAYS):
            yield from self._sweep(night * _DAY + 26 * _HOUR)

    def _acquisitions(self) -> Iterator[float]:
        for _ in range(self.studies):
            day = self.rng.randrange(DAYS)
            hour = self.rng.gauss(12, 3) if self.rng.random() < 0.85 else self.rng.uniform(0, 24)
            yield day * _DAY + max(0.0, min(23.9, hour)) * _HOUR

    def _study(self, at: float, study: int, priors: Sequence[int]) -> Iterator[Event]:
        rng = self.rng
        yield from self._each(at, study, Urgency.ROUTINE, is_arrival=True)
        emergency = rng.random() < 0.15
        first = at + (rng.uniform(3, 20) * 60 if emergency else rng.expovariate(1 / (6 * _HOUR)) + 600)
        urgency = Urgency.STAT if emergency else Urgency.ROUTINE
        yield from self._each(first, study, urgency)
        if rng.random() < 0.30:
            for prior in priors[-2:]:
                yield from self._each(first + 30, prior, urgency)
        if rng.random() < 0.50:
            yield from self._each(first + rng.expovariate(1 / (20 * _HOUR)) + 600, study, Urgency.ROUTINE)
        if rng.random() < 0.10:
            opened = first + rng.uniform(0.2, 30) * _HOUR
            for viewer in range(rng.randint(3, 5)):
                yield from self._each(opened + 20 * viewer, study, Urgency.ACTIVE)

    def _each(self, at: float, study: int, urgency: Urgency, *, is_arrival: bool = False) -> Iterator[Event]:
        for number, size in enumerate(self.sizes[study]):
            yield Event(at + 0.2 * number, is_arrival, study, number, size, urgency)

    def _sweep(self, at: float) -> Iterator[Event]:
        """A nightly re-analysis or migration: a twentieth of all studies, whatever their age."""
        for study in self.rng.sample(range(len(self.sizes)), len(self.sizes) // 20):
            yield from self._each(at, study, Urgency.BULK)
            at += 30


def generated(seed: int, studies: int) -> list[Event]:
    """Return a synthetic trace; the same seed gives the same trace."""
    return sorted(_Site(seed, studies).events())


def recorded(path: Path) -> list[Event]:
    """Read a recorded trace."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    names: dict[str, int] = {}
    return sorted(
        Event(
            float(at),
            kind == "arrive",
            names.setdefault(study, len(names)),
            int(number),
            int(size),
            Urgency[word.upper()],
        )
        for at, kind, study, number, size, word in rows
    )


# -- the replay --------------------------------------------------------------------------------


@dataclass(slots=True)
class Outcome:
    """Reads and misses by class, and bytes."""

    urgent: int = 0
    urgent_missed: int = 0
    routine: int = 0
    routine_missed: int = 0
    read_bytes: int = 0
    waited_bytes: int = 0

    def shares(self) -> tuple[float, float, float]:
        """Return the shares of urgent and routine reads that missed, and of bytes that were waited for."""
        return (
            self.urgent_missed / max(1, self.urgent),
            self.routine_missed / max(1, self.routine),
            self.waited_bytes / max(1, self.read_bytes),
        )

    def count(self, event: Event, *, hit: bool) -> None:
        if event.urgency is Urgency.BULK:
            return
        self.read_bytes += event.size
        self.waited_bytes += 0 if hit else event.size
        if event.urgency <= Urgency.ACTIVE:
            self.urgent += 1
            self.urgent_missed += not hit
        else:
            self.routine += 1
            self.routine_missed += not hit


def replay(trace: Iterable[Event], cache: Policy, *, pushed: bool) -> Outcome:
    """Replay a trace; with `pushed` what arrives is kept at once, and sweeps pass by."""
    outcome = Outcome()
    for event in trace:
        if event.is_arrival:
            if pushed:
                cache.put(event.key, event.size, event.at, event.urgency)
            continue
        if pushed and event.urgency is Urgency.BULK:
            continue
        hit = cache.get(event.key, event.at, event.urgency)
        outcome.count(event, hit=hit)
        if not hit:
            cache.put(event.key, event.size, event.at, event.urgency)
    return outcome


def compare(traces: Sequence[Sequence[Event]]) -> Iterator[tuple[float, bool, str, tuple[float, ...]]]:
    """Yield cache size, pushed or not, policy, and the mean shares over all traces."""
    for share in SHARES:
        for pushed in (False, True):
            for name, policy in POLICIES.items():
                outcomes = []
                for trace in traces:
                    total = sum({event.key: event.size for event in trace}.values())
                    outcomes.append(replay(trace, policy(int(total * share)), pushed=pushed).shares())
                yield share, pushed, name, tuple(statistics.mean(column) for column in zip(*outcomes, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, help="a recorded trace instead of the generated ones")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--studies", type=int, default=1500, help="acquired in the generated fortnight")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    traces = (
        [recorded(options.trace)] if options.trace else [generated(s, options.studies) for s in range(options.seeds)]
    )
    rows = list(compare(traces))
    if options.json:
        print(json.dumps([[share, pushed, name, *shares] for share, pushed, name, shares in rows]))
        return
    reads = sum(not event.is_arrival for event in traces[0])
    print(
        f"{len(traces)} traces, {reads} reads in the first; shares: urgent missed / routine missed / bytes waited for"
    )
    for share in SHARES:
        for pushed in (False, True):
            print(
                f"\ncache of {share:.0%}, "
                + ("pushed at acquisition, sweeps pass by" if pushed else "filled by reading")
            )
            for row_share, row_pushed, name, shares in rows:
                if (row_share, row_pushed) == (share, pushed):
                    print(f"  {name:14} " + "  ".join(f"{value:.3f}" for value in shares))


if __name__ == "__main__":
    main()
