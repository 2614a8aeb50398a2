"""Running a search: the statement for its level, and the rows that pass what SQL cannot test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, starmap
from typing import Any, Final

import sqlalchemy as sa

from nearframe.dicom.levels import Level
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.conditions import Condition, condition_at, period
from nearframe.storage.catalogue.criteria import Criterion, Period, UIDs
from nearframe.storage.catalogue.postings import narrowest
from nearframe.storage.catalogue.values import unpack_metadata

_study, _series, _instance, _version = schema.study.c, schema.series.c, schema.instance.c, schema.version.c

STUDY_UID: Final = "0020000D"
SERIES_UID: Final = "0020000E"

_FROM: Final[dict[Level, sa.FromClause]] = {
    Level.STUDY: schema.study,
    Level.SERIES: schema.series.join(schema.study, _series.study_id == _study.id),
    Level.INSTANCE: schema.instance.join(schema.series, _instance.series_id == _series.id).join(
        schema.study, _series.study_id == _study.id
    ),
}
_OWN: Final = {Level.STUDY: _study.id, Level.SERIES: _series.id, Level.INSTANCE: _instance.id}
_NEWEST_FIRST: Final = (_study.study_date.desc(), _study.study_time.desc(), _study.id.desc())
_SERIES_ORDER: Final = (_series.series_number.nulls_last(), _series.series_instance_uid)
_INSTANCE_ORDER: Final = (_instance.instance_number.nulls_last(), _instance.sop_instance_uid)
#: The version that a row's attributes come from.
_SOURCE: Final = {
    Level.STUDY: _study.source_version_id,
    Level.SERIES: _series.source_version_id,
    Level.INSTANCE: _instance.current_id,
}


#: A search that takes longer reads a large archive from end to end, and is told so.
MAX_SEARCH_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """A match: the prepared answers of its level and, if asked for, of those above and its metadata."""

    answer: bytes
    series_answer: bytes = b""
    study_answer: bytes = b""
    compressed_metadata: bytes = b""

    def metadata(self) -> bytes:
        """Return the DICOM JSON of the instance the attributes come from."""
        return unpack_metadata(self.compressed_metadata)


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for.

    Attributes
    ----------
    studies
        The only studies that may be seen, None for all of the tenant.
    parents, metadata
        Whether matches carry the answers of the levels above, and their metadata.
    accept
        Decides about a row that SQL has let through; None accepts every one.
    max_examined
        Rows that `accept` may be asked about.
    """

    tenant: str
    level: Level
    criteria: tuple[Criterion, ...]
    periods: tuple[Period, ...]
    limit: int
    offset: int
    studies: frozenset[str] | None = None
    parents: bool = False
    metadata: bool = False
    accept: Callable[[Found], bool] | None = None
    max_examined: int = 5000

    def names_one(self, tag: str) -> bool:
        """Tell whether the search is within one study or series."""
        uids = [c.test.values for c in self.criteria if c.path == (tag,) and isinstance(c.test, UIDs)]
        return any(len(values) == 1 for values in uids)


@dataclass(frozen=True, slots=True)
class Result:
    """The matches from offset to limit, whether there are more, and whether the search gave up before the end."""

    found: list[Found]
    more: bool
    gave_up: bool = False


def is_indexed(search_level: Level, criterion: Criterion) -> bool:
    """Tell whether SQL can test a criterion in a search at a level."""
    return condition_at(search_level, "", criterion) is not None


def run(connection: sa.Connection, search: Search) -> Result:
    """Return the matches of a search; every criterion is one of `is_indexed`."""
    conditions = _conditions(connection, search)
    columns, source = _columns(search)
    rows = sa.select(*columns).select_from(source).order_by(*_order(search))
    if search.accept is not None:
        return _filtered(connection, rows.where(*conditions), search, search.accept)
    if search.names_one(STUDY_UID):
        rows = _paged(rows.where(*conditions), search)
    else:
        # The page is cut on ids first: what is sorted is narrow, and a deep offset skips index entries, not rows.
        own, table = _OWN[search.level], _FROM[search.level]
        page = sa.select(own).select_from(table).where(*conditions).order_by(*_order(search))
        rows = rows.where(own.in_(_paged(page, search).correlate(None)))
    found = list(starmap(Found, connection.execute(rows).all()))
    return Result(found[: search.limit], more=len(found) > search.limit)


def _paged(statement: sa.Select[Any], search: Search) -> sa.Select[Any]:
    # One row more than asked for tells whether there are more, without counting them.
    return statement.limit(search.limit + 1).offset(search.offset)


def _filtered(
    connection: sa.Connection, statement: sa.Select[Any], search: Search, accept: Callable[[Found], bool]
) -> Result:
    candidates = statement.limit(search.max_examined + 1).execution_options(yield_per=100)
    with connection.execute(candidates) as result:
        rows = iter(result)
        accepted = filter(accept, starmap(Found, islice(rows, search.max_examined)))
        found = list(islice(accepted, search.offset, search.offset + search.limit + 1))
        more = len(found) > search.limit
        return Result(found[: search.limit], more=more, gave_up=not more and next(rows, None) is not None)


def _conditions(connection: sa.Connection, search: Search) -> list[Condition]:
    wanted = [condition_at(search.level, search.tenant, criterion) for criterion in search.criteria]
    conditions = [*_in_view(connection, search), *(condition for condition in wanted if condition is not None)]
    conditions += [period(asked) for asked in search.periods]
    if search.studies is not None:
        conditions.append(_study.study_instance_uid.in_(search.studies))
    return conditions


def _in_view(connection: sa.Connection, search: Search) -> list[Condition]:
    """Return what keeps a search to the tenant, in the form that starts it at the right index.

    SQLite takes any equality for rarer than it is, so a condition is left out where another
    implies it: a study's series are its tenant's, and only studies in view have terms.
    """
    if search.names_one(STUDY_UID):
        conditions: list[Condition] = [_study.tenant == search.tenant, _study.listed == sa.true()]
        return conditions if search.level is Level.STUDY else [*conditions, _series.listed == sa.true()]
    posting = narrowest(connection, search.tenant, search.criteria, search.offset + search.limit)
    conditions = [_study.tenant == search.tenant, _study.listed == sa.true()]
    if posting is not None:
        conditions = [_study.id.in_(posting)]
    if search.level >= Level.SERIES and posting is None:
        conditions.append(_series.tenant == search.tenant)
    if search.level >= Level.SERIES:
        conditions.append(_series.listed == sa.true())
    if search.level is Level.INSTANCE and posting is None:
        conditions.append(_instance.tenant == search.tenant)
    return conditions


def _order(search: Search) -> tuple[sa.ColumnElement[Any], ...]:
    """Return an order that two pages of one search share."""
    if search.level is Level.STUDY:
        return _NEWEST_FIRST
    if not search.names_one(STUDY_UID):
        return (_series.id.desc(),) if search.level is Level.SERIES else (_instance.id.desc(),)
    if search.level is Level.SERIES:
        return _SERIES_ORDER
    return _INSTANCE_ORDER if search.names_one(SERIES_UID) else (*_SERIES_ORDER, *_INSTANCE_ORDER)


def _columns(search: Search) -> tuple[list[sa.ColumnElement[Any]], sa.FromClause]:
    level, source = search.level, _FROM[search.level]
    own = {Level.STUDY: _study.answer, Level.SERIES: _series.answer, Level.INSTANCE: _instance.answer}[level]
    columns: list[sa.ColumnElement[Any]] = [own.label("answer")]
    if search.metadata or search.parents:
        nothing = sa.literal(b"", sa.LargeBinary)
        columns.append((_series.answer if level is Level.INSTANCE else nothing).label("series_answer"))
        columns.append((_study.answer if level > Level.STUDY else nothing).label("study_answer"))
    if search.metadata:
        columns.append(_version.metadata)
        source = source.join(schema.version, _version.id == _SOURCE[level])
    return columns, source
