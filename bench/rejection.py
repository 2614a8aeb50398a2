"""Rejection notes as a scanner's console writes them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

KEY_OBJECT_SELECTION = UID("1.2.840.10008.5.1.4.1.1.88.59")


def note(files: Sequence[bytes], code: str, uid: str, *, scheme: str = "DCM") -> bytes:
    """Return a Key Object Selection that names the objects in `files`, all of one series, under a title."""
    named = [pydicom.dcmread(io.BytesIO(file)) for file in files]
    first = named[0]
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = KEY_OBJECT_SELECTION
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID(uid)
    if "SpecificCharacterSet" in first:
        ds.SpecificCharacterSet = first.SpecificCharacterSet
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "AccessionNumber"):
        setattr(ds, keyword, getattr(first, keyword))
    ds.SeriesInstanceUID, ds.Modality, ds.InstanceNumber, ds.ValueType = f"{uid}.1", "KO", "1", "CONTAINER"
    title = pydicom.Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, scheme, "a title"
    ds.ConceptNameCodeSequence = [title]
    ds.CurrentRequestedProcedureEvidenceSequence = [_evidence(named)]
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _evidence(named: Sequence[pydicom.Dataset]) -> pydicom.Dataset:
    references = []
    for one in named:
        reference = pydicom.Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        references.append(reference)
    series = pydicom.Dataset()
    series.SeriesInstanceUID, series.ReferencedSOPSequence = named[0].SeriesInstanceUID, references
    study = pydicom.Dataset()
    study.StudyInstanceUID, study.ReferencedSeriesSequence = named[0].StudyInstanceUID, [series]
    return study
