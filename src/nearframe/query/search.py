"""Searching studies, series and instances (QIDO-RS, PS3.18 section 10.6)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nearframe.context import Context
from nearframe.dicom.levels import COMPUTED, Level, answer_keys, level_of
from nearframe.dicom.model import DICOMJSON
from nearframe.query.matching import accepts
from nearframe.query.qido import Query, parse_query
from nearframe.storage.catalogue import SQLCatalogue
from nearframe.storage.catalogue.answers import assemble, parse, render
from nearframe.storage.catalogue.criteria import MOMENTS, Criterion, Period, Range, UIDs
from nearframe.storage.catalogue.searching import SERIES_UID, STUDY_UID, Found, Search, is_indexed

MAX_RESULTS: Final = 1000
#: Rows whose metadata may be read for attributes that no index holds: about a second's work.
MAX_EXAMINED: Final = 5000

MORE_RESULTS: Final = "There are additional results that can be requested"
GAVE_UP: Final = (
    f"The search stopped after {MAX_EXAMINED} candidates for attributes that are not indexed; add further keys"
)


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Matches in a stable order.

    Attributes
    ----------
    rows
        DICOM JSON objects in UTF-8 whose Retrieve URLs lack the service's address; `render` fills it in.
    warnings
        Texts for ``Warning: 299`` header lines (PS3.18 section 10.6.3), ASCII and free of values.
    """

    rows: list[bytes]
    warnings: tuple[str, ...] = ()

    def render(self, base_url: str) -> bytes:
        """Return the rows as a JSON array, `base_url` being the service's address without a slash at its end."""
        return render(self.rows, base_url)


class SearchService:
    """Answers searches from the catalogue. Sync: callers bring threads.

    Parameters
    ----------
    max_results
        Rows of one answer, whatever its limit: then a warning says that there are more.
    """

    def __init__(self, catalogue: SQLCatalogue, max_results: int = MAX_RESULTS) -> None:
        self._catalogue = catalogue
        self.max_results = max_results

    def search(
        self,
        ctx: Context,
        level: Level,
        params: Sequence[tuple[str, str]],
        study: str | None = None,
        series: str | None = None,
    ) -> SearchAnswer:
        """Return the matches of a search at a level, within a study or series if the path names one.

        Raises
        ------
        MalformedRequest
            If a parameter cannot be read.
        TooBroad
            If the search was stopped because it took too long.
        """
        query = parse_query(params)
        criteria, unsupported = _supported(level, query.criteria)
        view = _View.of(level, query, in_study=study is not None, in_series=series is not None)
        criteria = [*_within(study, series), *criteria]
        periods, criteria = _combine(level, criteria)
        indexed = [criterion for criterion in criteria if is_indexed(level, criterion)]
        others = [criterion for criterion in criteria if criterion not in indexed]
        limit = self.max_results if query.limit is None else min(query.limit, self.max_results)
        result = self._catalogue.search(
            Search(
                tenant=ctx.tenant,
                level=level,
                criteria=tuple(indexed),
                periods=tuple(periods),
                limit=limit,
                offset=query.offset,
                studies=ctx.scope.studies,
                parents=bool(others) or not view.is_prepared,
                metadata=view.needs_metadata or any(not _is_answered(level, c.tag) for c in others),
                accept=_acceptor(level, others),
                max_examined=MAX_EXAMINED,
            )
        )
        rows = [view.row(found) for found in result.found]
        capped = result.more and (query.limit is None or query.limit > limit)
        return SearchAnswer(rows, _warnings(query.ignored, unsupported, capped=capped, gave_up=result.gave_up))


@dataclass(frozen=True, slots=True)
class _View:
    """Which attributes an answer shows.

    Attributes
    ----------
    parents
        Levels above whose attributes stand in every row, because the path does not name them.
    extra
        Tags that the prepared answers of the level and of `parents` never hold.
    """

    level: Level
    parents: frozenset[Level]
    extra: frozenset[str]
    everything: bool

    @classmethod
    def of(cls, level: Level, query: Query, *, in_study: bool, in_series: bool) -> _View:
        parents = set()
        if level > Level.STUDY and not in_study:
            parents.add(Level.STUDY)
        if level > Level.SERIES and not in_series:
            parents.add(Level.SERIES)
        shown = {level, *parents}
        computed = {tag for tag, one in COMPUTED.items() if one in shown}
        held = _ALWAYS.union(computed, *(answer_keys(one) for one in shown))
        asked = {tag for tag in query.keys | query.include if level_of(tag) <= level}
        return cls(level, frozenset(parents), frozenset(asked - held), query.include_all)

    @property
    def is_prepared(self) -> bool:
        """True if rows are sent as they were prepared."""
        return not (self.parents or self.extra or self.everything)

    @property
    def needs_metadata(self) -> bool:
        return self.everything or any(not _is_answered(self.level, tag) for tag in self.extra)

    def row(self, found: Found) -> bytes:
        """Return the answer of one match."""
        if self.is_prepared:
            return found.answer
        above = _above(self.level, found)
        shown: DICOMJSON = {}
        for level in sorted(self.parents):
            shown |= above[level]
        for tag in self.extra:
            for document in above.values():
                if tag in document:
                    shown[tag] = document[tag]
        if found.compressed_metadata:
            shown = self._of_metadata(json.loads(found.metadata())) | shown
        return assemble(shown | parse(found.answer))

    def _of_metadata(self, metadata: DICOMJSON) -> DICOMJSON:
        # Bulk values are addressed relative to their instance, which this answer is not.
        return {
            tag: element
            for tag, element in metadata.items()
            if (tag in self.extra or (self.everything and level_of(tag) is self.level))
            and tag not in COMPUTED
            and "BulkDataURI" not in element
        }


#: Identifiers and addresses that every prepared answer holds.
_ALWAYS: Final = frozenset({"00080056", "00081190", STUDY_UID})


def _above(level: Level, found: Found) -> dict[Level, DICOMJSON]:
    """Return the answers of the levels above a match."""
    above: dict[Level, DICOMJSON] = {}
    if level > Level.STUDY and found.study_answer:
        above[Level.STUDY] = parse(found.study_answer)
    if level > Level.SERIES and found.series_answer:
        above[Level.SERIES] = parse(found.series_answer)
    return above


def _is_answered(level: Level, tag: str) -> bool:
    """Tell whether the prepared answers of a level and those above hold an attribute, if the object has it."""
    return level_of(tag) <= level and (tag in COMPUTED or any(tag in answer_keys(one) for one in Level if one <= level))


def _supported(level: Level, criteria: Sequence[Criterion]) -> tuple[list[Criterion], list[Criterion]]:
    """Separate the criteria that say nothing at this level: of single instances, in no index."""
    supported = [c for c in criteria if level_of(c.tag) <= level or is_indexed(level, c)]
    return supported, [c for c in criteria if c not in supported]


def _within(study: str | None, series: str | None) -> list[Criterion]:
    named = ((STUDY_UID, study), (SERIES_UID, series))
    return [Criterion((tag,), UIDs((uid,))) for tag, uid in named if uid is not None]


def _combine(level: Level, criteria: list[Criterion]) -> tuple[list[Period], list[Criterion]]:
    """Take a date range and its time range together, as from one moment to another.

    A single time stays a key of its own: every day at ten.
    """
    ranges = {c.tag: c.test for c in criteria if len(c.path) == 1 and isinstance(c.test, Range)}
    periods = [
        Period(date, time, ranges[date], ranges[time])
        for date, time in MOMENTS.items()
        if date in ranges and time in ranges and not ranges[time].is_single and level_of(date) <= level
    ]
    used = {tag for period in periods for tag in (period.date_tag, period.time_tag)}
    return periods, [c for c in criteria if not (c.tag in used and isinstance(c.test, Range))]


def _acceptor(level: Level, criteria: Sequence[Criterion]) -> Callable[[Found], bool] | None:
    """Return the test of what SQL cannot test."""
    if not criteria:
        return None
    answered = [c for c in criteria if _is_answered(level, c.tag)]
    of_metadata = [c for c in criteria if c not in answered]

    def accept(found: Found) -> bool:
        if answered:
            documents = [parse(found.answer), *_above(level, found).values()]
            if not all(any(accepts(c, document) for document in documents) for c in answered):
                return False
        if not of_metadata:
            return True
        metadata = json.loads(found.metadata())
        return all(accepts(c, metadata) for c in of_metadata)

    return accept


def _warnings(
    ignored: Sequence[str], unsupported: Sequence[Criterion], *, capped: bool, gave_up: bool
) -> tuple[str, ...]:
    warnings: list[str] = []
    if capped:
        warnings.append(MORE_RESULTS)
    if gave_up:
        warnings.append(GAVE_UP)
    if ignored:
        warnings.append(f"These parameters are not known and were ignored: {', '.join(ignored)}")
    if unsupported:
        keys = ", ".join(".".join(criterion.path) for criterion in unsupported)
        warnings.append(f"These keys cannot be matched at this level and were ignored: {keys}")
    return tuple(warnings)
