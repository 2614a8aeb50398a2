"""The route table: which rule decides, and what is said of a bad one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.context import Urgency
from nearframe.edge.facts import StudyFacts
from nearframe.edge.routes import REQUEST_CONDITIONS, STUDY_CONDITIONS, Asked, RequestFacts, RouteTable
from nearframe.errors import ConfigurationError

NOW = datetime.fromisoformat("2026-11-22 09:00")  # local time has no zone
CT = StudyFacts(
    modalities=frozenset({"CT", "SR"}),
    body_parts=frozenset({"HEAD"}),
    descriptions=frozenset({"CT Stroke protocol"}),
    referring_physicians=frozenset({"Who^Doctor"}),
    institutions=frozenset({"General"}),
    order_priorities=frozenset({"HIGH"}),
    acquired_at=NOW - timedelta(hours=2),
)
RULES = (
    {"class": "bulk", "peer": "10.1.9.0/24"},
    {"class": "stat", "modality": "CT", "description": ["*stroke*", "*trauma*"], "younger_than": "24 h"},
    {"class": "active", "referring_physician": "who*"},
    {"class": "archive", "path": "*/rendered*"},
    {"name": "ICU", "class": "active", "institution": "icu?"},
)


def decided(facts: StudyFacts, request: RequestFacts | None = None) -> tuple[Urgency, int]:
    rule = RouteTable.parse(RULES).decide(Asked(facts, NOW, request))
    return rule.urgency, rule.number


@pytest.mark.parametrize(
    ("facts", "request_", "expected"),
    [
        (CT, None, (Urgency.STAT, 2)),
        (CT, RequestFacts("10.1.9.7"), (Urgency.BULK, 1)),
        (CT, RequestFacts("10.1.8.7"), (Urgency.STAT, 2)),
        (CT, RequestFacts("no address"), (Urgency.STAT, 2)),
        (StudyFacts(), RequestFacts(path="/x/rendered"), (Urgency.ARCHIVE, 4)),
        (StudyFacts(referring_physicians=frozenset({"WHO^X"})), None, (Urgency.ACTIVE, 3)),
        (StudyFacts(institutions=frozenset({"ICU2"})), None, (Urgency.ACTIVE, 5)),
        (StudyFacts(acquired_at=NOW - timedelta(days=31)), None, (Urgency.ARCHIVE, 0)),
        (StudyFacts(acquired_at=NOW), None, (Urgency.ROUTINE, 0)),
        (StudyFacts(), None, (Urgency.ROUTINE, 0)),
    ],
)
def test_the_first_rule_that_holds_decides(
    facts: StudyFacts, request_: RequestFacts | None, expected: tuple[Urgency, int]
) -> None:
    assert decided(facts, request_) == expected


def test_rules_of_requests_say_nothing_of_studies() -> None:
    assert RouteTable.parse(RULES).looks_at_requests
    assert not RouteTable.parse(RULES[1:3]).looks_at_requests


def test_explanation_ends_with_the_rule_that_decides() -> None:
    trials = RouteTable.parse(RULES).explain(Asked(CT, NOW))
    assert [trial.decides for trial in trials] == [False, True]
    assert [(one.name, held) for one, held in trials[1].conditions] == [
        ("modality", True),
        ("description", True),
        ("younger_than", True),
    ]
    assert trials[1].rule.written == "modality = CT, description = *stroke* or *trauma*, younger_than = 24 h"


def test_what_a_study_has_of_what_is_looked_at() -> None:
    names = (*STUDY_CONDITIONS, *REQUEST_CONDITIONS)
    rule = {"class": "stat", **dict.fromkeys(names, "x"), "older_than": "1 h", "younger_than": "3 h", "peer": "::1"}
    (tried, *_) = RouteTable.parse([rule]).explain(Asked(CT, NOW))
    found = {one.name: one.found(Asked(CT, NOW)) for one, _ in tried.conditions}
    assert found["modality"] == "CT, SR"
    assert found["older_than"] == found["younger_than"] == "2 h"
    assert found["peer"] is found["path"] is None
    assert {one.found(Asked(StudyFacts(), NOW)) for one, _ in tried.conditions} == {"", None}


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({}, "table 1: has no class: expected one of stat, active, routine, archive, bulk"),
        ({"class": "urgent"}, "class cannot be 'urgent'"),
        ({"klass": "stat"}, "no condition is called klass; did you mean class"),
        ({"class": "stat", "modalty": "CT"}, "no condition is called modalty; did you mean modality"),
        ({"class": "stat", "x": 1}, "there are class, name, .*modality"),
        ({"class": "stat", "modality": 3}, "modality cannot be 3: expected a text"),
        ({"class": "stat", "modality": []}, "expected a text"),
        ({"class": "stat", "peer": "10.0.0.0/99"}, "peer cannot be"),
        ({"class": "stat", "older_than": "soon"}, "older_than cannot be 'soon'.*24 h"),
        ({"class": "stat", "older_than": 3}, "a time with its unit"),
        ({"class": "stat", "name": 3}, "name is a text"),
        ({"class": "stat", "older_than": "2 d", "younger_than": "24 h"}, "table 1: no study is older than 2 d and"),
        ({"class": "stat", "older_than": "24 h", "younger_than": "1 d"}, "never holds"),
    ],
)
def test_a_bad_rule_is_named(rule: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RouteTable.parse([rule])


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["class", "name", *STUDY_CONDITIONS, *REQUEST_CONDITIONS]),
            st.one_of(st.text(max_size=10), st.integers(), st.lists(st.text(max_size=5), max_size=3), st.just("stat")),
        ),
        max_size=5,
    )
)
def test_any_table_is_read_or_refused(tables: list[dict[str, object]]) -> None:
    try:
        table = RouteTable.parse(tables)
    except ConfigurationError:
        return
    assert table.decide(Asked(CT, NOW, RequestFacts("::1", "/"))).urgency in Urgency


def test_a_rule_of_studies_may_forbid_recipes() -> None:
    table = RouteTable.parse([{"class": "stat", "modality": "CT", "recipes": False}])
    assert table.looks_at_recipes
    assert not table.decide(Asked(CT, NOW)).recipes
    assert table.decide(Asked(StudyFacts(), NOW)).recipes
    assert not RouteTable.parse(RULES).looks_at_recipes


def test_a_rule_of_studies_may_forbid_their_perceptual_index() -> None:
    table = RouteTable.parse([{"class": "stat", "modality": "CT", "index": False}])
    assert table.looks_at_index
    assert not table.decide(Asked(CT, NOW)).index
    assert table.decide(Asked(CT, NOW)).recipes
    assert table.decide(Asked(StudyFacts(), NOW)).index
    assert not RouteTable.parse(RULES).looks_at_index


@pytest.mark.parametrize("switch", ["recipes", "index"])
@pytest.mark.parametrize("bad", [{"": "no"}, {"": False, "peer": "10.0.0.1"}])
def test_where_neither_can_be_forbidden(switch: str, bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=switch):
        RouteTable.parse([{"class": "stat", **{name or switch: value for name, value in bad.items()}}])
