"""First frames of pydicom's packaged files and of a folder, cut out by pydicom: our parser is tested elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import imagecodecs
import pydicom
import pydicom.pixels.utils
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from nearframe.dicom.model import PixelDescription
from nearframe.dicom.native import Samples


@dataclass(frozen=True)
class FrameSample:
    """One encoded frame and what its object says of it."""

    name: str
    encoded: bytes
    transfer_syntax_uid: str
    pixel: PixelDescription
    dataset: pydicom.Dataset

    def reference(self) -> Samples:
        """Return what pydicom makes of the frame, with whatever decoders are installed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.pixels.utils.pixel_array(self.dataset, index=0, raw=True)


def description(dataset: pydicom.Dataset) -> PixelDescription:
    return PixelDescription(
        rows=dataset.Rows,
        columns=dataset.Columns,
        samples_per_pixel=dataset.SamplesPerPixel,
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
        high_bit=dataset.HighBit,
        pixel_representation=dataset.PixelRepresentation,
        photometric_interpretation=dataset.PhotometricInterpretation,
        planar_configuration=dataset.get("PlanarConfiguration", 0) or 0,
        number_of_frames=int(dataset.get("NumberOfFrames", 1) or 1),
        vr=dataset["PixelData"].VR,
        lossy=dataset.get("LossyImageCompression") == "01",
    )


def read_sample(path: str | Path) -> FrameSample | None:
    """Return the first frame of a file, or None if pydicom finds none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True)
            syntax = dataset.file_meta.TransferSyntaxUID
            pixel = description(dataset)
            if syntax.is_encapsulated:
                encoded = next(generate_frames(dataset.PixelData, number_of_frames=pixel.number_of_frames))
            elif pixel.number_of_frames == 1:
                encoded = dataset.PixelData
            else:
                encoded = dataset.PixelData[: (pixel.native_frame_bits + 7) // 8]
        except Exception:  # noqa: BLE001 - whatever pydicom cannot open is not a sample
            return None
    return FrameSample(Path(path).name, encoded, str(syntax), pixel, dataset)


@cache
def packaged(name: str) -> FrameSample:
    """Return the first frame of one of pydicom's own test files."""
    path = get_testdata_file(name, download=False)
    assert path is not None, name
    sample = read_sample(str(path))
    assert sample is not None, name
    return sample


def packaged_samples() -> Iterator[FrameSample]:
    """Yield the first frame of every packaged file that has pixel data."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    for path in sorted(folder.glob("*.dcm")):
        sample = read_sample(path)
        if sample is not None:
            yield sample


def grey(
    rows: int, columns: int, *, bits_allocated: int = 16, bits_stored: int = 12, signed: bool = False, **more: Any
) -> PixelDescription:
    """Describe a monochrome frame."""
    return PixelDescription(
        rows, columns, 1, bits_allocated, bits_stored, bits_stored - 1, int(signed), "MONOCHROME2", **more
    )


def colour(rows: int, columns: int, photometric: str = "RGB", **more: Any) -> PixelDescription:
    """Describe an 8-bit frame of three samples."""
    return PixelDescription(rows, columns, 3, 8, 8, 7, 0, photometric, **more)


def jpeg_ls(pixels: Samples, near: int = 0) -> bytes:
    return bytes(imagecodecs.jpegls_encode(pixels, level=near))


def jpeg_lossless(pixels: Samples, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=bits))


def jpeg_2000(pixels: Samples) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True, mct=True))


def lossy_jpeg_2000(pixels: Samples) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=40, codecformat="j2k", reversible=False))


def htj2k(pixels: Samples) -> bytes:
    """Return a stream of one tile-part per resolution."""
    return bytes(imagecodecs.htj2k_encode(pixels, reversible=True, tlm=True, tilepart=1))
