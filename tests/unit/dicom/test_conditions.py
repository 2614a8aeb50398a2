from __future__ import annotations

import pytest

from nearframe.dicom.conditions import read_condition

STROKE = {
    "00080060": {"vr": "CS", "Value": ["CT"]},
    "00080008": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
}


@pytest.mark.parametrize(
    ("name", "value", "holds"),
    [
        ("Modality", "ct", True),
        ("Modality", ["MR", "c?"], True),
        ("Modality", "MR", False),
        ("ImageType", "PRIMARY", True),
        ("PatientName", "doe*", True),
        ("BodyPartExamined", "HEAD", False),
        ("BodyPartExamined", "", True),
    ],
)
def test_conditions(name: str, value: object, holds: bool) -> None:
    assert read_condition(name, value).holds(STROKE) is holds


@pytest.mark.parametrize(("name", "value"), [("Modalty", "CT"), ("Modality", 3), ("Modality", []), ("Modality", [1])])
def test_what_cannot_be_read_is_said(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        read_condition(name, value)
