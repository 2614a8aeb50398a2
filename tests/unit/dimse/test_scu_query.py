from __future__ import annotations

import pytest

from nearframe.dimse.identifiers import read_identifier, write_identifier
from nearframe.dimse.scu import UNCOMPRESSED
from nearframe.dimse.scu_query import Level, identifier_of
from nearframe.errors import MalformedRequest


def test_keys_by_keyword_and_tag() -> None:
    identifier = identifier_of({"PatientName": "Müller^Eva=梅", "0020000d": "1.2\\1.3", "Rows": "512"}, Level.STUDY)
    assert identifier == {
        "00080052": {"vr": "CS", "Value": ["STUDY"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Eva", "Ideographic": "梅"}]},
        "0020000D": {"vr": "UI", "Value": ["1.2", "1.3"]},
        "00280010": {"vr": "US", "Value": [512]},
    }


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
def test_what_is_written_can_be_read(syntax: str) -> None:
    identifier = identifier_of({"PatientName": "Müller*", "StudyDate": "20240101-", "StudyID": ""}, Level.STUDY)
    found = read_identifier(write_identifier(identifier, syntax), syntax)
    assert found.pop("00080005")["Value"] == ["ISO_IR 192"]
    assert found == identifier


def test_keys_of_a_planned_step_share_one_item() -> None:
    step = "ScheduledProcedureStepSequence"
    identifier = identifier_of({f"{step}.Modality": "CT", f"{step}.ScheduledStationAETitle": ""})
    assert identifier == {
        "00400100": {"vr": "SQ", "Value": [{"00080060": {"vr": "CS", "Value": ["CT"]}, "00400001": {"vr": "AE"}}]}
    }


@pytest.mark.parametrize("name", ["PatientNmae", "12345678", "zzzzzzzz", "", "Modality."])
def test_no_such_attribute(name: str) -> None:
    with pytest.raises(MalformedRequest, match="no such attribute"):
        identifier_of({name: "x"})


@pytest.mark.parametrize("name", ["Modality.PatientID", "Rows"])
def test_what_is_no_sequence_or_no_number(name: str) -> None:
    with pytest.raises(MalformedRequest):
        identifier_of({name: "x"})
