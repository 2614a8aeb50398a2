"""Files made of metadata and bulk data."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.build import build, nothing
from nearframe.dicom.bulk import find_value
from nearframe.dicom.describe import describe
from nearframe.dicom.limits import Limits
from nearframe.dicom.model import Source
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource, FileSource, read_slices
from nearframe.dicom.split import read_piece, split
from nearframe.errors import LimitExceeded, MalformedDICOM, MissingIdentifier
from tests.unit.dicom import objects as o
from tests.unit.dicom.objects import packaged

MINIMAL: dict[str, Any] = {
    "00080016": {"vr": "UI", "Value": [o.SECONDARY_CAPTURE]},
    "00080018": {"vr": "UI", "Value": [o.INSTANCE]},
    "0020000D": {"vr": "UI", "Value": [o.STUDY]},
    "0020000E": {"vr": "UI", "Value": [o.SERIES]},
}


def file_of(metadata: dict[str, Any], **values: bytes) -> bytes:
    built = build({**MINIMAL, **metadata}, lambda uri: (BytesSource(values[uri]),) if uri in values else ())
    data = b"".join(built.chunks())
    assert len(data) == built.size
    return data


def read_back(metadata: dict[str, Any]) -> dict[str, Any]:
    return describe(parse(BytesSource(file_of(metadata)))).metadata


@pytest.mark.parametrize(
    "attribute",
    [
        {"vr": "LO", "Value": ["a", None, "c"]},
        {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane", "Phonetic": "x"}, {"Ideographic": "山田"}]},
        {"vr": "DS", "Value": [0.1, -7, 1e-9]},
        {"vr": "IS", "Value": [3, -4]},
        {"vr": "FD", "Value": [0.1, "NaN", "inf", "-inf"]},
        {"vr": "FL", "Value": [0.5]},
        {"vr": "SV", "Value": [-(2**63)]},
        {"vr": "US", "Value": [65535]},
        {"vr": "AT", "Value": ["7FE00010", "00100020"]},
        {"vr": "UI", "Value": ["1.2.3"]},
        {"vr": "OB", "InlineBinary": "AAEC/w=="},
        {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": ["T-1"]}}, {}]},
        {"vr": "SQ"},
        {"vr": "UT", "Value": ["x" * 20_000 + "é"]},
        {"vr": "LT"},
    ],
)
def test_attributes_come_back(attribute: dict[str, Any]) -> None:
    assert read_back({"00111001": attribute})["00111001"] == attribute


def test_a_value_too_long_for_its_vr_is_sent_as_un() -> None:
    assert read_back({"00081090": {"vr": "LO", "Value": ["x" * 70_000]}})["00081090"] == {
        "vr": "LO",
        "Value": ["x" * 70_000],
    }


def test_a_decimal_string_has_at_most_16_characters() -> None:
    (value,) = read_back({"00280030": {"vr": "DS", "Value": [-1 / 3e5]}})["00280030"]["Value"]
    assert value == pytest.approx(-1 / 3e5, rel=1e-8)


def test_what_describes_a_file_is_left_out() -> None:
    metadata = read_back({"00020010": {"vr": "UI", "Value": ["x"]}, "00080000": {"vr": "UL", "Value": [1]}})
    assert sorted(metadata) == ["00080005", "00080016", "00080018", "0020000D", "0020000E"]


def test_native_pixel_data() -> None:
    pixel_data = {"7FE00010": {"vr": "OB", "BulkDataURI": "pixels"}}
    data = file_of(pixel_data, pixels=b"abc")
    dataset = pydicom.dcmread(io.BytesIO(data))
    assert dataset.PixelData == b"abc\0"
    assert dataset.file_meta.TransferSyntaxUID == o.EXPLICIT


def test_encapsulated_pixel_data_has_a_fragment_a_frame() -> None:
    frames: list[Source] = [BytesSource(b"abc"), BytesSource(b"defg")]
    metadata = {**MINIMAL, "00280008": {"vr": "IS", "Value": [2]}, "7FE00010": {"vr": "OB", "BulkDataURI": "x"}}
    for key, value in (("00280010", 1), ("00280011", 1), ("00280100", 8)):
        metadata[key] = {"vr": "US", "Value": [value]}
    source = BytesSource(b"".join(build(metadata, lambda uri: frames, o.JPEG).chunks()))
    instance = split(source)
    assert instance.transfer_syntax_uid == o.JPEG
    assert [b"".join(read_piece(instance, source, piece)) for piece in instance.pieces] == [b"abc\0", b"defg"]
    assert instance.notes == ()


@pytest.mark.parametrize(
    "metadata",
    [
        {"0008": {"vr": "CS"}},
        {"FFFEE000": {"vr": "CS"}},
        {"x0080060": {"vr": "CS"}},
        {"00080060": []},
        {"00080060": {}},
        {"00080060": {"vr": "ZZ"}},
        {"00080060": {"vr": []}},
        {"00080018": {"vr": "UI", "Value": ["\ud800"]}},
        {"00080060": {"vr": "CS", "Value": "CT"}},
        {"00080060": {"vr": "CS", "Value": [{}]}},
        {"00080060": {"vr": "CS", "Value": ["\ud800"]}},
        {"00280010": {"vr": "US", "Value": [70_000]}},
        {"00280010": {"vr": "US", "Value": ["x"]}},
        {"00280010": {"vr": "US", "Value": [None]}},
        {"00280010": {"vr": "US", "Value": [float("inf")]}},
        {"00280030": {"vr": "DS", "Value": [float("nan")]}},
        {"00189073": {"vr": "FD", "Value": [10**400]}},
        {"00280009": {"vr": "AT", "Value": ["FFFFFFFFFF"]}},
        {"00281201": {"vr": "OW", "InlineBinary": "*"}},
        {"00281201": {"vr": "OW", "InlineBinary": 7}},
        {"00081140": {"vr": "SQ", "Value": ["x"]}},
        {"00081140": {"vr": "SQ", "Value": {"x": 1}}},
        {"7FE00010": {"vr": "OW", "BulkDataURI": "nowhere"}},
        {"7FE00010": {"vr": "OW", "BulkDataURI": 7}},
    ],
)
def test_what_cannot_be_written(metadata: dict[str, Any]) -> None:
    with pytest.raises(MalformedDICOM):
        build({**MINIMAL, **metadata}, nothing)


@pytest.mark.parametrize("syntax", [o.IMPLICIT, o.BIG_ENDIAN, o.DEFLATED])
def test_transfer_syntaxes_that_are_not_written(syntax: str) -> None:
    with pytest.raises(MalformedDICOM):
        build(MINIMAL, nothing, syntax)


@pytest.mark.parametrize("key", ["00080016", "00080018"])
@pytest.mark.parametrize("attribute", [None, {"vr": "UI"}, {"vr": "UI", "Value": [7]}, "x"])
def test_identifiers_are_required(key: str, attribute: object) -> None:
    with pytest.raises(MissingIdentifier):
        build({**MINIMAL, key: attribute}, nothing)


def test_nesting_is_bounded() -> None:
    metadata: dict[str, Any] = {}
    for _ in range(100):
        metadata = {"00081140": {"vr": "SQ", "Value": [metadata]}}
    with pytest.raises(LimitExceeded):
        build({**MINIMAL, **metadata}, nothing, limits=Limits(max_nesting=50))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["CS", "DS", "IS", "PN", "US", "FD", "AT", "SQ", "OB", "UT", "SV"]), JSON)
def test_any_value_is_written_or_refused(vr: str, values: object) -> None:
    with suppress(MalformedDICOM, LimitExceeded):
        build({**MINIMAL, "00111001": {"vr": vr, "Value": values}}, nothing)


@pytest.mark.parametrize("path", packaged(), ids=lambda path: path.name)
def test_packaged_files_can_be_built_again(path: Path) -> None:
    with FileSource(path) as source:
        try:
            part10 = parse(source)
            before = describe(part10)
        except (MalformedDICOM, MissingIdentifier):
            return
        order = part10.dataset.encoding.order
        if not before.identity.sop_class_uid or order == ">":
            return

        def bulk(uri: str) -> list[Source]:
            value = find_value(part10.dataset, uri)
            data = b"".join(read_slices(part10.dataset.source, value.slices))
            return [BytesSource(data)]

        pixel = part10.dataset.by_tag.get(0x7FE00010)
        syntax = before.transfer_syntax_uid if pixel is not None and pixel.fragments else o.EXPLICIT
        data = b"".join(build(before.metadata, bulk, syntax).chunks())
    again = describe(parse(BytesSource(data)))
    # What is built says UTF-8, and OB for encapsulated pixel data (PS3.5 A.4), whatever was there before.
    changed = {"00080005": None, "7FE00010": None}
    assert {**again.metadata, **changed} == {**before.metadata, **changed}
    assert struct.unpack_from("<HH", data, 132) == (2, 0)
    assert pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID == before.identity.sop_instance_uid
