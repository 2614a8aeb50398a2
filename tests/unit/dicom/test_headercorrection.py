"""Corrections applied to headers: what is named changes, every other byte stays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from nearframe.dicom.attributeedit import read_edit
from nearframe.dicom.header_source import metadata_of
from nearframe.dicom.headercorrection import corrected
from nearframe.dicom.model import DICOMJSON
from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import read_piece, split
from nearframe.errors import Conflict
from tests.syncing import Change, ct_series, written
from tests.unit.dicom import objects as o


def packaged(name: str) -> bytes:
    return Path(str(get_testdata_file(name))).read_bytes()


def after(file: bytes, wanted: dict[str, Any], unwanted: tuple[str, ...] = ()) -> pydicom.Dataset:
    """Return a file whose header was corrected, as another reader sees it; its pixels are the same."""
    source = BytesSource(file)
    instance = split(source)
    header = corrected(instance.header, instance.transfer_syntax_uid, read_edit(wanted, unwanted))
    pieces = [b"".join(read_piece(instance, source, piece)) for piece in instance.pieces]
    whole = b"".join(header.reassemble(lambda index, offset, length: pieces[index][offset : offset + length]))
    assert split(BytesSource(whole)).metadata == metadata_of(header).metadata
    ds = pydicom.dcmread(io.BytesIO(whole))
    assert ds.PixelData == pydicom.dcmread(io.BytesIO(file)).PixelData
    return ds


def slice_(change: Change | None = None) -> bytes:
    return ct_series(1, change=change)[0]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "MR_small_implicit.dcm"])
def test_only_what_is_named_changes(name: str) -> None:
    file = packaged(name)
    before, now = pydicom.dcmread(io.BytesIO(file)), after(file, {"PatientID": "NEW-1"}, ("PatientName",))
    assert now.PatientID == "NEW-1"
    assert "PatientName" not in now
    for ds in (before, now):
        for tag in (0x00100010, 0x00100020):
            ds.pop(tag, None)
    assert before == now


def test_what_says_so_already_stays_the_same() -> None:
    instance = split(BytesSource(slice_()))
    edit = read_edit({"PatientID": "PID-1"}, ("PatientWeight",))
    assert corrected(instance.header, instance.transfer_syntax_uid, edit) == instance.header


def test_text_is_written_in_the_character_set_of_the_object() -> None:
    ds = after(slice_(), {"PatientName": "Müller^Jörg"})
    assert (ds.SpecificCharacterSet, ds.PatientName) == ("ISO_IR 100", "Müller^Jörg")


def test_an_object_whose_set_lacks_a_character_becomes_utf8() -> None:
    def named(ds: pydicom.Dataset) -> None:
        ds.StudyDescription, ds.InstitutionName = "Schädel", "plain"

    ds = after(slice_(named), {"PatientName": "Yamada^Tarou=山田^太郎"})
    assert ds.SpecificCharacterSet == "ISO_IR 192"
    assert (ds.StudyDescription, ds.PatientName) == ("Schädel", "Yamada^Tarou=山田^太郎")


def _without_set(ds: pydicom.Dataset) -> None:
    del ds.SpecificCharacterSet


def _implicit(ds: pydicom.Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


@pytest.mark.parametrize("change", [_without_set, _implicit])
def test_so_does_one_without_any_set_in_any_framing(change: Change) -> None:
    ds = after(slice_(change), {"PatientName": "Łukasz"})
    assert (ds.SpecificCharacterSet, ds.PatientName) == ("ISO_IR 192", "Łukasz")


def test_big_endian_text_too() -> None:
    ds = after(packaged("MR_small_bigendian.dcm"), {"PatientName": "Łukasz"})
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    assert (ds.SpecificCharacterSet, ds.PatientName) == ("ISO_IR 192", "Łukasz")


def test_sequences_in_the_old_set_are_not_taken_apart_for_it() -> None:
    def nested(ds: pydicom.Dataset) -> None:
        item = pydicom.Dataset()
        item.RequestedProcedureDescription = "Schädel"
        ds.RequestAttributesSequence = [item]

    with pytest.raises(Conflict, match="character set"):
        after(slice_(nested), {"PatientName": "Łukasz"})
    assert after(slice_(nested), {"PatientName": "Jörg"}).PatientName == "Jörg"


def test_a_whole_sequence_can_be_set() -> None:
    ds = after(slice_(), {"RequestAttributesSequence": [{"RequestedProcedureID": "R-1"}]})
    assert ds.RequestAttributesSequence[0].RequestedProcedureID == "R-1"


def test_what_cannot_be_done_exactly_is_refused() -> None:
    deflated = packaged("image_dfl.dcm")
    with pytest.raises(Conflict, match="deflated"):
        after(deflated, {"PatientID": "1"})
    with pytest.raises(Conflict, match="big endian"):
        after(packaged("MR_small_bigendian.dcm"), {"PregnancyStatus": 4})
    twice = o.meta() + o.identifiers() + o.text(0x00100020, "LO", "a") * 2 + o.picture(4, 4)
    instance = split(BytesSource(twice + o.explicit(0x7FE00010, "OB", bytes(16))))
    with pytest.raises(Conflict, match="twice"):
        corrected(instance.header, instance.transfer_syntax_uid, read_edit({"PatientID": "1"}))


def test_a_value_kept_apart_cannot_go() -> None:
    def large(ds: pydicom.Dataset) -> None:
        ds.private_block(0x0009, "EXAMPLE SCANNERS").add_new(0x80, "OB", bytes(100_000))

    with pytest.raises(Conflict, match="kept apart"):
        after(slice_(large), {}, ("00091080",))


def metadata(file: bytes) -> DICOMJSON:
    return split(BytesSource(file)).metadata


def test_group_lengths_follow() -> None:
    ds = pydicom.dcmread(io.BytesIO(slice_()))
    ds.add_new(0x00100000, "UL", 999)
    file = written(ds)
    now = after(file, {"PatientID": "a much longer identifier"})
    assert now.PatientID == "a much longer identifier"
    assert metadata(file)["00100020"] != metadata(written(now))["00100020"]
