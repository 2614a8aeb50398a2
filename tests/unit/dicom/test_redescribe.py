"""What decoded pixel data changes in its header."""

from __future__ import annotations

import io

import pydicom
import pytest

from nearframe.dicom import transfersyntax as ts
from nearframe.dicom.element import DataSet
from nearframe.dicom.model import PixelDescription
from nearframe.dicom.part10 import parse
from nearframe.dicom.redescribe import redescribed
from nearframe.dicom.source import BytesSource
from nearframe.dicom.transcode import TranscodedFrame
from tests.frame_samples import colour, grey

LOSSY, RATIO, METHOD = 0x00282110, 0x00282112, 0x00282114


def header(**values: object) -> DataSet:
    ds = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, implicit_vr=False, little_endian=True)
    meta = b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0"
    return parse(BytesSource(bytes(128) + b"DICM" + meta + out.getvalue())).dataset


def decoded(pixel: PixelDescription, *, lossy: bool) -> TranscodedFrame:
    return TranscodedFrame(bytes(pixel.native_frame_bits // 8), ts.ExplicitVRLittleEndian, pixel, lossy)


def test_colour_model_and_planar_configuration_are_those_of_the_frames() -> None:
    frame = decoded(colour(10, 10, planar_configuration=1), lossy=False)
    changes = redescribed(header(PhotometricInterpretation="YBR_RCT"), ts.JPEG2000Lossless, 100, frame, 1)
    assert changes == {0x00280004: ("CS", b"RGB"), 0x00280006: ("US", b"\1\0")}


@pytest.mark.parametrize(
    ("uid", "method"),
    [
        (ts.JPEGBaseline8Bit, b"ISO_10918_1"),
        (ts.JPEGLSNearLossless, b"ISO_14495_1"),
        (ts.JPEG2000, b"ISO_15444_1"),
    ],
)
def test_what_only_the_transfer_syntax_told_is_written_down(uid: str, method: bytes) -> None:
    frame = decoded(grey(10, 10), lossy=True)
    changes = redescribed(header(LossyImageCompression="00"), uid, 160, frame, 4)
    assert (changes[LOSSY], changes[RATIO], changes[METHOD]) == (("CS", b"01"), ("DS", b"5"), ("CS", method))


def test_what_the_object_says_of_its_compression_is_kept() -> None:
    frame = decoded(grey(10, 10), lossy=True)
    dataset = header(LossyImageCompression="01", LossyImageCompressionRatio="19")
    assert LOSSY not in redescribed(dataset, ts.JPEGBaseline8Bit, 160, frame, 4)
    assert RATIO not in redescribed(dataset, ts.JPEGBaseline8Bit, 160, frame, 4)
