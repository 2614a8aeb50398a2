"""Keys that are a data set."""

from __future__ import annotations

import pytest

from nearframe.dicom.model import DICOMJSON
from nearframe.errors import MalformedRequest
from nearframe.query.keys import criteria_of, shown
from nearframe.query.matching import accepts

STEP: DICOMJSON = {
    "00400001": {"vr": "AE", "Value": ["CT1"]},
    "00400002": {"vr": "DA", "Value": ["20261122"]},
    "00080060": {"vr": "CS", "Value": ["CT"]},
}
ITEM: DICOMJSON = {
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
    "00100020": {"vr": "LO", "Value": ["P-1"]},
    "00400100": {"vr": "SQ", "Value": [STEP]},
}


def in_step(**keys: DICOMJSON) -> DICOMJSON:
    return {"00400100": {"vr": "SQ", "Value": [{tag.removeprefix("_"): key for tag, key in keys.items()}]}}


@pytest.mark.parametrize(
    ("keys", "is_match"),
    [
        ({}, True),
        ({"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}, True),
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "yamada*"}]}}, True),
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "", "Ideographic": "山田*"}]}}, True),
        ({"00100010": {"vr": "PN", "Value": [{"Alphabetic": "suzuki*"}]}}, False),
        ({"00100020": {"vr": "LO"}}, True),
        ({"00100020": {"vr": "LO", "Value": ["P-2"]}}, False),
        ({"00400100": {"vr": "SQ"}}, True),
        (in_step(_00080060={"vr": "CS", "Value": ["CT"]}), True),
        (in_step(_00080060={"vr": "CS", "Value": ["MR"]}), False),
        (in_step(_00400002={"vr": "DA", "Value": ["20261120-20261123"]}), True),
        (in_step(_00400002={"vr": "DA", "Value": ["20261123-"]}), False),
        (in_step(_00400001={"vr": "AE", "Value": ["CT?"]}), True),
    ],
)
def test_matching(keys: DICOMJSON, is_match: bool) -> None:
    assert all(accepts(criterion, ITEM) for criterion in criteria_of(keys)) is is_match


def test_a_key_that_cannot_be_one() -> None:
    with pytest.raises(MalformedRequest):
        list(criteria_of(in_step(_00400002={"vr": "DA", "Value": ["tomorrow"]})))


def test_what_was_asked_for_is_shown_and_nothing_else() -> None:
    keys = {"00100020": {"vr": "LO"}, "00101030": {"vr": "DS"}} | in_step(_00080060={"vr": "CS"})
    assert shown(keys, ITEM) == {
        "00100020": ITEM["00100020"],
        "00101030": {"vr": "DS"},
        "00400100": {"vr": "SQ", "Value": [{"00080060": STEP["00080060"]}]},
    }
    assert shown({"00400100": {"vr": "SQ"}}, ITEM) == {"00400100": ITEM["00400100"]}
