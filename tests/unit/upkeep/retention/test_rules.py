"""How long studies are kept; whatever is in doubt is."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import ConfigurationError
from nearframe.upkeep.retention.rules import Judgement, StudyFacts, Verdict, judge, read_date, read_rules

TODAY = date(2026, 11, 23)
CT = {"00080060": {"vr": "CS", "Value": ["CT"]}, "00080080": {"vr": "LO", "Value": ["North Clinic"]}}
MG = {"00080060": {"vr": "CS", "Value": ["MG"]}}
TEN = {"name": "ten", "keep_years": 10, "action": "delete"}
YOUNG = {"name": "young", "keep_years": 10, "until_age": 28, "action": "delete"}
MAMMO = {"name": "mammo", "keep_years": 30, "Modality": "MG", "action": "delete"}


def judged(
    *tables: dict[str, Any], study: str = "20100101", born: str = "19700101", series: Any = (CT,), last: Any = None
) -> Judgement:
    return judge(read_rules(tables), StudyFacts(study, born, series), last, TODAY)


def test_a_study_is_kept_to_its_last_day() -> None:
    assert judged(TEN, study="20161123") == Judgement(Verdict.KEPT, ("ten",), date(2026, 11, 23), deletes=True)
    assert judged(TEN, study="20161122").verdict is Verdict.DUE
    assert judged(TEN, study="20160229").until == date(2026, 3, 1)


def test_a_child_is_kept_until_it_is_grown() -> None:
    assert judged(YOUNG, study="20100101", born="20081201").until == date(2036, 12, 1)
    assert judged(YOUNG, study="20100101", born="19700101").until == date(2020, 1, 1)


def test_the_longest_time_counts_and_who_only_reports_keeps_all_from_deleting() -> None:
    both = judged(TEN, MAMMO, series=(CT, MG))
    assert (both.verdict, both.until, both.rules) == (Verdict.KEPT, date(2040, 1, 1), ("ten", "mammo"))
    report = judged(TEN, {"name": "look", "keep_years": 5})
    assert (report.verdict, report.until, report.deletes) == (Verdict.DUE, date(2020, 1, 1), False)


def test_every_series_has_to_have_a_rule() -> None:
    only_ct = {"keep_years": 1, "Modality": "CT", "InstitutionName": "north*"}
    assert judged(only_ct).verdict is Verdict.DUE
    assert judged(only_ct, series=(CT, MG)).verdict is Verdict.NO_RULE
    assert judged(only_ct, series=()).verdict is Verdict.NO_RULE
    assert judged().verdict is Verdict.NO_RULE


def test_it_may_count_from_the_latest_study_of_the_patient() -> None:
    rule = TEN | {"counts_from": "last_study"}
    assert judged(rule, last="20200101").until == date(2030, 1, 1)
    assert judged(rule, last="20050101").until == date(2020, 1, 1)  # never earlier than from its own date
    assert judged(rule, last="").verdict is Verdict.CANNOT_JUDGE


@pytest.mark.parametrize(
    "written", ["", "2010", "20101301", "20270101", "19000101", "00010101", "2010-1-1", "\uff12\uff10100101"]
)
def test_a_date_in_doubt_is_no_reason_to_delete(written: str) -> None:
    assert judged(TEN, study=written).verdict is Verdict.CANNOT_JUDGE
    assert judged(YOUNG, born=written).verdict is Verdict.CANNOT_JUDGE


def test_nobody_was_born_after_being_imaged() -> None:
    assert judged(YOUNG, study="20000101", born="20010101").verdict is Verdict.CANNOT_JUDGE


@given(st.text(max_size=10))
def test_any_text_is_a_date_or_none(written: str) -> None:
    read = read_date(written, TODAY)
    assert read is None or (read <= TODAY and read.strftime("%Y%m%d") == written)


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({}, "keep_years, until_age"),
        ({"keep_years": 0}, "1 to 200"),
        ({"keep_years": "10"}, "1 to 200"),
        ({"keep_years": True}, "1 to 200"),
        ({"keep_years": 10, "action": "erase"}, "report or delete"),
        ({"keep_years": 10, "counts_from": "birth"}, "study or last_study"),
        ({"keep_years": 10, "name": ""}, "expected text"),
        ({"keep_years": 10, "Modalty": "CT"}, "no attribute Modalty"),
        ({"keep_years": 10, "Rows": "512"}, "no attribute that the catalogue"),
        ({"keep_years": 10, "Modality": 3}, "a pattern"),
    ],
)
def test_what_cannot_be_read_is_named(table: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as error:
        read_rules([TEN, table])
    assert "table 2" in str(error.value)


def test_names_are_told_apart() -> None:
    with pytest.raises(ConfigurationError, match="same name"):
        read_rules([TEN, TEN])
    assert [rule.name for rule in read_rules([{"keep_years": 1}, {"keep_years": 2}])] == ["rule 1", "rule 2"]
