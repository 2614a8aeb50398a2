"""One, two and three origin processes over one PostgreSQL and one bucket, behind nginx: for ``bench.scale``.

All three run all the time; nginx stands before the first, the first two, or all of them, and the workloads go
to each in turn. On a machine of few cores the rate cannot grow with the processes. What has to stay is what a
request costs: CPU of the origins, and of PostgreSQL. Of the writers' lock it is asked a hundred times a second
who has it and who waits for it; divided by the transactions that is how long each held it and waited.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from unittest.mock import patch
from urllib.parse import urlsplit

from bench import corpus, load
from bench.archive import FRAMES, JSON, bodies, frame_path
from bench.backends import Backends
from bench.harness import Work, cpu_seconds, wait_idle
from bench.synthetic import ROOT, Shape, study_attributes
from nearframe import tasks
from nearframe.metrics import INGEST_COMMITS
from nearframe.storage.catalogue import open_catalogue
from nearframe.storage.catalogue.postgres import CATALOGUE_LOCK
from tests.balancer import balancing, nginx_binary
from tests.drills.origins import Origin
from tests.radosgw import ACCESS_KEY, REGION, SECRET_KEY, missing_programs, running_radosgw

COUNTS: Final = (1, 2, 3)
_CONNECTIONS: Final = 8
_TOGETHER: Final = 10
_STUDIES_ASKED: Final = 2000
#: nginx has 512 connections as it comes, and each takes two.
_FOLLOWERS: Final = 150
_ALL_WAIT_AFTER_S: Final = 2.0
_LOOK_S: Final = 0.01
_LOCKS: Final = """
    SELECT coalesce(sum(granted::int), 0), coalesce(sum((NOT granted)::int), 0) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = %s AND objid = %s
"""


@dataclass(slots=True)
class Load:
    """A workload over some origins, run by run.

    Attributes
    ----------
    origin_ms, database_ms
        CPU of a request.
    held_ms, waited_ms
        By each write transaction, for the writers' lock.
    """

    name: str
    origins: int
    per_second: list[float] = field(default_factory=list)
    origin_ms: list[float] = field(default_factory=list)
    database_ms: list[float] = field(default_factory=list)
    held_ms: list[float] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)
    instances_each: list[float] = field(default_factory=list)

    @property
    def cpu_ms(self) -> float:
        return statistics.median(own + of for own, of in zip(self.origin_ms, self.database_ms, strict=True))


def missing() -> str | None:
    """Return what has to be installed for this; None if it is there."""
    absent = [*missing_programs(), *([] if nginx_binary() else ["nginx"])]
    return f"not installed: {', '.join(absent)}" if absent else None


def measure(database_url: str, server_pid: int, shape: Shape, folder: Path, *, rounds: int, seconds: int) -> list[Load]:
    """Measure each workload over one, two and three origins."""
    with ExitStack() as stack:
        fleet = stack.enter_context(_fleet(database_url, folder))
        frames = corpus.ct_series(folder / "frames", 40, 256, "2")
        slices = corpus.ct_series(folder / "slices", 40, 64, "3")
        nginx = nginx_binary()
        assert nginx is not None
        urls = {}
        for count in COUNTS:
            own = folder / f"nginx-{count}"
            own.mkdir()
            ports = [origin.port for origin in fleet[:count]]
            urls[count] = f"{stack.enter_context(balancing(nginx, own, ports)).url}/dicomweb"
        load.store_files(urls[1], frames.files)
        runs = dict(_reads(shape, frames, seconds))
        stored = iter(range(1, 10**6))
        runs[f"STOW, {_TOGETHER} a request"] = lambda url: _store(url, bodies(slices, next(stored), _TOGETHER))
        catalogue = stack.enter_context(closing(open_catalogue(database_url)))
        runs[f"feed: one of {_FOLLOWERS} who wait is told"] = lambda url: asyncio.run(
            _follow(url, str(catalogue.head()), partial(_store, url, bodies(slices, next(stored), _TOGETHER)[:1]))
        )
        meter = _Meter(fleet, Backends(server_pid), database_url)
        found = [Load(name, count) for name in runs for count in COUNTS]
        for number in range(-1, rounds):
            for one in found[:: 1 if number % 2 else -1]:
                meter.take(one, partial(runs[one.name], urls[one.origins]), counts=number >= 0)
    return found


def _reads(shape: Shape, frames: corpus.Series, seconds: int) -> Iterator[tuple[str, Callable[[str], Work]]]:
    numbers = [7919 * turn % shape.studies for turn in range(min(_STUDIES_ASKED, shape.studies))]

    def ask(paths: Sequence[str], accept: str) -> Callable[[str], Work]:
        listing = [f"/dicomweb{path}" for path in paths]
        return lambda url: load.wrk(url, listing, accept=accept, connections=_CONNECTIONS, seconds=seconds)

    patients = [study_attributes(number)["00100020"]["Value"][0] for number in numbers]
    yield "QIDO, studies of a patient", ask([f"/studies?PatientID={patient}" for patient in patients], JSON)
    yield (
        "QIDO, instances of a series",
        ask([f"/studies/{ROOT}.{n}/series/{ROOT}.{n}.3/instances" for n in numbers], JSON),
    )
    yield (
        "metadata of a series of 20",
        ask([f"/studies/{ROOT}.{n}/series/{ROOT}.{n}.3/metadata" for n in numbers], JSON),
    )
    yield "a frame of 128 KB", ask([frame_path(frames, instance) for instance in frames.instances], FRAMES)


def _store(url: str, requests: list[bytes]) -> Work:
    return load.store(url, requests, connections=_CONNECTIONS, instances=len(requests) * _TOGETHER)


async def _follow(url: str, cursor: str, change: Callable[[], Work]) -> Work:
    """Have followers ask for what comes after the feed's end, let something be stored, and await all answers."""
    parts = urlsplit(url)
    question = f"GET /api/feed?after={cursor}&wait=30 HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(question.encode())
        answer = await reader.read()
        writer.close()
        return answer

    began_s = time.perf_counter()
    asked = [tasks.spawn(ask(), name="follower") for _ in range(_FOLLOWERS)]
    await asyncio.sleep(_ALL_WAIT_AFTER_S)
    await asyncio.to_thread(change)
    for answer in await asyncio.gather(*asked):
        if b" 200 " not in answer[:16] or b'"study' not in answer:
            raise RuntimeError(f"the feed said {answer[:200]!r}")
    return Work(_FOLLOWERS, time.perf_counter() - began_s)


@contextmanager
def _fleet(database_url: str, folder: Path) -> Iterator[list[Origin]]:
    """Run three origins over one bucket."""
    credentials = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    with patch.dict(os.environ, credentials), running_radosgw() as radosgw, ExitStack() as stack:
        where = (
            "--s3-url",
            str(radosgw.new_bucket()),
            "--s3-endpoint",
            radosgw.options.endpoint,
            "--s3-region",
            REGION,
        )
        shared = ("--database-url", database_url, *where, "--s3-path-style", "--trust-forwarded", "--no-perceptual")
        fleet = [Origin(folder, number, *shared) for number in range(1, max(COUNTS) + 1)]
        for origin in fleet:
            stack.callback(origin.close)
            asyncio.run(origin.start())
        yield fleet


class _Meter:
    """Charges a run what origins and database used for it."""

    def __init__(self, fleet: Sequence[Origin], backends: Backends, database_url: str) -> None:
        self._fleet = fleet
        self._backends = backends
        self._database_url = database_url

    def take(self, of: Load, run: Callable[[], Work], *, counts: bool) -> None:
        """Do a run; a first one, which fills caches, does not count."""
        commits = self._commits()
        database_s, origin_s = self._backends.cpu_seconds(), self._origin_seconds()
        with _WritersLock(self._database_url) as lock:
            work = run()
        for origin in self._fleet:
            wait_idle(origin.pid)
        database_s, origin_s = self._backends.cpu_seconds() - database_s, self._origin_seconds() - origin_s
        commits = self._commits() - commits
        if not counts:
            return
        of.per_second.append(work.requests / work.seconds)
        of.origin_ms.append(origin_s / work.requests * 1e3)
        of.database_ms.append(database_s / work.requests * 1e3)
        if commits > 1:
            of.held_ms.append(lock.held_s / commits * 1e3)
            of.waited_ms.append(lock.waited_s / commits * 1e3)
            of.instances_each.append(work.requests / commits)

    def _origin_seconds(self) -> float:
        return sum(cpu_seconds(origin.pid) for origin in self._fleet)

    def _commits(self) -> int:
        """Return how many groups all origins have made durable."""
        total = 0
        for origin in self._fleet:
            with urllib.request.urlopen(f"{origin.url}/metrics", timeout=10) as answer:  # noqa: S310 - loopback
                lines = answer.read().decode().splitlines()
            counts = [line.split()[-1] for line in lines if line.startswith(f"{INGEST_COMMITS.full_name} ")]
            total += sum(int(float(count)) for count in counts)
        return total


class _WritersLock:
    """Looks at the writers' lock while the block runs.

    Attributes
    ----------
    held_s, waited_s
        For how long somebody had it, and for how long the writers that did not waited, together.
    """

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.held_s = self.waited_s = 0.0

    def __enter__(self) -> _WritersLock:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        import psycopg

        key = CATALOGUE_LOCK >> 32, CATALOGUE_LOCK & 0xFFFFFFFF
        with psycopg.connect(self._url, autocommit=True) as connection:
            last_s = time.monotonic()
            while not self._done.wait(_LOOK_S):
                (held, waiting) = connection.execute(_LOCKS, key).fetchone() or (0, 0)
                last_s, before_s = time.monotonic(), last_s
                self.held_s += held * (last_s - before_s)
                self.waited_s += waiting * (last_s - before_s)


def show(loads: Sequence[Load]) -> None:
    """Print what requests cost."""
    print(
        f"\n{'three origins, PostgreSQL, radosgw':34} {'origins':>7} {'per s':>8} {'CPU ms: origin':>14} "
        f"{'database':>9} {'against one':>11} {'lock held':>10} {'waited':>7} ms a transaction"
    )
    alone = {one.name: one.cpu_ms for one in loads if one.origins == 1}
    for one in loads:
        per_s, origin_ms, database_ms = map(statistics.median, (one.per_second, one.origin_ms, one.database_ms))
        locked = ""
        if one.held_ms:
            held, waited, each = map(statistics.median, (one.held_ms, one.waited_ms, one.instances_each))
            locked = f"{held:10.1f} {waited:7.1f} of {each:.1f} instances"
        print(
            f"{one.name:34} {one.origins:7} {per_s:8.1f} {origin_ms:14.2f} {database_ms:9.2f} "
            f"{one.cpu_ms / alone[one.name]:10.2f}x {locked}"
        )
