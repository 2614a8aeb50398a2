from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.query.qido import MAX_PARAMETERS, Query, parse_path, parse_query
from nearframe.storage.catalogue.criteria import Criterion, Name, UIDs


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("PatientName", ("00100010",)),
        ("00100010", ("00100010",)),
        ("0020000d", ("0020000D",)),
        ("00400275.00400009", ("00400275", "00400009")),
        ("RequestAttributesSequence.RequestedProcedureID", ("00400275", "00401001")),
        ("00291010", ("00291010",)),
        ("patientname", None),
        ("0010,0010", None),
        ("00100010.", None),
        ("", None),
        (".".join(["00400275"] * 9), None),
    ],
)
def test_attributes(text: str, path: tuple[str, ...] | None) -> None:
    assert parse_path(text) == path


def test_nothing_asked() -> None:
    assert parse_query([]) == Query()


def test_keys_become_criteria_and_fields() -> None:
    query = parse_query([("StudyInstanceUID", "1.2"), ("PatientID", ""), ("00400275", ""), ("accept", "x")])
    assert query.criteria == (Criterion(("0020000D",), UIDs(("1.2",))),)
    assert query.keys == {"0020000D", "00100020", "00400275"}
    assert query.ignored == ()


def test_fields() -> None:
    params = [("includefield", "00081030,PatientName"), ("includefield", " 00400275.00400009 ,nonsense,")]
    query = parse_query(params)
    assert query.include == {"00081030", "00100010", "00400275"}
    assert not query.include_all
    assert query.ignored == ("nonsense",)
    assert parse_query([("includefield", "all")]).include_all


def test_pages() -> None:
    query = parse_query([("limit", "25"), ("offset", " 50 ")])
    assert (query.limit, query.offset) == (25, 50)
    assert parse_query([("limit", "")]).limit is None


@pytest.mark.parametrize(("value", "fuzzy"), [("true", True), ("TRUE", True), ("false", False), ("", False)])
def test_fuzzy_matching(value: str, fuzzy: bool) -> None:
    [criterion] = parse_query([("PatientName", "doe"), ("fuzzymatching", value)]).criteria
    assert isinstance(criterion.test, Name)
    assert criterion.test.words == (("doe",) if fuzzy else ())


@pytest.mark.parametrize(
    "params",
    [
        [("limit", "-1")],
        [("limit", "1e3")],
        [("limit", "٣")],
        [("offset", "0" * 16 + "9" * 5000)],
        [("fuzzymatching", "1")],
        [("StudyDate", "x")],
        [("PatientID", "")] * (MAX_PARAMETERS + 1),
    ],
)
def test_what_cannot_be_read(params: list[tuple[str, str]]) -> None:
    with pytest.raises(MalformedRequest):
        parse_query(params)


def test_unknown_names_are_repeated_only_if_harmless() -> None:
    query = parse_query([("Viewer", "x"), ("a\r\nSet-Cookie: x", "y"), ("x" * 100, "z"), ("Viewer", "x")])
    assert query.ignored == ("Viewer", "a parameter with other characters")


_names = st.text() | st.sampled_from(["PatientName", "StudyDate", "limit", "includefield", "00400275.00400009"])


@given(st.lists(st.tuples(_names, st.text()), max_size=5))
def test_any_parameters_are_read_or_refused(params: list[tuple[str, str]]) -> None:
    try:
        query = parse_query(params)
    except MalformedRequest:
        return
    assert all(name.isascii() and name.isprintable() for name in query.ignored)
