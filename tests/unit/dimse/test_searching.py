"""Searches for peers: all of it, however few rows an answer may have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from nearframe.context import Context, local_admin
from nearframe.dicom.levels import Level
from nearframe.dimse.searching import Match, search
from nearframe.errors import TooBroad
from nearframe.query.search import GAVE_UP, SearchAnswer, SearchService
from nearframe.query.workers import Workers


class Rows:
    """A search that has a number of rows, the newest first, and may give up.

    Parameters
    ----------
    growing
        So many more there are each time.
    """

    def __init__(self, count: int, max_results: int, *warnings: str, growing: int = 0) -> None:
        self.max_results = max_results
        self._count = count
        self._growing = growing
        self._warnings = warnings

    def search(self, context: Context, level: Level, params: Sequence[tuple[str, str]]) -> SearchAnswer:
        asked = {name: int(value) for name, value in params}
        limit = min(asked["limit"], self.max_results)
        rows = range(self._count, 0, -1)[asked["offset"] :][:limit]
        self._count += self._growing
        return SearchAnswer([b'{"0020000D":{"vr":"UI","Value":["1.%d"]}}' % row for row in rows], self._warnings)


async def found(rows: Rows) -> list[Match]:
    workers = Workers("search", 1)
    try:
        matches = search(cast(SearchService, rows), workers, local_admin("main"), Level.STUDY, [])
        return [match async for match in matches]
    finally:
        workers.close()


@pytest.mark.parametrize("max_results", [1, 3, 7, 1000])
async def test_all_is_found_however_few_rows_an_answer_has(max_results: int) -> None:
    assert [match.is_exact for match in await found(Rows(7, max_results))] == [True] * 7


async def test_what_is_stored_meanwhile_shows_nothing_twice() -> None:
    names = [match.row["0020000D"]["Value"][0] for match in await found(Rows(9, 3, growing=2))]
    assert names == [f"1.{number}" for number in range(9, 0, -1)]


async def test_a_search_that_gave_up_is_not_one_that_found_all() -> None:
    with pytest.raises(TooBroad):
        await found(Rows(7, 1000, GAVE_UP))


async def test_keys_that_were_not_looked_at() -> None:
    [match] = await found(Rows(1, 10, "These keys cannot be matched"))
    assert not match.is_exact
