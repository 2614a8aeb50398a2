"""Searches of the catalogue for peers: all that matches, since DIMSE knows no pages (PS3.4 Annex C)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from nearframe.context import Context
from nearframe.dicom.levels import Level
from nearframe.dicom.model import DICOMJSON
from nearframe.dimse.identifiers import text_of
from nearframe.errors import TooBroad
from nearframe.query.search import GAVE_UP, MORE_RESULTS, SearchService
from nearframe.query.workers import Workers

#: Rows taken from the catalogue at once: the first answers leave while more are looked for.
_PAGE: Final = 200
#: Of study, series and instance.
_UNIQUE: Final = ("0020000D", "0020000E", "00080018")


@dataclass(frozen=True, slots=True)
class Match:
    """A row, as DICOMweb has it.

    Attributes
    ----------
    is_exact
        False if some key could not be looked at: there are more matches than were asked for.
    """

    row: DICOMJSON
    is_exact: bool


async def search(
    service: SearchService, workers: Workers, context: Context, level: Level, keys: Sequence[tuple[str, str]]
) -> AsyncGenerator[Match, None]:
    """Yield what matches.

    Raises
    ------
    MalformedRequest
        If a key cannot be read.
    TooBroad
        If the search was stopped before it had looked at everything.
    """
    size, offset = min(_PAGE, service.max_results), 0
    before: set[tuple[str, ...]] = set()
    while True:
        page = [*keys, ("limit", str(size)), ("offset", str(offset))]
        answer = await workers.run(service.search, context, level, page)
        rows = json.loads(answer.render(""))
        is_exact = not set(answer.warnings) - {MORE_RESULTS, GAVE_UP}
        names = [tuple(text_of(row, tag) for tag in _UNIQUE) for row in rows]
        for row, name in zip(rows, names, strict=True):
            if name not in before:
                yield Match(row, is_exact)
        # The newest come first: what was stored meanwhile moves the end of this page into the next.
        before = set(names)
        if GAVE_UP in answer.warnings:
            raise TooBroad
        if len(rows) < size:
            return
        offset += size
