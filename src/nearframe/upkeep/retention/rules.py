"""How long studies are kept: ``[[retention]]`` tables of the settings, and what follows from them. Pure.

::

    [[retention]]
    name = "X-ray"
    keep_years = 10                    # from the date of the study on
    counts_from = "last_study"         # or of the patient's latest study here; "study" if it is not said
    until_age = 28                     # and not before the patient is so old
    action = "delete"                  # or "report": then nobody deletes by this rule
    Modality = ["CR", "DX", "CT"]      # conditions (`dicom.conditions`) on attributes of study and series

Whatever is in doubt is kept. A rule fits a study of which it fits a series; of several the longest
time counts, and one that only reports keeps all the others from deleting. Every series has to have
a rule. A date that is missing, cannot be read, or cannot be true is no reason to delete anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Any, Final

from nearframe.dicom.attributes import series_keys, study_keys
from nearframe.dicom.conditions import Condition, read_condition
from nearframe.dicom.model import DICOMJSON
from nearframe.errors import ConfigurationError

MAX_RULES: Final = 1000
_MAX_YEARS: Final = 200
_OWN: Final = ("name", "keep_years", "until_age", "counts_from", "action")
#: Nothing was imaged before; some writers put the first day of a century where they know no date.
_FIRST_DAY: Final = date(1901, 1, 2)


class Verdict(Enum):
    """What becomes of a study."""

    KEPT = "kept"
    #: No rule fits all of it.
    NO_RULE = "no_rule"
    #: A date is missing, or makes no sense.
    CANNOT_JUDGE = "cannot_judge"
    DUE = "due"


@dataclass(frozen=True, slots=True)
class Rule:
    """One table.

    Attributes
    ----------
    keep_years, until_age
        Years; None if that does not matter.
    counts_from_last
        From the patient's latest study, not from this one.
    deletes
        Or only reports.
    """

    name: str
    keep_years: int | None
    until_age: int | None
    counts_from_last: bool
    deletes: bool
    conditions: tuple[Condition, ...] = ()

    def fits(self, attributes: DICOMJSON) -> bool:
        return all(condition.holds(attributes) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What rules ask of a study.

    Attributes
    ----------
    study_date, birth_date
        As DICOM writes dates; empty if there is none.
    series
        Attributes of study and series together, for each series.
    """

    study_date: str
    birth_date: str
    series: Sequence[DICOMJSON]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a study, by which rules and why.

    Attributes
    ----------
    until
        The last day on which it is kept, where that could be told.
    words
        What stands in the way, of one that cannot be judged.
    """

    verdict: Verdict
    rules: tuple[str, ...] = ()
    until: date | None = None
    deletes: bool = False
    words: str = ""


def judge(rules: Sequence[Rule], study: StudyFacts, last_study: str | None, today: date) -> Judgement:
    """Judge a study.

    Parameters
    ----------
    last_study
        Date of the patient's latest study; empty if one of theirs has none that can be read, None if it is not
        known: then rules that count from it are taken as if it were this study's.
    """
    fitting = [[rule for rule in rules if rule.fits(series)] for series in study.series]
    if not all(fitting) or not fitting:
        return Judgement(Verdict.NO_RULE)
    applied = list(dict.fromkeys(rule for some in fitting for rule in some))
    names = tuple(rule.name for rule in applied)
    ends: list[date] = []
    for rule in applied:
        end = _end(rule, study, last_study, today)
        if isinstance(end, str):
            return Judgement(Verdict.CANNOT_JUDGE, names, words=end)
        ends.append(end)
    until = max(ends)
    verdict = Verdict.DUE if today > until else Verdict.KEPT
    return Judgement(verdict, names, until, deletes=all(rule.deletes for rule in applied))


def _end(rule: Rule, study: StudyFacts, last_study: str | None, today: date) -> date | str:
    """Return the last day by one rule, or why it cannot be told."""
    ends = []
    made = read_date(study.study_date, today)
    if made is None:
        return "the study date is missing or cannot be true"
    if rule.keep_years is not None:
        start: date | None = made
        if rule.counts_from_last and last_study is not None:
            start = read_date(last_study, today)
        if start is None:
            return "the patient is not named, or the date of another study of theirs is missing or cannot be true"
        ends.append(_years_after(max(start, made), rule.keep_years))
    if rule.until_age is not None:
        born = read_date(study.birth_date, today)
        if born is None or born > made:
            return "the birth date is missing or cannot be true"
        ends.append(_years_after(born, rule.until_age))
    return max(ends)


def read_date(written: str, today: date) -> date | None:
    """Read a date (VR DA); None if it is none, or none on which anything can have been imaged."""
    if len(written) != len("YYYYMMDD") or not (written.isascii() and written.isdigit()):
        return None
    try:
        read = date(int(written[:4]), int(written[4:6]), int(written[6:]))
    except ValueError:
        return None
    return read if _FIRST_DAY <= read <= today else None


def _years_after(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # the 29th of February
        return date(day.year + years, 3, 1)


# -- reading -----------------------------------------------------------------------------------


def read_rules(tables: Iterable[Mapping[str, object]]) -> tuple[Rule, ...]:
    """Read the rules.

    Raises
    ------
    ConfigurationError
        Naming the table and its member that cannot be read.
    """
    rules: list[Rule] = []
    for number, table in enumerate(tables, start=1):
        try:
            rules.append(_read(table, f"rule {number}"))
        except ValueError as error:
            raise ConfigurationError(f"[[retention]], table {number}: {error}") from error
    if len(rules) > MAX_RULES:
        raise ConfigurationError(f"[[retention]]: more than {MAX_RULES} tables")
    if len({rule.name for rule in rules}) < len(rules):
        raise ConfigurationError("[[retention]]: two tables have the same name")
    return tuple(rules)


def _read(table: Mapping[str, Any], number: str) -> Rule:
    keep_years, until_age = _years(table, "keep_years"), _years(table, "until_age")
    if keep_years is None and until_age is None:
        raise ValueError("expected keep_years, until_age, or both")
    name = table.get("name", number)
    if not isinstance(name, str) or not name.strip():
        raise ValueError("name: expected text")
    counts_from = table.get("counts_from", "study")
    if counts_from not in ("study", "last_study"):
        raise ValueError("counts_from: expected study or last_study")
    action = table.get("action", "report")
    if action not in ("report", "delete"):
        raise ValueError("action: expected report or delete")
    conditions = tuple(_condition(key, value) for key, value in table.items() if key not in _OWN)
    return Rule(name.strip(), keep_years, until_age, counts_from == "last_study", action == "delete", conditions)


def _condition(name: str, value: object) -> Condition:
    condition = read_condition(name, value)
    if condition.tag not in (*study_keys(), *series_keys()):
        raise ValueError(f"{name} is no attribute that the catalogue has of a study or a series")
    return condition


def _years(table: Mapping[str, Any], name: str) -> int | None:
    years = table.get(name)
    if years is None:
        return None
    if not isinstance(years, int) or isinstance(years, bool) or not 0 < years <= _MAX_YEARS:
        raise ValueError(f"{name}: expected 1 to {_MAX_YEARS} years")
    return years
