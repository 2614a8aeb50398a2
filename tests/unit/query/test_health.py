from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nearframe.errors import BackendFailed, Busy
from nearframe.query import health
from nearframe.query.health import WELL, Finding, State, bucket_check, disk_check, examine, upstream_check
from nearframe.query.workers import Workers


async def well() -> Finding:
    return WELL


async def degraded() -> Finding:
    return Finding(State.DEGRADED, "a reason")


async def broken() -> Finding:
    raise BackendFailed("the database is away")


async def silent() -> Finding:
    await asyncio.Event().wait()
    return WELL


async def test_all_well() -> None:
    health = await examine({"one": well, "other": well})
    assert health.http_status == 200
    assert health.as_json() == {"status": "ok", "checks": {"one": {"state": "ok"}, "other": {"state": "ok"}}}


async def test_degraded_still_answers_200_and_says_why() -> None:
    health = await examine({"one": well, "other": degraded})
    assert (health.http_status, health.state) == (200, State.DEGRADED)
    assert health.findings["other"].as_json() == {"state": "degraded", "reason": "a reason"}


@pytest.mark.parametrize("check", [broken, silent])
async def test_a_check_that_fails_or_hangs_makes_it_failing(check) -> None:  # type: ignore[no-untyped-def]
    health = await examine({"one": well, "other": degraded, "bad": check}, patience_s=0.01)
    assert (health.http_status, health.state) == (503, State.FAILING)
    assert "database" not in str(health.as_json())


async def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Workers("disk", 1)
    try:
        monkeypatch.setattr(health, "LITTLE_ROOM", 2)
        little = await disk_check(tmp_path, 0, 0, disk)()
        assert little.state is State.DEGRADED
        assert "left before nothing more is taken in" in little.reason
        monkeypatch.setattr(health, "LITTLE_ROOM", 0)
        assert await disk_check(tmp_path, 0, 0, disk)() == WELL
        full = await disk_check(tmp_path, 2**62, 2**62, disk)()
        assert full.state is State.DEGRADED
        assert "nothing more is taken in" in full.reason
    finally:
        disk.close()


async def test_upstream() -> None:
    assert await upstream_check(lambda: True, str)() == WELL
    assert (await upstream_check(lambda: False, str)()).state is State.DEGRADED
    assert await upstream_check(lambda: True, lambda: "no feed")() == Finding(State.DEGRADED, "no feed")


async def test_a_bucket_that_is_away_takes_no_origin_out_of_a_balancer() -> None:
    def away() -> None:
        raise Busy("it does not answer")

    def refuses() -> None:
        raise BackendFailed("it refused")

    disk = Workers("disk", 1)
    try:
        assert await bucket_check(lambda: None, disk)() == WELL
        found = await examine({"bucket": bucket_check(away, disk)})
        assert (found.http_status, found.state) == (200, State.DEGRADED)
        assert (await examine({"bucket": bucket_check(refuses, disk)})).http_status == 503
    finally:
        disk.close()
