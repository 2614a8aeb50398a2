"""Searches for peers: all of it, however few rows an answer may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from nearframe.context import Context, local_admin
from nearframe.dicom.levels import Level
from nearframe.dimse.searching import search
from nearframe.errors import TooBroad
from nearframe.query.search import GAVE_UP, SearchAnswer, SearchService
from nearframe.query.workers import Workers


class Rows:
    """A search that has a number of rows, and may give up."""

    def __init__(self, count: int, max_results: int, *warnings: str) -> None:
        self.max_results = max_results
        self._count = count
        self._warnings = warnings

    def search(self, context: Context, level: Level, params: Sequence[tuple[str, str]]) -> SearchAnswer:
        asked = {name: int(value) for name, value in params}
        limit = min(asked["limit"], self.max_results)
        rows = range(self._count)[asked["offset"] :][:limit]
        return SearchAnswer([b'{"00080018":{"vr":"UI"}}' for _ in rows], self._warnings)


async def found(rows: Rows) -> list[bool]:
    workers = Workers("search", 1)
    try:
        matches = search(cast(SearchService, rows), workers, local_admin("main"), Level.STUDY, [])
        return [match.is_exact async for match in matches]
    finally:
        workers.close()


@pytest.mark.parametrize("max_results", [1, 3, 7, 1000])
async def test_all_is_found_however_few_rows_an_answer_has(max_results: int) -> None:
    assert await found(Rows(7, max_results)) == [True] * 7


async def test_a_search_that_gave_up_is_not_one_that_found_all() -> None:
    with pytest.raises(TooBroad):
        await found(Rows(7, 1000, GAVE_UP))


async def test_keys_that_were_not_looked_at() -> None:
    assert await found(Rows(1, 10, "These keys cannot be matched")) == [False]
