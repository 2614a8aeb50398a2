"""Where to begin a search: the criterion that leaves the fewest studies.

A search is answered in one of two ways. If some criterion is rare, its studies are looked
up in the index of terms and only they are tested: as many tests as entries. If none is,
studies are walked from the newest until the answer is full: of n studies of which p match,
``limit * n / p`` tests. The entries are counted, no further than to where both cost the
same, so no database's statistics are needed, and none can be stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import isqrt
from typing import Any, Final

import sqlalchemy as sa

from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.conditions import MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY
from nearframe.storage.catalogue.criteria import Criterion, Name, Pattern, Text, UIDs
from nearframe.storage.catalogue.prepared import Prepared
from nearframe.storage.catalogue.terms import NAME_FIELDS, TEXT_FIELDS, Field
from nearframe.storage.catalogue.text import sound

MAX_PROBE: Final = 2048
_FIRST_PROBE: Final = 64
_PROBE_GROWTH: Final = 8
#: Lookups of one statement: SQLite takes 500 parts at most.
_COUNTED_TOGETHER: Final = 32
_MAX_GRAMS: Final = 6  # of a long pattern: counting more costs more than it saves
_LAST: Final = "\U0010ffff"  # no character sorts after it

_term = schema.term.c


@dataclass(frozen=True, slots=True)
class Lookup:
    """A term, or every term that begins with `value`."""

    field: Field
    value: str
    is_prefix: bool = False

    @property
    def end(self) -> str:
        return self.value + _LAST if self.is_prefix else self.value


#: Terms whose studies together hold every match of a criterion.
Posting = tuple[Lookup, ...]

_STUDIES = sa.select(schema.head.c.studies)


def narrowest(
    connection: sa.Connection, tenant: str, criteria: Iterable[Criterion], limit: int
) -> sa.Select[Any] | sa.CompoundSelect[Any] | None:
    """Return a selection of study ids that holds every match and few others, None if a walk finds `limit` sooner."""
    postings = [posting for criterion in criteria for posting in _postings(criterion)]
    if not postings:
        return None
    studies: int = connection.execute(_STUDIES).scalar_one()
    worth, at_most = min(isqrt(limit * studies), MAX_PROBE), _FIRST_PROBE
    rarest = _rarest(connection, tenant, postings, min(at_most, worth))
    # What is rare shows at once; only if nothing is are thousands of entries counted.
    while rarest is None and at_most < worth:
        at_most *= _PROBE_GROWTH
        rarest = _rarest(connection, tenant, postings, min(at_most, worth))
    if rarest is None:
        return None
    parts = [_entries(tenant, lookup) for lookup in rarest]
    return parts[0] if len(parts) == 1 else sa.union_all(*parts)


def _rarest(connection: sa.Connection, tenant: str, postings: Sequence[Posting], at_most: int) -> Posting | None:
    """Return the posting with the fewest entries, None if each has more than `at_most`."""
    lookups = list(dict.fromkeys(lookup for posting in postings for lookup in posting))
    counts = dict(zip(lookups, _counts(connection, tenant, lookups, at_most + 1), strict=True))
    entries = [sum(counts[lookup] for lookup in posting) for posting in postings]
    fewest = min(range(len(postings)), key=entries.__getitem__)
    return postings[fewest] if entries[fewest] <= at_most else None


def _counts(connection: sa.Connection, tenant: str, lookups: Sequence[Lookup], at_most: int) -> list[int]:
    """Return how many entries there are for each of `lookups`, counted as far as `at_most`."""
    counts: list[int] = []
    for start in range(0, len(lookups), _COUNTED_TOGETHER):
        chunk = lookups[start : start + _COUNTED_TOGETHER]
        values: dict[str, Any] = {"tenant": tenant, "at_most": at_most}
        for number, lookup in enumerate(chunk):
            values |= {f"field{number}": int(lookup.field), f"low{number}": lookup.value, f"high{number}": lookup.end}
        found = _counting(len(chunk)).rows(connection, **values)
        counts += [row["entries"] for row in sorted(found, key=lambda row: int(row["number"]))]
    return counts


@cache
def _counting(lookups: int) -> Prepared:
    """Return the statement that counts for so many: one, since on the way to a server each costs more than counting."""
    parts = [_counted(number) for number in range(lookups)]
    return Prepared(parts[0] if len(parts) == 1 else sa.union_all(*parts))


def _counted(number: int) -> sa.Select[int, int]:
    # One form for both: a range of one value is served from the ordered index like a prefix.
    low: sa.BindParameter[str] = sa.bindparam(f"low{number}")
    high: sa.BindParameter[str] = sa.bindparam(f"high{number}")
    of_field = _term.tenant == sa.bindparam("tenant"), _term.field == sa.bindparam(f"field{number}")
    entries = sa.select(_term.study_id).where(*of_field, _term.value >= low, _term.value <= high)
    counted = entries.limit(sa.bindparam("at_most")).subquery()
    this = sa.literal_column(str(number), sa.Integer).label("number")
    return sa.select(this, sa.func.count().label("entries")).select_from(counted)


def _entries(tenant: str, lookup: Lookup) -> sa.Select[Any]:
    return sa.select(_term.study_id).where(
        _term.tenant == tenant,
        _term.field == int(lookup.field),
        _term.value >= lookup.value,
        _term.value <= lookup.end,
    )


def _postings(criterion: Criterion) -> Iterator[Posting]:
    """Yield the ways to look a criterion up."""
    tag, test = criterion.tag, criterion.test
    if len(criterion.path) > 1:
        return
    if isinstance(test, Name) and tag in NAME_FIELDS:
        yield from _of_name(tag, test)
    elif isinstance(test, UIDs) and tag == SOP_CLASSES_IN_STUDY:
        yield tuple(Lookup(Field.SOP_CLASS, uid) for uid in test.values)
    elif isinstance(test, Text):
        yield from _of_text(tag, test)


def _of_text(tag: str, test: Text) -> Iterator[Posting]:
    if tag in (MODALITIES_IN_STUDY, "00080060"):
        if all(pattern.is_literal for pattern in test.patterns):
            yield tuple(Lookup(Field.MODALITY, pattern.text) for pattern in test.patterns)
    elif tag in TEXT_FIELDS:
        yield from _either([_of_pattern(*TEXT_FIELDS[tag], pattern) for pattern in test.patterns])
    elif tag == "00081030":
        yield from _either([_of_grams(Field.DESCRIPTION_GRAM, pattern) for pattern in test.patterns])


def _of_name(tag: str, test: Name) -> Iterator[Posting]:
    whole, word, alike, gram = NAME_FIELDS[tag]
    # Of several groups asked for, all have to match: each alone will do as a beginning.
    for group in filter(None, test.groups):
        exact = [_of_pattern(whole, gram, pattern) for pattern in group]
        if test.words:
            yield from _either([[_of_word(word, alike, one) for one in test.words], *exact])
        else:
            yield from _either(exact)


def _of_word(word: Field, alike: Field, text: str) -> Posting:
    begins = Lookup(word, text, is_prefix=True)
    code = sound(text)
    return (begins,) if code is None else (begins, Lookup(alike, code))


def _of_pattern(whole: Field, gram: Field, pattern: Pattern) -> list[Posting]:
    if pattern.prefix:
        return [(Lookup(whole, pattern.prefix, is_prefix=not pattern.is_literal),)]
    return _of_grams(gram, pattern)


def _of_grams(field: Field, pattern: Pattern) -> list[Posting]:
    found = list(dict.fromkeys(pattern.grams))
    step = -(-len(found) // _MAX_GRAMS) or 1
    return [(Lookup(field, gram),) for gram in found[::step]]


def _either(alternatives: Sequence[Sequence[Posting]]) -> Iterator[Posting]:
    """Yield postings that hold what any alternative matches; none if one of them cannot be looked up."""
    if not all(alternatives):
        return
    for turn in range(max(len(ways) for ways in alternatives)):
        chosen = (ways[turn % len(ways)] for ways in alternatives)
        yield tuple(lookup for posting in chosen for lookup in posting)
