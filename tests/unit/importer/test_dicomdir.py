"""DICOMDIR: what it lists, and nothing outside its folder."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.config import disable_value_validation
from pydicom.data import get_testdata_files
from pydicom.uid import UID

from nearframe.errors import MalformedDICOM
from nearframe.importer.dicomdir import read_dicomdir
from nearframe.importer.report import Problem
from nearframe.importer.sources import Found, Missing, find
from tests.unit.importer.conftest import dicom_file


def write_dicomdir(path: Path, file_ids: list[list[str] | str]) -> None:
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")
    ds.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    ds.DirectoryRecordSequence = []
    with disable_value_validation():
        for file_id in file_ids:
            record = pydicom.Dataset()
            record.DirectoryRecordType = "IMAGE"
            record.ReferencedFileID = file_id
            ds.DirectoryRecordSequence.append(record)
        pydicom.dcmwrite(path, ds, enforce_file_format=True, overwrite=True)


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    disc = tmp_path / "disc"
    (disc / "dicom").mkdir(parents=True)
    for name in ("dicom/im1", "dicom/im2", "unlisted"):
        (disc / name).write_bytes(dicom_file())
    (tmp_path / "outside").write_bytes(dicom_file())
    (disc / "link").symlink_to(tmp_path / "outside")
    return disc


def test_lists_files_whatever_the_case(disc: Path) -> None:
    write_dicomdir(disc / "DICOMDIR", [["DICOM", "IM1"], ["DICOM", "IM2"], ["DICOM", "IM3"]])
    listed = read_dicomdir(disc / "DICOMDIR")
    assert listed.files == [disc / "dicom" / "im1", disc / "dicom" / "im2"]
    assert listed.missing == [str(disc / "DICOM" / "IM3")]


@pytest.mark.parametrize("file_id", [["..", "OUTSIDE"], ["LINK"], ["DICOM"], ["DICOM", "..", "UNLISTED"]])
def test_nothing_outside_the_folder_is_reached(disc: Path, file_id: list[str]) -> None:
    write_dicomdir(disc / "DICOMDIR", [file_id])
    assert read_dicomdir(disc / "DICOMDIR").files == []


def test_a_named_dicomdir_stands_for_its_files(disc: Path) -> None:
    write_dicomdir(disc / "DICOMDIR", [["DICOM", "IM1"], ["GONE"]])
    findings = list(find([disc / "DICOMDIR"]))
    assert [type(finding) for finding in findings] == [Found, Problem]
    assert findings[0].name == str(disc / "dicom" / "im1")


def test_in_a_folder_every_file_counts_and_what_is_missing_is_said(disc: Path) -> None:
    write_dicomdir(disc / "DICOMDIR", [["DICOM", "IM1"], ["GONE"]])
    findings = list(find([disc]))
    assert sum(isinstance(finding, Found) for finding in findings) == 4
    assert [finding.name for finding in findings if isinstance(finding, Missing)] == [str(disc / "GONE")]


def test_an_unreadable_dicomdir_is_searched_around(disc: Path) -> None:
    write_dicomdir(disc / "DICOMDIR", [["DICOM", "IM1"]])
    data = (disc / "DICOMDIR").read_bytes()
    at = data.index(b"\x04\x00\x20\x12")  # Directory Record Sequence
    (disc / "DICOMDIR").write_bytes(data[:at] + b"\x04\x00\x20\x12ZZ\x00\x00\xff\xff\xff\x7f")
    with pytest.raises(MalformedDICOM):
        read_dicomdir(disc / "DICOMDIR")
    assert sum(isinstance(finding, Found) for finding in find([disc / "DICOMDIR"])) == 4


def test_a_real_medium() -> None:
    path = next(path for path in map(Path, get_testdata_files()) if path.name == "DICOMDIR")
    listed = read_dicomdir(path)
    assert listed.files
    assert all(file.is_file() for file in listed.files)
