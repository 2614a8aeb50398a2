"""Whether a node is well, and if not, why: ``GET /healthz``.

*Degraded* is said and answered with 200: the node still does what it can (an edge without
its upstream, an archive whose disk is full). *Failing* is 503: a balancer should send
requests elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, TypeAlias

from nearframe import log
from nearframe.config import Settings
from nearframe.errors import Busy, NearframeError
from nearframe.query.workers import Workers
from nearframe.storage.ports import Catalogue
from nearframe.units import counted, format_size

#: A check that takes longer has failed: who asks for health has little patience.
PATIENCE_S: Final = 2.0

#: Of a disk: below it somebody should order a larger one.
LITTLE_ROOM: Final = 0.05

_log = log.logger(__name__)


class State(IntEnum):
    """From well to ill."""

    OK = 0
    DEGRADED = 1
    FAILING = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `reason` says what to do about it."""

    state: State
    reason: str = ""

    def as_json(self) -> dict[str, str]:
        return {"state": self.state.word} | ({"reason": self.reason} if self.reason else {})


WELL: Final = Finding(State.OK)

Check: TypeAlias = Callable[[], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Health:
    """The findings of all checks."""

    findings: Mapping[str, Finding]

    @property
    def state(self) -> State:
        return max((finding.state for finding in self.findings.values()), default=State.OK)

    @property
    def http_status(self) -> int:
        return 503 if self.state is State.FAILING else 200

    def as_json(self) -> dict[str, object]:
        return {
            "status": self.state.word,
            "checks": {name: finding.as_json() for name, finding in self.findings.items()},
        }


async def examine(checks: Mapping[str, Check], patience_s: float = PATIENCE_S) -> Health:
    """Run all checks at the same time."""
    findings = await asyncio.gather(*(_one(name, check, patience_s) for name, check in checks.items()))
    return Health(dict(zip(checks, findings, strict=True)))


async def _one(name: str, check: Check, patience_s: float) -> Finding:
    try:
        return await asyncio.wait_for(check(), patience_s)
    except TimeoutError:
        return Finding(State.FAILING, f"no answer within {patience_s:g} s")
    except (NearframeError, OSError) as error:
        _log.warning("health_check_failed", check=name, error=error)
        return Finding(State.FAILING, "it failed; the log says how")


def catalogue_check(catalogue: Catalogue, sql: Workers) -> Check:
    """Check that the catalogue answers."""

    async def check() -> Finding:
        await sql.run(catalogue.head)
        return WELL

    return check


def bucket_check(look: Callable[[], None], disk: Workers) -> Check:
    """Check that the object store answers: what is in the cache is served without it, and nothing is taken in.

    Parameters
    ----------
    look
        Asks it; raises what it failed at.
    """

    async def check() -> Finding:
        try:
            async with asyncio.timeout(PATIENCE_S / 2):
                await disk.run(look)
        except (Busy, TimeoutError):
            # Not failing: every origin has this bucket, and a balancer would take all of them out.
            return Finding(
                State.DEGRADED, "the object store does not answer: what is in the cache is served, nothing else"
            )
        return WELL

    return check


def disk_check(home: Path, reserve_bytes: int, high_mark_bytes: int, disk: Workers) -> Check:
    """Check that there is room to take anything in."""

    async def check() -> Finding:
        return await disk.run(look_for_room, home, reserve_bytes, high_mark_bytes)

    return check


def upkeep_check(failures: Callable[[], Mapping[str, str]]) -> Check:
    """Check that what comes round went well the last time."""

    async def check() -> Finding:
        wrong = [f"{name}: {words}" for name, words in failures().items()]
        return Finding(State.DEGRADED, "; ".join(wrong)) if wrong else WELL

    return check


def contents_check(lost: Callable[[], int], disk: Workers) -> Check:
    """Check that everything an archive holds can be read, as far as anybody has tried.

    Parameters
    ----------
    lost
        Returns how many contents cannot.
    """

    async def check() -> Finding:
        return look_for_loss(await disk.run(lost))

    return check


def look_for_loss(lost: int) -> Finding:
    """Return what is to be said of contents that cannot be read."""
    if not lost:
        return WELL
    return Finding(
        State.DEGRADED,
        f"{counted(lost, 'content')} cannot be read: look at the disk (smartctl); nearframe scrub --repair-from brings "
        "them back from a backup or another node, and another scrub says whether any is left",
    )


def high_mark(settings: Settings) -> int:
    """Return the free disk space below which work that can be done another time waits."""
    return max(settings.disk_high_mark_bytes, settings.kept_free_bytes)


def free_bytes(home: Path) -> int:
    """Return what this process may still write to the disk of a folder."""
    state = os.statvfs(home)
    return state.f_bavail * state.f_frsize


def look_for_room(home: Path, reserve_bytes: int, high_mark_bytes: int) -> Finding:
    """Look whether there is room to take anything in, and will be for a while.

    Parameters
    ----------
    high_mark_bytes
        Free space below which work in the background waits.
    """
    state = os.statvfs(home)
    free = state.f_bavail * state.f_frsize
    if free <= reserve_bytes:
        return Finding(
            State.DEGRADED,
            f"{format_size(free)} free, {format_size(reserve_bytes)} reserved: nothing more is taken in, while "
            "reading, deleting and correcting go on; free some disk, or lower disk_reserve_bytes",
        )
    if free < high_mark_bytes:
        return Finding(
            State.DEGRADED,
            f"{format_size(free - reserve_bytes)} left before nothing more is taken in, and work in the background "
            "waits (disk_high_mark_bytes): give it a larger disk",
        )
    if state.f_bavail < state.f_blocks * LITTLE_ROOM:
        return Finding(
            State.DEGRADED,
            f"{format_size(free - reserve_bytes)} left before nothing more is taken in: give it a larger disk",
        )
    return WELL


def upstream_check(is_reachable: Callable[[], bool], problem: Callable[[], str]) -> Check:
    """Check that the upstream answers, and as it should.

    Parameters
    ----------
    problem
        Returns what is wrong with one that answers, and what to do; empty if nothing is.
    """

    async def check() -> Finding:
        if not is_reachable():
            return Finding(State.DEGRADED, "the upstream does not answer: what is held here is served, nothing else")
        wrong = problem()
        return Finding(State.DEGRADED, wrong) if wrong else WELL

    return check
