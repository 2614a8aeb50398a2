"""Search criteria as SQL: which attribute stands in which column, and what each test becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from nearframe.dicom.levels import Level, level_of
from nearframe.storage.catalogue import schema
from nearframe.storage.catalogue.criteria import (
    Criterion,
    Empty,
    Name,
    Numbers,
    Pattern,
    Period,
    Range,
    Test,
    Text,
    UIDs,
)
from nearframe.storage.catalogue.terms import Field
from nearframe.storage.catalogue.text import sound

Condition = sa.ColumnElement[bool]

_study, _series, _instance, _term = schema.study.c, schema.series.c, schema.instance.c, schema.term.c

_TEXT: Final[dict[str, sa.Column[Any]]] = {
    "00080050": _study.accession_number,
    "00081030": _study.study_description,
    "00100020": _study.patient_id,
    "00100021": _study.issuer_of_patient_id,
    "00100040": _study.patient_sex,
    "00200010": _study.study_id,
    "00080060": _series.modality,
    "0008103E": _series.series_description,
    "00180015": _series.body_part_examined,
}
_UID: Final[dict[str, sa.Column[Any]]] = {
    "0020000D": _study.study_instance_uid,
    "0020000E": _series.series_instance_uid,
    "00080016": _instance.sop_class_uid,
    "00080018": _instance.sop_instance_uid,
}
_MOMENT: Final[dict[str, sa.Column[Any]]] = {
    "00080020": _study.study_date,
    "00080030": _study.study_time,
    "00100030": _study.patient_birth_date,
    "00080021": _series.series_date,
    "00080031": _series.series_time,
    "00400244": _series.step_start_date,
    "00400245": _series.step_start_time,
}
_NUMBER: Final[dict[str, sa.Column[Any]]] = {
    "00201206": _study.series_count,
    "00201208": _study.instance_count,
    "00200011": _series.series_number,
    "00201209": _series.instance_count,
    "00200013": _instance.instance_number,
}
#: What the columns hold, and the drivers take, is below.
_INT64: Final = 2**63
MODALITIES_IN_STUDY: Final = "00080061"
SOP_CLASSES_IN_STUDY: Final = "00080062"


@dataclass(frozen=True, slots=True)
class NameColumns:
    """Where a person name stands."""

    groups: tuple[sa.Column[Any], sa.Column[Any], sa.Column[Any]]
    index: sa.Column[Any]


_NAME: Final = {
    "00100010": NameColumns(
        (_study.patient_name, _study.patient_name_ideographic, _study.patient_name_phonetic),
        _study.patient_name_index,
    ),
    "00080090": NameColumns(
        (
            _study.referring_physician_name,
            _study.referring_physician_name_ideographic,
            _study.referring_physician_name_phonetic,
        ),
        _study.referring_physician_name_index,
    ),
}


def column_of(tag: str) -> sa.Column[Any] | None:
    """Return the column an attribute can be compared in."""
    return _TEXT.get(tag, _UID.get(tag, _MOMENT.get(tag, _NUMBER.get(tag))))


def condition(criterion: Criterion) -> Condition | None:
    """Return the test as SQL on the table of the attribute's own level, None if no column holds it."""
    if len(criterion.path) > 1:
        return None
    tag, test = criterion.tag, criterion.test
    if tag == MODALITIES_IN_STUDY and isinstance(test, Text):
        return _has_series(sa.or_(*(_text(_series.modality, pattern) for pattern in test.patterns)))
    if tag == SOP_CLASSES_IN_STUDY and isinstance(test, UIDs):
        return _has_term(Field.SOP_CLASS, test.values)
    if tag in _NAME:
        return _name(_NAME[tag], test)
    column = column_of(tag)
    return None if column is None else _test(column, test)


def condition_at(level: Level, tenant: str, criterion: Criterion) -> Condition | None:
    """Return the test as SQL for a search at `level`.

    An attribute of a lower level is tested on what the study or series contains.
    """
    plain = condition(criterion)
    below = level_of(criterion.tag)
    if plain is None or below <= level:
        return plain
    within: sa.FromClause
    if level is Level.SERIES:
        key, within, listed = _instance.series_id, schema.instance, _instance.tenant == tenant
    elif below is Level.SERIES:
        key, within, listed = _series.study_id, schema.series, _series_listed(tenant)
    else:
        key, within = _series.study_id, schema.series.join(schema.instance, _instance.series_id == _series.id)
        listed = sa.and_(_series_listed(tenant), _instance.tenant == tenant)
    own, table = (_study.id, schema.study) if level is Level.STUDY else (_series.id, schema.series)
    contained = sa.select(key).select_from(within).where(listed, plain)
    # A UID is looked up once; anything else is tried for each candidate until one fits.
    if isinstance(criterion.test, UIDs) and criterion.tag != "00080016":
        return own.in_(contained.correlate(None))
    return sa.exists(contained.where(key == own).correlate(table))


def period(asked: Period) -> Condition:
    """Return a combined date and time range as SQL."""
    date, time = _MOMENT[asked.date_tag], _MOMENT[asked.time_tag]
    conditions: list[Condition] = [date != ""]
    if asked.dates.low:
        later = sa.and_(date == asked.dates.low, time >= asked.times.low)
        conditions.append(sa.or_(date > asked.dates.low, later))
    if asked.dates.high:
        until = asked.times.high or "~"
        conditions.append(sa.or_(date < asked.dates.high, sa.and_(date == asked.dates.high, time <= until)))
    return sa.and_(*conditions)


def _test(column: sa.Column[Any], test: Test) -> Condition | None:
    match test:
        case Empty():
            return column.is_(None) if column in _NUMBER.values() else column == ""
        case UIDs(values):
            return column.in_(values)
        case Text(patterns):
            return sa.or_(*(_text(column, pattern) for pattern in patterns))
        case Range(low=low, high=high):
            bounds = [column >= low] if low else []
            # Absent values are empty and stand before every date: an open beginning must not find them.
            bounds.append(sa.and_(column != "", column <= high) if high else column != "")
            return sa.and_(*bounds)
        case Numbers(values):
            return column.in_([int(value) for value in values if value.is_integer() and abs(value) < _INT64])
        case _:
            return None


def _text(column: sa.Column[Any], pattern: Pattern) -> Condition:
    return column == pattern.text if pattern.is_literal else column.like(pattern.like, escape="\\")


def _name(columns: NameColumns, test: Test) -> Condition | None:
    if isinstance(test, Empty):
        return sa.and_(*(column == "" for column in columns.groups))
    if not isinstance(test, Name):
        return None
    if len(test.groups) == 1:
        whole = sa.or_(*(_text(column, p) for column in columns.groups for p in test.groups[0]))
    else:
        asked = zip(columns.groups, test.groups, strict=False)
        whole = sa.and_(*(sa.or_(*(_text(column, p) for p in patterns)) for column, patterns in asked if patterns))
    if not test.words:
        return whole
    return sa.or_(whole, sa.and_(*(_word(columns.index, word) for word in test.words)))


def _word(index: sa.Column[Any], word: str) -> Condition:
    begins = index.like(Pattern(f"* {word}*").like, escape="\\")
    code = sound(word)
    return begins if code is None else sa.or_(begins, index.like(f"% ~{code} %"))


def _series_listed(tenant: str) -> Condition:
    return sa.and_(_series.tenant == tenant, _series.listed == sa.true())


def _has_series(plain: Condition) -> Condition:
    own = sa.select(_series.id).where(_series.study_id == _study.id, _series.listed == sa.true(), plain)
    return sa.exists(own.correlate(schema.study))


def _has_term(field: Field, values: tuple[str, ...]) -> Condition:
    own = sa.select(_term.study_id).where(
        _term.tenant == _study.tenant,
        _term.field == int(field),
        _term.value.in_(values),
        _term.study_id == _study.id,
    )
    return sa.exists(own.correlate(schema.study))
