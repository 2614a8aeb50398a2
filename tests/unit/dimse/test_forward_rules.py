from __future__ import annotations

import pytest

from nearframe.dimse.forward_rules import destinations, read_rules
from nearframe.dimse.peers import KnownPeer
from nearframe.errors import ConfigurationError

PEERS = {"PACS": KnownPeer("PACS", "pacs", 104), "AI": KnownPeer("AI", "ai", 104), "CT1": KnownPeer("CT1")}
STROKE = {
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "00081030": {"vr": "LO", "Value": ["Acute Stroke"]},
    "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
}


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({}, True),
        ({"Modality": "CT"}, True),
        ({"Modality": ["MR", "c?"]}, True),
        ({"Modality": "MR"}, False),
        ({"Modality": "CT", "StudyDescription": "*stroke*"}, True),
        ({"Modality": "CT", "StudyDescription": "stroke"}, False),
        ({"ImageType": "PRIMARY"}, True),
        ({"PatientName": "doe*"}, True),
        ({"BodyPartExamined": "HEAD"}, False),
        ({"BodyPartExamined": ""}, True),
    ],
)
def test_conditions(conditions: dict[str, object], holds: bool) -> None:
    rules = read_rules([{"to": "PACS", **conditions}], PEERS)
    assert destinations(rules, STROKE) == (["PACS"] if holds else [])


def test_each_destination_once() -> None:
    rules = read_rules([{"to": "PACS"}, {"to": "AI", "Modality": "CT"}, {"to": "PACS", "Modality": "CT"}], PEERS)
    assert destinations(rules, STROKE) == ["PACS", "AI"]


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({}, "to: expected"),
        ({"to": "NOBODY"}, "to: expected"),
        ({"to": "CT1"}, "has a host"),
        ({"to": "PACS", "Modalty": "CT"}, "no attribute Modalty"),
        ({"to": "PACS", "Modality": 3}, "a pattern"),
        ({"to": "PACS", "Modality": []}, "a pattern"),
    ],
)
def test_what_cannot_be_read_is_named(table: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as error:
        read_rules([{"to": "PACS"}, table], PEERS)
    assert "table 2" in str(error.value)
