"""What we write is read by others: OpenJPEG and GDCM through pydicom, DCMTK's own decoders."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pydicom.pixels.utils
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, SecondaryCaptureImageStorage, generate_uid

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples, encode_native
from nearframe.dicom.transcode import TranscodedFrame, transcode
from tests.frame_samples import colour, grey

RNG = np.random.default_rng(21)
RAMP = np.add.outer(np.arange(150), 2 * np.arange(200))
PICTURES: dict[str, tuple[Samples, PixelDescription]] = {
    "12 bits": ((RAMP * 6 + RNG.integers(0, 40, RAMP.shape)).astype(np.uint16), grey(150, 200)),
    "signed": ((RAMP * 6 - 2000).astype(np.int16), grey(150, 200, bits_stored=16, signed=True)),
    "8 bits": ((RAMP // 3).astype(np.uint8), grey(150, 200, bits_allocated=8, bits_stored=8)),
    "RGB": (RNG.integers(0, 256, (150, 200, 3), np.uint8), colour(150, 200)),
}
#: Who reads what: transfer syntax, pydicom plug-in or DCMTK tool.
READERS = [
    (ts.HTJ2KLosslessRPCL, "pylibjpeg"),
    (ts.JPEG2000Lossless, "pylibjpeg"),
    (ts.JPEG2000Lossless, "gdcm"),
    (ts.JPEGLSLossless, "gdcm"),
    (ts.JPEGLSLossless, "dcmdjpls"),
    (ts.JPEGLosslessSV1, "gdcm"),
    (ts.JPEGLosslessSV1, "dcmdjpeg"),
    (ts.RLELossless, "pydicom"),
    (ts.RLELossless, "dcmdrle"),
]


def written(frame: TranscodedFrame, path: Path) -> FileDataset:
    """Return a secondary capture with the frame, as others will see it, and write it to `path`."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = UID(frame.transfer_syntax_uid), SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    pixel = frame.pixel
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = pixel.rows, pixel.columns, pixel.samples_per_pixel
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixel.bits_allocated, pixel.bits_stored, pixel.high_bit
    dataset.PixelRepresentation = pixel.pixel_representation
    dataset.PhotometricInterpretation = pixel.photometric_interpretation
    if pixel.samples_per_pixel > 1:
        dataset.PlanarConfiguration = pixel.planar_configuration
    dataset.PixelData = encapsulate([frame.encoded])
    dataset.save_as(path, enforce_file_format=True)
    return dataset


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize(("uid", "reader"), READERS)
def test_frames_are_read_by_others(picture: str, uid: str, reader: str, tmp_path: Path) -> None:
    samples, pixel = PICTURES[picture]
    frame = transcode(encode_native(samples, pixel), ts.ExplicitVRLittleEndian, pixel, uid)
    path = tmp_path / "frame.dcm"
    dataset = written(frame, path)
    if reader.startswith("dcm"):
        tool = shutil.which(reader)
        if tool is None:
            pytest.skip(f"{reader} is not installed")
        subprocess.run([tool, str(path), str(tmp_path / "native.dcm")], check=True, capture_output=True)
        read = pydicom.dcmread(tmp_path / "native.dcm").pixel_array
    else:
        read = pydicom.pixels.utils.pixel_array(dataset, raw=True, decoding_plugin=reader)
    np.testing.assert_array_equal(read, samples)
