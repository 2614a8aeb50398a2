"""What becomes of an instance's metadata."""

from __future__ import annotations

from typing import Any

from nearframe.deidentify.metadata import deidentified
from nearframe.deidentify.profile import Option, Profile
from nearframe.deidentify.pseudonyms import Pseudonyms
from nearframe.dicom.attributes import keys
from nearframe.dicom.model import DICOMJSON

PSEUDONYMS = Pseudonyms(bytes(range(32)))


def key(keyword: str) -> str:
    return keys(keyword)[0]


def one(vr: str, *values: Any) -> DICOMJSON:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def coded(value: str, scheme: str, meaning: str) -> DICOMJSON:
    return {"00080100": one("SH", value), "00080102": one("SH", scheme), "00080104": one("LO", meaning)}


PATIENT: DICOMJSON = {
    key("PatientName"): one("PN", {"Alphabetic": "Doe^Jane", "Ideographic": "山田^花子"}),
    key("PatientID"): one("LO", "A-4711"),
    key("PatientBirthDate"): one("DA", "19700203"),
    key("StudyInstanceUID"): one("UI", "1.2.3"),
    key("SOPInstanceUID"): one("UI", "1.2.3.4"),
}


def cleaned(more: DICOMJSON, *options: Option) -> DICOMJSON:
    return deidentified(PATIENT | more, Profile(frozenset(options)), PSEUDONYMS)


def values(metadata: DICOMJSON, keyword: str) -> Any:
    return metadata[key(keyword)].get("Value")


def test_a_patient_is_told_from_others_and_by_nobody_known() -> None:
    first, second = cleaned({}), cleaned({key("PatientID"): one("LO", "A-4712")})
    assert values(first, "PatientID") == [values(first, "PatientName")[0]["Alphabetic"]]
    assert values(first, "PatientID") != values(second, "PatientID")
    assert "Value" not in first[key("PatientBirthDate")]


def test_issuers_keep_patients_apart() -> None:
    other = cleaned({key("IssuerOfPatientID"): one("LO", "B")})
    assert values(other, "PatientID") != values(cleaned({}), "PatientID")
    assert key("IssuerOfPatientID") not in other


def test_without_an_id_each_study_is_of_somebody_else() -> None:
    nobody = {key("PatientID"): one("LO")}
    assert values(cleaned(nobody), "PatientID") != values(
        cleaned(nobody | {key("StudyInstanceUID"): one("UI", "1.2.9")}), "PatientID"
    )


def test_uids_are_the_same_wherever_they_stand() -> None:
    reference = {key("ReferencedSOPClassUID"): one("UI", "1.2.840.10008.5.1.4.1.1.4")}
    reference[key("ReferencedSOPInstanceUID")] = one("UI", "1.2.3.4")
    out = cleaned({key("SourceImageSequence"): one("SQ", reference)})
    (item,) = values(out, "SourceImageSequence")
    assert values(item, "ReferencedSOPInstanceUID") == values(out, "SOPInstanceUID") != ["1.2.3.4"]
    assert values(item, "ReferencedSOPClassUID") == ["1.2.840.10008.5.1.4.1.1.4"]
    assert values(cleaned({}, Option.UIDS), "SOPInstanceUID") == ["1.2.3.4"]


def test_a_well_known_frame_of_reference_stays() -> None:
    well_known = {key("FrameOfReferenceUID"): one("UI", "1.2.840.10008.1.4.1.1")}
    assert values(cleaned(well_known), "FrameOfReferenceUID") == ["1.2.840.10008.1.4.1.1"]


def test_dates_of_a_patient_keep_their_distance() -> None:
    dates = {key("StudyDate"): one("DA", "20240301"), key("AcquisitionDateTime"): one("DT", "20240302101112")}
    out = cleaned(dates, Option.MODIFIED_DATES)
    (study,), (acquired,) = values(out, "StudyDate"), values(out, "AcquisitionDateTime")
    assert study < "20230302"
    assert acquired.endswith("101112")
    assert int(acquired[:8]) - int(study) in (1, 70, 71, 72, 73, 8870)
    assert values(out, "LongitudinalTemporalInformationModified") == ["MODIFIED"]


def test_a_name_that_somebody_typed_elsewhere_goes_too() -> None:
    typed = {
        key("BodyPartExamined"): one("CS", "HEAD"),
        key("PositionReferenceIndicator"): one("LO", "mrs. DOE, knee"),
        key("ConvolutionKernel"): one("SH", "Doering"),
        key("RequestedProcedureCodeSequence"): one("SQ", coded("1", "99X", "花子")),
    }
    out = cleaned(typed)
    assert values(out, "PositionReferenceIndicator") == ["REMOVED"]
    assert values(out, "ConvolutionKernel") == ["Doering"], "a part of a word is none"
    assert values(values(out, "RequestedProcedureCodeSequence")[0], "CodeMeaning") == ["REMOVED"]


def test_a_number_that_is_the_patients_goes_too() -> None:
    numbers = {key("PatientID"): one("LO", "4711471"), key("SeriesNumber"): one("IS", 4711471)}
    out = cleaned(numbers | {key("InstanceNumber"): one("IS", 7), key("AccessionNumber"): one("SH", "7")})
    assert "Value" not in out[key("SeriesNumber")]
    assert values(out, "InstanceNumber") == [7]


def test_a_report_keeps_its_shape_and_none_of_its_words() -> None:
    number = {
        key("ValueType"): one("CS", "NUM"),
        key("ConceptNameCodeSequence"): one("SQ", coded("121206", "DCM", "Distance")),
        key("MeasuredValueSequence"): one("SQ", {key("NumericValue"): one("DS", 7.5)}),
    }
    text = {
        key("ValueType"): one("CS", "TEXT"),
        key("ConceptNameCodeSequence"): one("SQ", coded("X1", "99CLINIC", "What our Dr. Who says")),
        key("TextValue"): one("UT", "a lady from Springfield"),
    }
    person = {key("ValueType"): one("CS", "PNAME"), key("PersonName"): one("PN", {"Alphabetic": "Who^Dr"})}
    out = values(cleaned({key("ContentSequence"): one("SQ", number, text, person)}), "ContentSequence")
    assert out[0] == number
    assert values(out[1], "TextValue") == ["REMOVED"]
    assert values(values(out[1], "ConceptNameCodeSequence")[0], "CodeMeaning") == ["REMOVED"]
    assert values(out[2], "PersonName") == [{"Alphabetic": "Removed"}]
    assert "Who" not in str(out)


def test_private_elements_go_but_for_safe_ones() -> None:
    private: DICOMJSON = {
        "00190010": one("LO", "SIEMENS MR HEADER"),
        "0019100C": one("IS", 1000),
        "00191008": one("CS", "IMAGE NUM 4"),
        "00290010": one("LO", "SOMEBODY"),
        "00291010": one("LO", "whatever"),
    }
    assert not cleaned(private).keys() & private.keys()
    assert cleaned(private, Option.SAFE_PRIVATE).keys() & private.keys() == {"00190010", "0019100C"}


def test_containers_are_told_apart() -> None:
    first, second = (
        values(cleaned({key("ContainerIdentifier"): one("LO", name)}), "ContainerIdentifier") for name in "ab"
    )
    assert first != second


def test_it_says_what_was_done() -> None:
    out = cleaned({}, Option.DEVICE)
    assert values(out, "PatientIdentityRemoved") == ["YES"]
    assert values(out, "LongitudinalTemporalInformationModified") == ["REMOVED"]
    codes = [values(item, "CodeValue")[0] for item in values(out, "DeidentificationMethodCodeSequence")]
    assert codes == ["113100", "113104", "113109"]
    assert list(out) == sorted(out)


def test_a_long_text_is_not_searched_but_replaced() -> None:
    out = cleaned(
        {
            key("PixelDataProviderURL"): one("UR", "http://x"),
            "00420010": {"vr": "ST", "BulkDataURI": "bulkdata/00420010"},
        }
    )
    assert out["00420010"] == one("ST", "REMOVED")
    assert key("PixelDataProviderURL") not in out
