from __future__ import annotations

from typing import Any

import pytest

from nearframe.storage.catalogue.attributes import dump, element, first, integer, name, string


def test_json_is_compact_and_utf8() -> None:
    assert dump({"a": ["é", 1.5]}) == '{"a":["é",1.5]}'.encode()


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert dump("a\ud800b") == b'"a?b"'


@pytest.mark.parametrize(
    "odd",
    [None, {}, {"vr": "LO"}, {"vr": "LO", "Value": []}, {"vr": "LO", "Value": "x"}, {"vr": "LO", "Value": [None]}],
)
def test_what_has_no_value(odd: Any) -> None:
    attributes = {} if odd is None else {"00100020": odd}
    assert first(attributes, "00100020") is None
    assert string(attributes, "00100020") == ""
    assert integer(attributes, "00100020") is None
    assert name(attributes, "00100020") == ("", "", "")


def test_strings() -> None:
    assert string({"00200010": element("SH", [" 17 ", "18"])}, "00200010") == "17"
    assert string({"00201208": element("IS", [17])}, "00201208") == "17"
    assert string({"00100010": element("PN", [{"Alphabetic": "Doe"}])}, "00100010") == ""


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), ("3", 3), (" 12 ", 12), (2.0, 2), ("1.5", None), ("x", None), (2**63, None), (float("inf"), None)],
)
def test_whole_numbers(value: Any, number: int | None) -> None:
    assert integer({"00200013": element("IS", [value])}, "00200013") == number


def test_names() -> None:
    assert name({"00100010": element("PN", [{"Alphabetic": "Doe^Jane"}])}, "00100010") == ("doe^jane", "", "")
    # Some writers of DICOM JSON give a name as text.
    assert name({"00100010": element("PN", ["Doe^Jane"])}, "00100010") == ("", "", "")
