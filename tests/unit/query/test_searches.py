from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from nearframe.clock import ManualClock
from nearframe.context import Context, Scope, local_admin
from nearframe.dicom.levels import Level
from nearframe.query.freshness import Freshness
from nearframe.query.search import SearchAnswer, SearchService
from nearframe.query.searches import KEPT_S, Question, Searches
from nearframe.query.workers import Workers
from nearframe.storage.ports import StudyRef

QUESTION = Question(Level.STUDY, (("PatientID", "1"),), None, None, "http://a.test/dicomweb")


class Catalogue:
    """Answers every search with the number of searches so far."""

    def __init__(self) -> None:
        self.asked = 0

    def search(
        self, ctx: Context, level: Level, params: Sequence[tuple[str, str]], study: str | None, series: str | None
    ) -> SearchAnswer:
        self.asked += 1
        return SearchAnswer([b'{"n":%d}' % self.asked])


def searches() -> tuple[Searches, Catalogue, Freshness, ManualClock]:
    catalogue, freshness, clock = Catalogue(), Freshness(), ManualClock()
    made = Searches(cast("SearchService", catalogue), Workers("test", 1), freshness, clock.monotonic)
    return made, catalogue, freshness, clock


async def test_an_answer_is_given_again_for_a_moment() -> None:
    made, catalogue, _, clock = searches()
    first = await made.page(local_admin(), QUESTION)
    clock.advance(KEPT_S - 0.1)
    assert await made.page(local_admin(), QUESTION) == first
    clock.advance(0.2)
    assert (await made.page(local_admin(), QUESTION)).body == b'[{"n":2}]'
    assert catalogue.asked == 2


async def test_never_after_a_change() -> None:
    made, catalogue, freshness, _ = searches()
    await made.page(local_admin(), QUESTION)
    freshness.changed(StudyRef("main", "1.2"))
    await made.page(local_admin(), QUESTION)
    assert catalogue.asked == 2


async def test_never_to_somebody_else() -> None:
    made, catalogue, _, _ = searches()
    one = local_admin()
    for context in (one, local_admin("other"), Context(one.principal, one.tenant, Scope(frozenset({"1.2"})))):
        await made.page(context, QUESTION)
    assert catalogue.asked == 3


async def test_asked_at_the_same_time_it_is_answered_once() -> None:
    made, catalogue, _, _ = searches()
    pages = await asyncio.gather(*(made.page(local_admin(), QUESTION) for _ in range(5)))
    assert len({page.digest for page in pages}) == 1
    assert catalogue.asked == 1
