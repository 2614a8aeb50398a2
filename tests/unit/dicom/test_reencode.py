"""Data sets written anew; whole files are compared in the tests of the Instances resource."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, ImplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from nearframe.dicom.elementbytes import element_header
from nearframe.dicom.part10 import parse
from nearframe.dicom.reencode import Changes, PixelDataHere, ValueSlice, data_set, meta_of
from nearframe.dicom.source import BytesSource
from nearframe.ids import Identity
from tests.archive import rewritten, sample

IDENTITY = Identity(SecondaryCaptureImageStorage, "2.25.1", "2.25.2", "2.25.3")


def written(dataset: Dataset, changes: Changes | None = None, pixel_data: bytes | None = None) -> Dataset:
    """Write a data set anew in Explicit VR Little Endian and read that."""
    source = BytesSource(rewritten(dataset))
    part10 = parse(source)
    out = meta_of(part10, IDENTITY, "1.2.840.10008.1.2.1")
    for chunk in data_set(part10.dataset, changes or {}, replaces_pixel_data=pixel_data is not None):
        match chunk:
            case bytes():
                out += chunk
            case ValueSlice():
                out += source.read(chunk.offset, chunk.length)
            case PixelDataHere():
                out += pixel_data or b""
    return pydicom.dcmread(BytesIO(out))


def small(transfer_syntax: UID = ImplicitVRLittleEndian) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    return dataset


def test_sequences_keep_their_items_in_order() -> None:
    dataset = small()
    inner = [Dataset(), Dataset(), Dataset()]
    inner[0].CodeValue, inner[1].CodeValue = "A", "B"
    outer = Dataset()
    outer.ConceptNameCodeSequence = Sequence(inner)
    dataset.ContentSequence = Sequence([outer])
    dataset.ReferencedImageSequence = Sequence([])
    found = written(dataset)
    assert found.ContentSequence[0].ConceptNameCodeSequence == Sequence(inner)
    assert list(found.ReferencedImageSequence) == []


@pytest.mark.filterwarnings("ignore:The value length")
def test_a_value_too_long_for_its_vr_goes_as_un() -> None:
    dataset = small()
    dataset.RedPaletteColorLookupTableDescriptor = [0, 0, 16]
    dataset.add_new(0x00281201, "OW", bytes(70_000))
    dataset.add_new(0x00189004, "CS", "X")
    dataset.add_new(0x00204000, "LT", "x" * 70_000)
    found = written(dataset)
    assert found[0x00204000].value in (b"x" * 70_000, "x" * 70_000)
    assert len(found[0x00281201].value) == 70_000
    assert element_header(0x00204000, "LT", 70_000)[4:6] == b"UN"
    assert element_header(0x00204000, "LT", 60_000)[4:6] == b"LT"


def test_changes_replace_or_come_in_their_place() -> None:
    dataset = small()
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.Rows = 1
    changes: Changes = {
        0x00280004: ("CS", b"RGB"),
        0x00280006: ("US", b"\0\0"),
        0x00282110: ("CS", b"01"),
        0x00080005: ("CS", b"ISO_IR 100"),
    }
    found = written(dataset, changes)
    assert [element.tag for element in found] == sorted(element.tag for element in found)
    assert found.PhotometricInterpretation == "RGB"
    assert found.PlanarConfiguration == 0
    assert found.LossyImageCompression == "01"
    assert found.SpecificCharacterSet == "ISO_IR 100"


def test_group_lengths_and_offset_tables_do_not_survive() -> None:
    dataset = small(JPEGBaseline8Bit)
    dataset.add_new(0x00080000, "UL", 99)
    dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = bytes(8), bytes(8)
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    found = written(dataset, pixel_data=element_header(0x7FE00010, "OW", 2) + b"ab")
    assert 0x00080000 not in found
    assert "ExtendedOffsetTable" not in found
    assert found.PixelData == b"ab"


def test_a_compressed_icon_is_left_out() -> None:
    dataset = small(JPEGBaseline8Bit)
    icon = Dataset()
    icon.Rows = icon.Columns = 1
    icon.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = True
    dataset.IconImageSequence = Sequence([icon])
    dataset.PatientID = "X"
    found = written(dataset, pixel_data=b"")
    assert list(found.IconImageSequence) == []
    assert found.PatientID == "X"


@pytest.mark.parametrize("name", ["ExplVR_LitEndNoMeta.dcm", "meta_missing_tsyntax.dcm"])
def test_files_without_meta_information_get_one(name: str) -> None:
    meta = meta_of(parse(BytesSource(sample(name))), IDENTITY, "1.2.840.10008.1.2.1")
    found = pydicom.dcmread(BytesIO(meta)).file_meta
    assert found.MediaStorageSOPInstanceUID == "2.25.1"
    assert found.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert found.ImplementationVersionName == "NEARFRAME"
    assert found.FileMetaInformationVersion == b"\0\1"
