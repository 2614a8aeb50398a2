"""Corrections as data: what PS3.6 allows is read, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.attributeedit import AttributeEdit, read_edit, texts_of
from nearframe.errors import MalformedRequest


@pytest.mark.parametrize(
    ("name", "value", "key", "attribute"),
    [
        ("PatientID", "P-2", "00100020", {"vr": "LO", "Value": ["P-2"]}),
        ("0010,0020", "P-2", "00100020", {"vr": "LO", "Value": ["P-2"]}),
        ("(0010,0020)", ["P-2"], "00100020", {"vr": "LO", "Value": ["P-2"]}),
        ("00100020", {"vr": "LO", "Value": ["P-2"]}, "00100020", {"vr": "LO", "Value": ["P-2"]}),
        ("PatientID", "", "00100020", {"vr": "LO"}),
        ("PatientID", None, "00100020", {"vr": "LO"}),
        ("PatientName", "Doe^Jane=山田", "00100010",
         {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Ideographic": "山田"}]}),
        ("PatientName", [{"Alphabetic": "Doe"}], "00100010", {"vr": "PN", "Value": [{"Alphabetic": "Doe"}]}),
        ("ImageType", "DERIVED\\PRIMARY", "00080008", {"vr": "CS", "Value": ["DERIVED", "PRIMARY"]}),
        ("SeriesNumber", 7, "00200011", {"vr": "IS", "Value": ["7"]}),
        ("PatientComments", "a\\b", "00104000", {"vr": "LT", "Value": ["a\\b"]}),
        ("PregnancyStatus", "4", "001021C0", {"vr": "US", "Value": [4]}),
        ("OtherPatientIDsSequence", [{"PatientID": "X"}], "00101002",
         {"vr": "SQ", "Value": [{"00100020": {"vr": "LO", "Value": ["X"]}}]}),
        ("RequestAttributesSequence", [], "00400275", {"vr": "SQ"}),
    ],
)  # fmt: skip
def test_what_is_written_is_read_as_the_dictionary_has_it(
    name: str, value: Any, key: str, attribute: dict[str, Any]
) -> None:
    assert read_edit({name: value}) == AttributeEdit({key: attribute})


@pytest.mark.parametrize(
    ("wanted", "unwanted", "says"),
    [
        ({"PatientNme": "x"}, (), "PatientNme is neither a keyword"),
        ({"Patient\nName": "x"}, (), "Patient.Name is neither"),
        ({"PatientBirthDate": "1970-01-01"}, (), "PatientBirthDate does not fit its VR DA"),
        ({"PatientSex": "female"}, (), "PatientSex does not fit its VR CS"),
        ({"PatientID": "x" * 65}, (), "PatientID does not fit its VR LO"),
        ({"PatientID": "a\nb"}, (), "PatientID does not fit its VR LO"),
        ({"PatientID": ["a", "b"]}, (), "PatientID has 1 values, not 2"),
        ({"PatientID": {"vr": "SH", "Value": ["a"]}}, (), "PatientID is of VR LO"),
        ({"PatientID": {"vr": "LO", "InlineBinary": "AA=="}}, (), "PatientID is of VR LO"),
        ({"PatientID": [{"Alphabetic": "x"}]}, (), "PatientID does not fit its VR LO"),
        ({"PregnancyStatus": 70000}, (), "PregnancyStatus does not fit its VR US"),
        ({"PregnancyStatus": "four"}, (), "PregnancyStatus does not fit its VR US"),
        ({"PixelSpacing": "0.5"}, (), "PixelSpacing has 2 values, not 1"),
        ({"SOPInstanceUID": "1.2"}, (), "SOPInstanceUID cannot be corrected"),
        ({"StudyInstanceUID": "1.2"}, (), "StudyInstanceUID cannot be corrected"),
        ({"Rows": 3}, (), "Rows cannot be corrected"),
        ({"7FE00010": "x"}, (), "PixelData cannot be corrected"),
        ({"00100000": "x"}, (), "cannot be corrected"),
        ({"00091001": "x"}, (), "private or not in PS3.6"),
        ({"00101235": "x"}, (), "private or not in PS3.6"),
        ({"RedPaletteColorLookupTableData": "x"}, (), "binary"),
        ({"RequestAttributesSequence": "x"}, (), "is a sequence"),
        ({"RequestAttributesSequence": [{"PatientBirthDate": "x"}]}, (), "PatientBirthDate does not fit"),
        ({}, ("Rows",), "Rows cannot be corrected"),
        ({"PatientID": "1"}, ("PatientID",), "set and removed"),
        ({"PatientID": "1", "00100020": "2"}, (), "set twice"),
        ({}, tuple(f"0009{n:04X}" for n in range(0x1000, 0x10FF)), "200 attributes at most"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(wanted: dict[str, Any], unwanted: tuple[str, ...], says: str) -> None:
    with pytest.raises(MalformedRequest, match=says):
        read_edit(wanted, unwanted)


def test_private_and_unknown_attributes_can_go() -> None:
    assert read_edit({}, ["00091001", "0010,1235"]).remove == {"00091001", "00101235"}


def test_a_later_edit_is_right_where_two_disagree() -> None:
    first = read_edit({"PatientID": "1", "PatientSex": "M"}, ["PatientName"])
    second = read_edit({"PatientID": "2", "PatientName": "Doe"}, ["PatientSex"])
    assert first.then(second) == read_edit({"PatientID": "2", "PatientName": "Doe"}, ["PatientSex"])


def test_sequences_nest_only_so_deep() -> None:
    nested: Any = []
    for _ in range(20):
        nested = [{"RequestAttributesSequence": nested}]
    with pytest.raises(MalformedRequest, match="nest"):
        read_edit({"RequestAttributesSequence": nested})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(
    ["PatientName", "PatientID", "PregnancyStatus", "PixelSpacing", "RequestAttributesSequence", "PatientWeight"]
)


@given(st.dictionaries(_NAMES | st.text(max_size=12), _JSON, max_size=4))
def test_whatever_is_sent_is_read_or_refused(wanted: dict[str, Any]) -> None:
    try:
        edit = read_edit(wanted)
    except MalformedRequest:
        return
    assert all(isinstance(text, str) for text in texts_of(edit.set))
    assert read_edit(edit.set) == edit
