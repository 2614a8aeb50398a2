"""Where to begin a search: the criterion that leaves the fewest studies.

A search is answered in one of two ways. If some criterion is rare, its studies are looked
up in an index and only they are tested. If none is, studies are walked from the newest and
the walk ends at the answer's limit, soon, because matches are common. Which one it is, is
found by looking at no more than `PROBE` entries of each index: no database's statistics
are needed, and none can be stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa

from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.conditions import MODALITIES_IN_STUDY, SOP_CLASSES_IN_STUDY
from nearframe.storage.catalogue.criteria import Criterion, Name, Pattern, Text, UIDs
from nearframe.storage.catalogue.terms import NAME_FIELDS, Field
from nearframe.storage.catalogue.text import sound

PROBE: Final = 512
_MAX_GRAMS: Final = 6  # of a long pattern; more would cost more than they save

#: Selections of study ids that together hold every match of a criterion.
Posting = tuple[sa.Select[Any], ...]

_study, _term = schema.study.c, schema.term.c

_GRAM_FIELDS: Final = {
    "00100020": Field.PATIENT_ID_GRAM,
    "00080050": Field.ACCESSION_GRAM,
    "00081030": Field.DESCRIPTION_GRAM,
}
_INDEXED: Final = {"00100020": _study.patient_id, "00080050": _study.accession_number}


def narrowest(
    connection: sa.Connection, tenant: str, criteria: Iterable[Criterion]
) -> sa.Select[Any] | sa.CompoundSelect[Any] | None:
    """Return a selection of study ids that holds every match and few others, None if all are long."""
    best: Posting | None = None
    fewest = PROBE
    for criterion in criteria:
        for posting in _postings(tenant, criterion):
            count = sum(_count(connection, part, fewest) for part in posting)
            if count < fewest:
                best, fewest = posting, count
    if best is None:
        return None
    return best[0] if len(best) == 1 else sa.union_all(*best)


def _count(connection: sa.Connection, part: sa.Select[Any], limit: int) -> int:
    probe = part.limit(limit).subquery()
    return connection.execute(sa.select(sa.func.count()).select_from(probe)).scalar_one()


def _postings(tenant: str, criterion: Criterion) -> Iterator[Posting]:
    """Yield the ways to look a criterion up."""
    tag, test = criterion.tag, criterion.test
    if len(criterion.path) > 1:
        return
    if isinstance(test, Name) and tag in NAME_FIELDS:
        yield from _of_name(tenant, tag, test)
    elif isinstance(test, UIDs) and tag == SOP_CLASSES_IN_STUDY:
        yield (_terms(tenant, Field.SOP_CLASS, _term.value.in_(test.values)),)
    elif isinstance(test, Text):
        literal = all(pattern.is_literal for pattern in test.patterns)
        if tag in (MODALITIES_IN_STUDY, "00080060") and literal:
            yield (_terms(tenant, Field.MODALITY, _term.value.in_([pattern.text for pattern in test.patterns])),)
        elif tag in _GRAM_FIELDS:
            yield from _either([_of_text(tenant, tag, pattern) for pattern in test.patterns])


def _of_text(tenant: str, tag: str, pattern: Pattern) -> list[Posting]:
    if tag not in _INDEXED or not pattern.prefix:
        return _of_grams(tenant, _GRAM_FIELDS[tag], pattern)
    column = _INDEXED[tag]
    begins = column == pattern.text if pattern.is_literal else _begins(column, pattern.prefix)
    return [(sa.select(_study.id).where(_study.tenant == tenant, begins),)]


def _of_name(tenant: str, tag: str, test: Name) -> Iterator[Posting]:
    whole, word, alike, gram = NAME_FIELDS[tag]
    # Of several groups asked for, all have to match: each alone will do as a beginning.
    for group in filter(None, test.groups):
        exact = [_of_group(tenant, whole, gram, pattern) for pattern in group]
        if test.words:
            yield from _either([[_of_word(tenant, word, alike, one) for one in test.words], *exact])
        else:
            yield from _either(exact)


def _of_group(tenant: str, whole: Field, gram: Field, pattern: Pattern) -> list[Posting]:
    if pattern.is_literal:
        return [(_terms(tenant, whole, _term.value == pattern.text),)]
    if pattern.prefix:
        return [(_terms(tenant, whole, _begins(_term.value, pattern.prefix)),)]
    return _of_grams(tenant, gram, pattern)


def _of_word(tenant: str, word: Field, alike: Field, text: str) -> Posting:
    begins = _terms(tenant, word, _begins(_term.value, text))
    code = sound(text)
    return (begins,) if code is None else (begins, _terms(tenant, alike, _term.value == code))


def _of_grams(tenant: str, field: Field, pattern: Pattern) -> list[Posting]:
    found = list(dict.fromkeys(pattern.grams))
    step = -(-len(found) // _MAX_GRAMS) or 1
    return [(_terms(tenant, field, _term.value == gram),) for gram in found[::step]]


def _either(alternatives: Sequence[Sequence[Posting]]) -> Iterator[Posting]:
    """Yield selections that hold what any alternative matches; none if one of them cannot be looked up."""
    if not all(alternatives):
        return
    most = max(len(ways) for ways in alternatives)
    for turn in range(most):
        chosen = (ways[turn % len(ways)] for ways in alternatives)
        yield tuple(part for posting in chosen for part in posting)


def _terms(tenant: str, field: Field, value: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(_term.study_id).where(_term.tenant == tenant, _term.field == int(field), value)


def _begins(column: sa.ColumnElement[Any], prefix: str) -> sa.ColumnElement[bool]:
    # A range, which both databases serve from an ordered index; the highest code point ends it.
    return sa.and_(column >= prefix, column < prefix + "\U0010ffff")
