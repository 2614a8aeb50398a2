"""Objects of every kind, in every transfer syntax that one of the files which come with pydicom has, and in HTJ2K."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, HTJ2KLossless, JPEGBaseline8Bit, JPEGExtended12Bit

from tests.archive import FILES, sample

#: All are made instances of one study, so that one request names them.
STUDY: Final = "2.25.20261122"
_MORE: Final = (
    "JPGExtended.dcm",  # JPEG of 12 bit
    "SC_rgb_jpeg_gdcm.dcm",  # lossless JPEG
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG2000.dcm",
    "rtplan.dcm",  # no pixels
)
_PIXEL_DATA: Final = 0x7FE00010
#: Photometric Interpretation, Planar Configuration, and what was lost by compression: told anew of decoded samples.
_OF_ENCODING: Final = frozenset(map(Tag, (0x00280004, 0x00280006, 0x00282110, 0x00282112, 0x00282114)))
_PADDING: Final = 0xFFFCFFFC


@dataclass
class Item:
    """One file, each in a series of its own; what it holds is read and decoded once."""

    path: Path
    sop_instance_uid: str
    transfer_syntax_uid: str

    @cached_property
    def dataset(self) -> pydicom.Dataset:
        return pydicom.dcmread(self.path)


def write_stock(folder: Path, study: str = STUDY) -> list[Item]:
    """Write the files into a folder."""
    return list(_written(folder, study))


def _written(folder: Path, study: str) -> Iterator[Item]:
    datasets = [pydicom.dcmread(pydicom.filebase.DicomBytesIO(sample(name))) for name in (*FILES, *_MORE)]
    for number, dataset in enumerate([*datasets, _htj2k()], start=1):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.{number}"
        dataset.PatientID, dataset.StudyDate = "STOCK", "20261122"
        uid = dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{study}.{number}.1")
        path = folder / f"{number:02}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        yield Item(path, uid, dataset.file_meta.TransferSyntaxUID)


def _htj2k() -> pydicom.Dataset:
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(sample("CT_small.dcm")))
    dataset.PixelData = encapsulate([bytes(imagecodecs.htj2k_encode(dataset.pixel_array, reversible=True))])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
    return dataset


def assert_same(one: pydicom.Dataset, other: pydicom.Dataset) -> None:
    """Check that two objects are the same, attribute for attribute and pixel for pixel, however they are written."""
    syntax = one.file_meta.TransferSyntaxUID
    is_reencoded = syntax != other.file_meta.TransferSyntaxUID
    told_anew = _OF_ENCODING if is_reencoded and syntax.is_compressed else frozenset()
    assert {*_tags(one)} - told_anew == {*_tags(other)} - told_anew
    for tag in {*_tags(one)} - told_anew - {_PIXEL_DATA}:
        if one[tag].VR == other[tag].VR:
            assert one[tag] == other[tag]
    if _PIXEL_DATA not in one:
        return
    if not is_reencoded:
        assert one.PixelData == other.PixelData
    elif syntax != JPEGExtended12Bit:  # which pydicom's decoders do not know
        difference = np.subtract(one.pixel_array, other.pixel_array, dtype=np.int64)
        assert np.abs(difference).max() <= (2 if syntax == JPEGBaseline8Bit else 0)  # decoders round in their own ways


def _tags(dataset: pydicom.Dataset) -> Iterator[BaseTag]:
    """Yield what is in a data set, without lengths of groups and padding, which who writes it adds as it pleases."""
    for element in dataset:
        if element.tag.element != 0 and element.tag != _PADDING:
            yield element.tag
