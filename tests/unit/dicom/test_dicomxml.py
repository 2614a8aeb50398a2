"""The Native DICOM Model, there and back."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.dicomjson import to_json
from nearframe.dicom.dicomxml import MAX_EMPTY_VALUES, NAMESPACE, from_xml, to_xml
from nearframe.dicom.limits import Limits
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import FileSource
from nearframe.errors import LimitExceeded, MalformedDICOM, MalformedRequest
from tests.unit.dicom.objects import packaged

TABLE: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    (
        {"00080060": {"vr": "CS", "Value": ["CT"]}},
        '<DicomAttribute tag="00080060" keyword="Modality" vr="CS">\n<Value number="1">CT</Value>\n</DicomAttribute>\n',
    ),
    ({"00080090": {"vr": "PN"}}, '<DicomAttribute tag="00080090" keyword="ReferringPhysicianName" vr="PN"/>\n'),
    (
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane^^Dr", "Ideographic": "D"}]}},
        '<DicomAttribute tag="00100010" keyword="PatientName" vr="PN">\n<PersonName number="1">\n'
        "<Alphabetic><FamilyName>Doe</FamilyName><GivenName>Jane</GivenName><NamePrefix>Dr</NamePrefix></Alphabetic>\n"
        "<Ideographic><FamilyName>D</FamilyName></Ideographic>\n</PersonName>\n</DicomAttribute>\n",
    ),
    (
        {"00280030": {"vr": "DS", "Value": [0.5, None, 2]}},
        '<DicomAttribute tag="00280030" keyword="PixelSpacing" vr="DS">\n<Value number="1">0.5</Value>\n'
        '<Value number="3">2</Value>\n</DicomAttribute>\n',
    ),
    (
        {"00090010": {"vr": "LO", "Value": ["ACME & Sons"]}, "00091001": {"vr": "UN", "InlineBinary": "AAE="}},
        '<DicomAttribute tag="00090010" vr="LO">\n<Value number="1">ACME &amp; Sons</Value>\n</DicomAttribute>\n'
        '<DicomAttribute tag="00090001" privateCreator="ACME &amp; Sons" vr="UN">\n'
        "<InlineBinary>AAE=</InlineBinary>\n</DicomAttribute>\n",
    ),
    (
        {"7FE00010": {"vr": "OW", "BulkDataURI": "bulkdata/7FE00010"}},
        '<DicomAttribute tag="7FE00010" keyword="PixelData" vr="OW">\n<BulkData uri="bulkdata/7FE00010"/>\n'
        "</DicomAttribute>\n",
    ),
    (
        {"00081140": {"vr": "SQ", "Value": [{"00080060": {"vr": "CS", "Value": ["<MR>"]}}, {}]}},
        '<DicomAttribute tag="00081140" keyword="ReferencedImageSequence" vr="SQ">\n<Item number="1">\n'
        '<DicomAttribute tag="00080060" keyword="Modality" vr="CS">\n<Value number="1">&lt;MR&gt;</Value>\n'
        '</DicomAttribute>\n</Item>\n<Item number="2">\n</Item>\n</DicomAttribute>\n',
    ),
    (
        {"0008103E": {"vr": "LO", "Value": ["two\r\nlines  "]}, "00280106": {"vr": "SS", "Value": [-1]}},
        '<DicomAttribute tag="0008103E" keyword="SeriesDescription" vr="LO">\n'
        '<Value number="1">two&#13;\nlines  </Value>\n</DicomAttribute>\n'
        '<DicomAttribute tag="00280106" keyword="SmallestImagePixelValue" vr="SS">\n<Value number="1">-1</Value>\n'
        "</DicomAttribute>\n",
    ),
]


def document(body: str) -> bytes:
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">\n'
    return (head + body + "</NativeDicomModel>\n").encode()


@pytest.mark.parametrize(("metadata", "body"), TABLE)
def test_both_ways(metadata: dict[str, Any], body: str) -> None:
    assert to_xml(metadata) == document(body)
    assert from_xml(document(body)) == metadata


def test_a_document_without_namespace_is_read_too() -> None:
    body = b'<DicomAttribute tag="00080060"><Value number="1">CT</Value></DicomAttribute>'
    assert from_xml(b"<NativeDicomModel>" + body + b"</NativeDicomModel>") == {
        "00080060": {"vr": "CS", "Value": ["CT"]}
    }


def test_private_elements_without_creator_element_get_a_block_each() -> None:
    first = '<DicomAttribute tag="00090001" privateCreator="A" vr="LO"/>'
    second = '<DicomAttribute tag="00090001" privateCreator="B" vr="SH"/>'
    assert from_xml(document(first + second)) == {
        "00090010": {"vr": "LO", "Value": ["A"]},
        "00090011": {"vr": "LO", "Value": ["B"]},
        "00091001": {"vr": "LO"},
        "00091101": {"vr": "SH"},
    }


def test_characters_that_xml_cannot_hold_are_replaced() -> None:
    metadata = {"00104000": {"vr": "LT", "Value": ["a\0\x1bb\ud800"]}}
    assert from_xml(to_xml(metadata))["00104000"]["Value"] == ["a\ufffd\ufffdb\ufffd"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<NativeDicomModel>",
        b"<html/>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><NativeDicomModel>&a;</NativeDicomModel>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="bogus"?><NativeDicomModel/>',
        b'<?xml version="1.0" encoding="cp037"?><NativeDicomModel/>',
        document("<NativeDicomModel/>"),
        document("<DicomAttribute/>"),
        document('<DicomAttribute tag="x" vr="LO"/>'),
        document('<DicomAttribute tag="00080060" vr="ZZ"/>'),
        document('<Value number="1">x</Value>'),
        document("<Item/>"),
        document('<DicomAttribute tag="00080060" vr="CS"><DicomAttribute tag="00080061" vr="CS"/></DicomAttribute>'),
        document('<DicomAttribute tag="00080060" vr="CS"><Value>x</Value></DicomAttribute>'),
        document('<DicomAttribute tag="00080060" vr="CS"><Value number="0">x</Value></DicomAttribute>'),
        document('<DicomAttribute tag="00080060" vr="CS"><Value number="²">x</Value></DicomAttribute>'),
        document("<DicomAttribute tag='00100010' vr='PN'><FamilyName>x</FamilyName></DicomAttribute>"),
        b"<DicomAttribute tag='00080060' vr='CS'/>",
    ],
)
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        from_xml(data)


def test_the_number_of_empty_values_is_bounded() -> None:
    body = f'<DicomAttribute tag="00080060" vr="CS"><Value number="{MAX_EMPTY_VALUES + 2}">x</Value></DicomAttribute>'
    with pytest.raises(LimitExceeded):
        from_xml(document(body))


def test_depth_and_elements_are_bounded() -> None:
    opened = '<DicomAttribute tag="00081140" vr="SQ"><Item number="1">' * 50
    with pytest.raises(LimitExceeded):
        from_xml(document(opened + "</Item></DicomAttribute>" * 50))
    with pytest.raises(LimitExceeded):
        from_xml(document('<DicomAttribute tag="00081140" vr="SQ"/>' * 5), Limits(max_elements=4))


@pytest.mark.parametrize("path", packaged(), ids=lambda path: path.name)
def test_packaged_files_survive(path: Path) -> None:
    with warnings.catch_warnings(), FileSource(path) as source:
        try:
            metadata = to_json(parse(source).dataset, set())
        except MalformedDICOM:
            return
    assert from_xml(to_xml(metadata)) == like_xml(metadata)


def like_xml(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return what XML cannot tell apart: trailing empty values, and names with empty components at the end."""
    out = {}
    for key, attribute in metadata.items():
        values = [one_like_xml(attribute["vr"], value) for value in attribute.get("Value", [])]
        while values and values[-1] is None:
            values.pop()
        out[key] = {**attribute, "Value": values} if values else {k: v for k, v in attribute.items() if k != "Value"}
    return out


def one_like_xml(vr: str, value: Any) -> Any:
    if vr == "SQ":
        return like_xml(value)
    if vr == "PN" and value is not None:
        return {label: text.rstrip("^") for label, text in value.items() if text.rstrip("^")} or None
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_anything_is_read_or_refused(data: bytes) -> None:
    for body in (data, document(data.decode("latin-1"))):
        with suppress(MalformedRequest, LimitExceeded):
            from_xml(body)
