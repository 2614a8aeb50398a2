"""A DICOMDIR as readers of media see it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pydicom
import pytest

from nearframe.dicom.attributes import keys
from nearframe.dicom.describe import describe
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource
from nearframe.exporter.dicomdir import Directory, patient_of
from nearframe.exporter.names import Numbering, media_name
from tests.archive import sample
from tests.media import files_of

NAMES = ("CT_small.dcm", "MR_small.dcm", "test-SR.dcm", "rtplan.dcm", "rtdose.dcm", "waveform_ecg.dcm")


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A medium of one object of each kind."""
    directory, numbering = Directory(), Numbering()
    for name in NAMES:
        data = sample(name)
        found = describe(parse(BytesSource(data)))
        uids = found.identity.study_instance_uid, found.identity.series_instance_uid, found.identity.sop_instance_uid
        file_id = media_name(numbering.of(patient_of(found.metadata), *uids))
        path = tmp_path / file_id
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        directory.add(file_id, found.metadata, found.transfer_syntax_uid)
    (tmp_path / "DICOMDIR").write_bytes(directory.file())
    return tmp_path


@pytest.mark.filterwarnings("ignore")  # pydicom's, of its own odd files
def test_a_reader_finds_every_file(medium: Path) -> None:
    files = files_of(medium / "DICOMDIR")
    assert len(files) == len(NAMES)
    for record, ds in files:
        assert record.ReferencedSOPInstanceUIDInFile == ds.SOPInstanceUID
        assert record.ReferencedTransferSyntaxUIDInFile == ds.file_meta.TransferSyntaxUID
    types = {record.DirectoryRecordType for record in pydicom.dcmread(medium / "DICOMDIR").DirectoryRecordSequence}
    leaves = {"IMAGE", "SR DOCUMENT", "RT PLAN", "RT DOSE", "WAVEFORM"}
    assert types == {"PATIENT", "STUDY", "SERIES"} | leaves


def test_names_fit_the_oldest_reader(medium: Path) -> None:
    for path in medium.rglob("*"):
        assert all(len(part) <= 8 and part.isupper() for part in path.relative_to(medium).parts)


def test_validators_have_nothing_to_say(medium: Path) -> None:
    if shutil.which("dciodvfy") is None or shutil.which("dcmdump") is None:
        pytest.skip("neither dicom3tools nor DCMTK")
    said = subprocess.run(["dciodvfy", medium / "DICOMDIR"], capture_output=True, text=True, check=False)
    assert not [line for line in said.stderr.splitlines() if line.startswith("Error")]
    assert subprocess.run(["dcmdump", "-q", medium / "DICOMDIR"], capture_output=True, check=False).returncode == 0


def one(keyword: str, vr: str, *values: Any) -> dict[str, Any]:
    return {keys(keyword)[0]: {"vr": vr, "Value": list(values)} if values else {"vr": vr}}


def test_what_an_object_leaves_out_is_named_in_the_directory_alone() -> None:
    directory = Directory()
    bare = one("SOPInstanceUID", "UI", "1.2.3") | one("StudyDate", "DA") | one("StudyInstanceUID", "UI", "1.2")
    directory.add("DICOM/A", bare, "1.2.840.10008.1.2.1")
    records = pydicom.dcmread(pydicom.filebase.DicomBytesIO(directory.file())).DirectoryRecordSequence
    assert [record.DirectoryRecordType for record in records] == ["PATIENT", "STUDY", "SERIES", "IMAGE"]
    assert (records[0].PatientID, records[1].StudyDate, records[2].Modality) == ("UNKNOWN", "19000101", "OT")


def test_patients_are_told_apart() -> None:
    by_id = one("PatientID", "LO", "7")
    assert patient_of(by_id) != patient_of(by_id | one("IssuerOfPatientID", "LO", "B"))
    assert patient_of(one("PatientName", "PN", {"Alphabetic": "A"})) != patient_of({})


def test_nothing_on_it() -> None:
    assert not pydicom.dcmread(pydicom.filebase.DicomBytesIO(Directory().file())).DirectoryRecordSequence
