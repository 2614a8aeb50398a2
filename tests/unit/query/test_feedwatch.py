"""The feed: in order, by tenant and scope; waiting wakes on what is stored here or elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nearframe import tasks
from nearframe.context import Scope, local_admin
from nearframe.errors import Gone
from nearframe.query.feedwatch import FeedPage, FeedWatch
from nearframe.query.workers import Workers
from nearframe.storage.ports import FeedCursor
from tests.syncing import Shelves, ct_series, shelves

ADMIN = local_admin()
NEVER_S = 3600.0


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Shelves]:
    yield from shelves(tmp_path)


@pytest.fixture
async def watch(origin: Shelves) -> AsyncIterator[FeedWatch]:
    pool = Workers("test", 2)
    feed = FeedWatch(origin.catalogue, pool, look_every_s=NEVER_S)
    yield feed
    await feed.close()
    pool.close()


def uids(page: FeedPage) -> list[str]:
    return [entry.study_instance_uid for entry in page.entries]


async def test_pages_follow_each_other(origin: Shelves, watch: FeedWatch) -> None:
    for study in ("1.2", "1.3", "1.4"):
        origin.put(ct_series(1, study=study))
    first = await watch.page(ADMIN, None, 2, 0)
    assert uids(first) == ["1.2", "1.3"]
    second = await watch.page(ADMIN, first.next, 2, 0)
    assert uids(second) == ["1.4"]
    assert second.next == origin.catalogue.head()
    assert await watch.page(ADMIN, second.next, 2, 0) == FeedPage((), second.next)


async def test_other_tenants_and_studies_out_of_scope_do_not_show(origin: Shelves, watch: FeedWatch) -> None:
    origin.put(ct_series(1, study="1.2"), tenant="other")
    origin.put(ct_series(1, study="1.3"))
    origin.put(ct_series(1, study="1.4"))
    page = await watch.page(replace(ADMIN, scope=Scope(frozenset(["1.4"]))), None, 10, 0)
    assert uids(page) == ["1.4"]
    other = await watch.page(local_admin("nobody"), None, 10, 0)
    assert other == FeedPage((), origin.catalogue.head())


async def test_an_empty_catalogue_has_a_cursor(origin: Shelves, watch: FeedWatch) -> None:
    assert await watch.page(ADMIN, None, 10, 0) == FeedPage((), origin.catalogue.head())


async def test_another_epoch_is_gone(origin: Shelves, watch: FeedWatch) -> None:
    with pytest.raises(Gone):
        await watch.page(ADMIN, FeedCursor("elsewhere", 0), 10, 5)


async def test_a_waiter_is_woken_by_a_nudge(origin: Shelves, watch: FeedWatch) -> None:
    head = origin.catalogue.head()
    waiting = [tasks.spawn(watch.page(ADMIN, head, 10, NEVER_S), name="waiter") for _ in range(3)]
    while not watch.waiting:
        await asyncio.sleep(0)
    origin.put(ct_series(1, study="1.2"))
    watch.nudge()
    pages = await asyncio.gather(*waiting)
    assert [uids(page) for page in pages] == [["1.2"]] * 3


async def test_a_waiter_sees_what_another_process_stored(origin: Shelves) -> None:
    pool = Workers("test", 2)
    watch = FeedWatch(origin.catalogue, pool, look_every_s=0.001)
    waiting = tasks.spawn(watch.page(ADMIN, origin.catalogue.head(), 10, NEVER_S), name="waiter")
    while not watch.waiting:
        await asyncio.sleep(0)
    origin.put(ct_series(1, study="1.2"))
    assert uids(await waiting) == ["1.2"]
    await watch.close()
    pool.close()


async def test_waiting_ends_and_so_does_the_looking(origin: Shelves, watch: FeedWatch) -> None:
    head = origin.catalogue.head()
    assert await watch.page(ADMIN, head, 10, 0.01) == FeedPage((), head)
    assert watch.waiting == 0


async def test_a_node_that_stops_keeps_nobody_waiting(origin: Shelves, watch: FeedWatch) -> None:
    head, stopping = origin.catalogue.head(), asyncio.Event()
    waiting = tasks.spawn(watch.page(ADMIN, head, 10, NEVER_S, stopping), name="waiter")
    while not watch.waiting:
        await asyncio.sleep(0)
    stopping.set()
    assert await waiting == FeedPage((), head)
    assert await watch.page(ADMIN, head, 10, NEVER_S, stopping) == FeedPage((), head)
