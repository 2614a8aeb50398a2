from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.query.matching import MAX_ALTERNATIVES, accepts, matches, parse_test
from nearframe.query.qido import vr_of
from nearframe.storage.catalogue.criteria import Criterion, Empty, Name, Numbers, Pattern, Range, Text, UIDs

TAG = "00081155"


def passes(vr: str, asked: str, *values: Any, tag: str = TAG, fuzzy: bool = False) -> bool:
    """Tell whether an attribute with `values` passes a key; a key that asks for anything does."""
    test = parse_test(vr, tag, asked, fuzzy=fuzzy)
    return test is None or matches(test, {"vr": vr, "Value": list(values)})


@pytest.mark.parametrize(
    ("vr", "asked", "expected"),
    [
        ("UI", "1.2,1.3\\1.4, 1.2", UIDs(("1.2", "1.3", "1.4"))),
        ("UI", "*1.2*", UIDs(("1.2",))),
        ("CS", "CT,MR", Text((Pattern("CT"), Pattern("MR")), folded=False)),
        ("LO", "Schädel, nativ", Text((Pattern("schadel, nativ"),), folded=True)),
        ("LT", "a\\b", Text((Pattern("a\\b"),), folded=True)),
        ("DA", "20180107-", Range("DA", "20180107", "")),
        ("DA", "20180107", Range("DA", "20180107", "20180107", is_single=True)),
        ("TM", "10-12", Range("TM", "100000.000000", "125959.999999")),
        ("DT", "2018-2019", Range("DT", "20180101000000.000000", "20191231235959.999999")),
        ("IS", "1,2", Numbers((1.0, 2.0))),
        ("DS", "1.50", Numbers((1.5,))),
        ("PN", "Doe^*", Name(((Pattern("doe"), Pattern("doe^*")),))),
        ("LO", '""', Empty()),
    ],
)
def test_values_are_read(vr: str, asked: str, expected: object) -> None:
    assert parse_test(vr, TAG, asked) == expected


@pytest.mark.parametrize(
    ("vr", "asked"),
    [
        ("LO", ""),
        ("LO", "*"),
        ("LO", "**"),
        ("UI", "*"),
        ("UI", ","),
        ("PN", "^"),
        ("PN", "="),
        ("DA", "-"),
        ("CS", "CT,*"),
    ],
)
def test_what_asks_for_anything(vr: str, asked: str) -> None:
    assert parse_test(vr, TAG, asked) is None


@pytest.mark.parametrize(
    ("vr", "asked"),
    [
        ("DA", "2018"),
        ("DA", "20180107-20180108-20180109"),
        ("TM", "noon"),
        ("DT", "x-y"),
        ("IS", "1,x"),
        ("DS", "1e999"),
        ("UI", "1.?"),
        ("OB", "x"),
        ("SQ", "x"),
        ("UI", ",".join(f"1.{n}" for n in range(MAX_ALTERNATIVES + 1))),
    ],
)
def test_what_cannot_be_read(vr: str, asked: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_test(vr, TAG, asked)


@pytest.mark.parametrize(
    ("vr", "asked", "value", "expected"),
    [
        ("CS", "CT", "CT", True),
        ("CS", "ct", "CT", False),
        ("LO", "acme*", "ACME Médical", True),
        ("LO", "*medical", "ACME Médical", True),
        ("DA", "20180101-20180131", "20180107", True),
        ("DA", "20180101-20180131", "2018.02.01", False),
        ("DA", "-20180131", "no date", False),
        ("TM", "10", "101500", True),
        ("TM", "10-11", "120000", False),
        ("DT", "201801070930-", "20180107093000.000000", True),
        ("DT", "20180107083000+0000", "20180107093000+0100", True),
        ("IS", "3", 3, True),
        ("DS", "3.0", "3", True),
        ("DS", "3", "three", False),
        ("US", "512", 512, True),
        ("UI", "1.2", "1.2", True),
        ("PN", "doe*", {"Alphabetic": "Doe^Jane"}, True),
        ("PN", "doe=x", {"Alphabetic": "Doe", "Ideographic": "X"}, True),
        ("PN", "doe=y", {"Alphabetic": "Doe", "Ideographic": "X"}, False),
        ("PN", "doe", "Doe", False),
    ],
)
def test_values_are_compared(vr: str, asked: str, value: Any, expected: bool) -> None:
    assert passes(vr, asked, value) is expected


def test_any_of_several_values_will_do() -> None:
    assert passes("CS", "PRIMARY", "ORIGINAL", "PRIMARY")
    assert not passes("CS", "PRIMARY", "ORIGINAL", None, "")


def test_fuzzy_names() -> None:
    value = {"Alphabetic": "Smythe^Joan"}
    assert passes("PN", "smith", value, fuzzy=True)
    assert passes("PN", "joan smy", value, fuzzy=True)
    assert not passes("PN", "smith", value)
    assert not passes("PN", "smith mary", value, fuzzy=True)


def test_absent_values() -> None:
    for element in (None, {"vr": "LO"}, {"vr": "LO", "Value": []}, {"vr": "LO", "Value": [None]}):
        assert matches(Empty(), element)
        assert not matches(Text((Pattern("*x*"),), folded=True), element)
    assert not matches(Empty(), {"vr": "LO", "Value": ["x"]})


def test_sequences_are_entered() -> None:
    document = {"00400275": {"vr": "SQ", "Value": [{}, {"00400009": {"vr": "SH", "Value": ["STEP-1"]}}]}}
    test = Text((Pattern("STEP-*"),), folded=False)
    assert accepts(Criterion(("00400275", "00400009"), test), document)
    assert not accepts(Criterion(("00400275", "00401001"), test), document)
    assert not accepts(Criterion(("00400275",), test), document)
    assert not accepts(Criterion(("00080060", "00400009"), test), {"00080060": {"vr": "CS", "Value": ["CT"]}})


def test_a_number_that_no_float_holds_matches_none() -> None:
    assert not matches(Numbers((1.0,)), {"vr": "IS", "Value": [10**400]})


@given(st.sampled_from(["UI", "PN", "DA", "TM", "DT", "IS", "DS", "LO", "CS", "LT", "OB"]), st.text(), st.booleans())
def test_any_value_is_read_or_refused(vr: str, asked: str, fuzzy: bool) -> None:
    try:
        test = parse_test(vr, TAG, asked, fuzzy=fuzzy)
    except MalformedRequest:
        return
    if test is not None:
        matches(test, {"vr": vr, "Value": [asked, 1, {"Alphabetic": asked}]})


def test_vr_of_attributes() -> None:
    assert [vr_of(tag) for tag in ("00100010", "00280106", "00291010")] == ["PN", "US", "LO"]
