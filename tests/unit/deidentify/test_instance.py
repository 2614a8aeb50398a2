"""Whole files: what is left of them, byte for byte."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGBaseline8Bit

from nearframe.deidentify import Deidentified, Mask, Profile, Pseudonyms, Region, deidentify
from nearframe.dicom.dicomjson import to_json
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource
from nearframe.errors import NearframeError, Refused
from tests.archive import sample
from tests.unit.dicom import objects

PSEUDONYMS = Pseudonyms(bytes(range(32)))
CHECKED = Profile(pixels_checked=True)


def cleaned(data: bytes, profile: Profile = CHECKED) -> tuple[Deidentified, bytes, pydicom.Dataset]:
    out = deidentify(BytesSource(data), profile, PSEUDONYMS)
    file = b"".join(out.file.chunks())
    assert len(file) == out.file.size
    return out, file, pydicom.dcmread(io.BytesIO(file))


def test_preamble_file_meta_and_tail_are_ours() -> None:
    data = objects.native(bytes(16), rows=4, columns=4)
    data = b"Doe^Jane".ljust(128, b"\0") + data[128:] + b"Doe^Jane"
    _, file, ds = cleaned(data)
    assert b"Doe" not in file
    assert objects.INSTANCE.encode() not in file
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID == PSEUDONYMS.uid(objects.INSTANCE)
    assert ds.PatientIdentityRemoved == "YES"


def test_twice_gives_the_same_bytes() -> None:
    data = sample("CT_small.dcm")
    assert cleaned(data)[1] == cleaned(data)[1]


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "image_dfl.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
    ],
)
def test_pixels_are_those_of_the_original(name: str) -> None:
    data = sample(name)
    _, _, ds = cleaned(data)
    original = pydicom.dcmread(io.BytesIO(data))
    encapsulated = original.file_meta.TransferSyntaxUID.is_encapsulated
    assert ds.file_meta.TransferSyntaxUID == (
        original.file_meta.TransferSyntaxUID if encapsulated else "1.2.840.10008.1.2.1"
    )
    assert np.array_equal(ds.pixel_array, original.pixel_array)


def test_masked_jpeg_becomes_native_and_says_so() -> None:
    data = sample("examples_ybr_color.dcm")
    original = pydicom.dcmread(io.BytesIO(data))
    mask = Mask((("00080060", original.Modality),), (Region(0, 0, 10_000, 50),))
    out, _, ds = cleaned(data, Profile(masks=(mask,)))
    assert out.masked
    assert original.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (ds.BurnedInAnnotation, ds.LossyImageCompression, ds.PhotometricInterpretation) == ("NO", "01", "RGB")
    frames = ds.pixel_array
    assert frames.shape[0] == original.NumberOfFrames
    assert not frames[:, :50].any()
    assert frames[:, 50:].any()
    assert "113101" in [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]


def test_a_document_is_refused() -> None:
    document = objects.explicit(0x00420011, "OB", b"%PDF-1.4")
    with pytest.raises(Refused, match="document"):
        cleaned(objects.meta() + objects.identifiers() + document)


def test_frames_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(Refused, match="told apart"):
        cleaned(objects.encapsulated([b"abcd", b"efgh", b"ijkl"], frames=2))


def test_bits_behind_the_last_frame_go() -> None:
    pixels = bytes(range(16)) + b"Doe^Jane"
    _, file, ds = cleaned(objects.native(pixels, rows=4, columns=4))
    assert ds.PixelData == bytes(range(16))
    assert b"Doe" not in file


def test_frames_of_bits_stay_packed() -> None:
    pixels = bytes([0b10101010, 0b01010101, 0xFF, 0])
    data = objects.native(pixels, rows=3, columns=3, bits=1, frames=3)
    assert cleaned(data)[2].PixelData[:4] == pixels


def test_a_large_private_value_is_not_copied() -> None:
    private = objects.explicit(0x00091010, "OB", b"Doe^Jane" * 20_000)
    assert len(cleaned(objects.meta() + objects.identifiers() + private)[1]) < 2_000


@pytest.mark.parametrize("path", objects.packaged(), ids=lambda path: path.stem)
def test_whatever_pydicom_brings(path: Path) -> None:
    data = path.read_bytes()
    try:
        _, file, _ = cleaned(data)
    except NearframeError:
        return
    parsed = parse(BytesSource(data)).dataset
    for tag in ("00100010", "00100020", "00080050", "0020000D", "00080018"):
        for value in to_json(parsed, set()).get(tag, {}).get("Value", ()):
            text = value.get("Alphabetic", "") if isinstance(value, dict) else value
            assert len(text) < 6 or text.encode() not in file


def test_swapped_numbers_of_bulk_values() -> None:
    floats = struct.pack(">20000f", *range(20_000))
    values = objects.explicit(0x00660016, "OF", floats, order=">")
    data = objects.meta(objects.BIG_ENDIAN) + objects.identifiers(">") + values
    assert cleaned(data)[2].PointCoordinatesData[:8] == struct.pack("<2f", 0, 1)
