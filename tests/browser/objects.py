"""Objects made for the viewer: a CT stack, a segmentation of it, a PDF, a video."""

from __future__ import annotations

import io
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileDataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

ROOT = "1.2.826.0.1.3680043.9.9998"
SIZE = 128


def _object(sop_class: str, study: str, series: str, sop: str, modality: str, syntax: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = uid.UID(sop_class), uid.UID(sop)
    meta.TransferSyntaxUID = uid.UID(syntax)
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = sop_class, sop, study, series
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Viewer^Test", "VIEW", "19700101", "O"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260101", "120000", "V1", "1"
    ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "", modality, 1, 1
    return ds


def _bytes(ds: FileDataset) -> bytes:
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def ct_stack(count: int) -> list[bytes]:
    """Return an axial stack with a bright cylinder in a body."""
    study, series = f"{ROOT}.1", f"{ROOT}.1.1"
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    random = np.random.default_rng(1)
    out = []
    for number in range(1, count + 1):
        ds = _object(uid.CTImageStorage, study, series, f"{series}.{number}", "CT", uid.ExplicitVRLittleEndian)
        picture = np.where(x**2 + y**2 < 0.8, 1064.0, 24.0) + np.where(x**2 + y**2 < 0.02 * number, 600.0, 0.0)
        picture += random.normal(0, 15, picture.shape)
        ds.InstanceNumber, ds.FrameOfReferenceUID = number, f"{ROOT}.9"
        ds.Rows = ds.Columns = SIZE
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [1, 1], 2
        ds.RescaleIntercept, ds.RescaleSlope, ds.WindowCenter, ds.WindowWidth = -1024, 1, 40, 400
        ds.PixelData = np.clip(picture, 0, 4095).astype("<u2").tobytes()
        out.append(_bytes(ds))
    return out


def segmentation(count: int) -> list[bytes]:
    """Return a binary segmentation of the stack's cylinder."""
    study, series = f"{ROOT}.1", f"{ROOT}.1.2"
    ds = _object(uid.SegmentationStorage, study, series, f"{series}.1", "SEG", uid.ExplicitVRLittleEndian)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    masks = np.stack([x**2 + y**2 < 0.02 * number for number in range(1, count + 1)])
    ds.SeriesNumber, ds.FrameOfReferenceUID = 2, f"{ROOT}.9"
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.Manufacturer, ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "test", "CYL", "cylinder", "Test"
    ds.Rows = ds.Columns = SIZE
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.NumberOfFrames = 1, "MONOCHROME2", count
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = ds.PixelRepresentation = 0
    ds.SegmentationType, ds.LossyImageCompression = "BINARY", "00"
    ds.SegmentSequence = Sequence([_segment()])
    source = Dataset()
    source.SeriesInstanceUID = f"{ROOT}.1.1"
    source.ReferencedInstanceSequence = Sequence([_reference(number) for number in range(1, count + 1)])
    ds.ReferencedSeriesSequence = Sequence([source])
    ds.DimensionOrganizationSequence = Sequence([_with(DimensionOrganizationUID=f"{ROOT}.8")])
    ds.SharedFunctionalGroupsSequence = Sequence([_shared()])
    ds.PerFrameFunctionalGroupsSequence = Sequence([_frame(number) for number in range(1, count + 1)])
    ds.PixelData = np.packbits(masks.ravel(), bitorder="little").tobytes()
    return [_bytes(ds)]


def _with(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def _code(value: str, meaning: str) -> Sequence:
    return Sequence([_with(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)])


def _segment() -> Dataset:
    return _with(
        SegmentNumber=1,
        SegmentLabel="cylinder",
        SegmentAlgorithmType="MANUAL",
        SegmentedPropertyCategoryCodeSequence=_code("123037004", "Anatomical Structure"),
        SegmentedPropertyTypeCodeSequence=_code("10200004", "Liver"),
    )


def _reference(number: int) -> Dataset:
    return _with(ReferencedSOPClassUID=uid.CTImageStorage, ReferencedSOPInstanceUID=f"{ROOT}.1.1.{number}")


def _shared() -> Dataset:
    return _with(
        PixelMeasuresSequence=Sequence([_with(PixelSpacing=[1, 1], SliceThickness=2, SpacingBetweenSlices=2)]),
        PlaneOrientationSequence=Sequence([_with(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        SegmentIdentificationSequence=Sequence([_with(ReferencedSegmentNumber=1)]),
    )


def _frame(number: int) -> Dataset:
    purpose = Sequence([_with(CodeValue="121322", CodingSchemeDesignator="DCM", CodeMeaning="Source image")])
    source = _reference(number)
    source.PurposeOfReferenceCodeSequence = purpose
    return _with(
        FrameContentSequence=Sequence([_with(DimensionIndexValues=[1, number])]),
        PlanePositionSequence=Sequence([_with(ImagePositionPatient=[0, 0, 2 * number])]),
        DerivationImageSequence=Sequence([_with(SourceImageSequence=Sequence([source]))]),
    )


def pdf() -> list[bytes]:
    """Return an encapsulated PDF of one red page."""
    drawing = b"1 0 0 rg 0 0 300 300 re f"
    body = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources<<>>>>endobj\n"
    )
    body += b"4 0 obj<</Length %d>>stream\n%s\nendstream endobj\n" % (len(drawing), drawing)
    body += b"% padding to make it a bulk value\n" * 3000
    body += b"trailer<</Root 1 0 R>>\n%%EOF\n"
    study, series = f"{ROOT}.2", f"{ROOT}.2.1"
    ds = _object(uid.EncapsulatedPDFStorage, study, series, f"{series}.1", "DOC", uid.ExplicitVRLittleEndian)
    ds.MIMETypeOfEncapsulatedDocument, ds.DocumentTitle, ds.BurnedInAnnotation = "application/pdf", "Report", "YES"
    ds.EncapsulatedDocument = body + b"\0" * (len(body) % 2)
    return [_bytes(ds)]


def video() -> list[bytes]:
    """Return two seconds of H.264 in a video photographic object, made with ffmpeg."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        picture = ["-f", "lavfi", "-i", "testsrc=duration=2:size=320x240:rate=25"]
        encoder = ["-c:v", "libx264", "-profile:v", "high", "-level", "4.1", "-pix_fmt", "yuv420p"]
        command = ["ffmpeg", "-loglevel", "error", *picture, *encoder, "-movflags", "+faststart", str(path)]
        subprocess.run(command, check=True)
        stream = path.read_bytes()
    study, series = f"{ROOT}.3", f"{ROOT}.3.1"
    ds = _object(uid.VideoPhotographicImageStorage, study, series, f"{series}.1", "XC", uid.MPEG4HP41)
    ds.Rows, ds.Columns, ds.NumberOfFrames = 240, 320, 50
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_PARTIAL_420", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.CineRate, ds.FrameTime, ds.LossyImageCompression = 25, 40, "01"
    ds.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    ds["PixelData"].is_undefined_length = True
    return [_bytes(ds)]
