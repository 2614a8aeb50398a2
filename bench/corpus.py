"""Objects to measure with: made here, from seeds, so that anyone can make them again."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

#: Digits in the UIDs that a new round of stores replaces, so that every round is new to the server.
ROUND = b"7777777777"


@dataclass(frozen=True, slots=True)
class Series:
    """UIDs of one made series and its files."""

    study: str
    series: str
    instances: tuple[str, ...]
    files: tuple[Path, ...]


def slice_pixels(size: int, seed: int) -> np.ndarray:
    """Return a CT-like slice: a body ellipse of soft tissue with 25 HU of noise, air around it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body = (x / 0.8) ** 2 + (y / 0.6) ** 2 < 1
    spine = (x / 0.12) ** 2 + ((y - 0.35) / 0.12) ** 2 < 1
    picture = np.where(body, 1064.0, 24.0) + np.where(spine, 400.0, 0.0)
    picture += random.normal(0, 25, picture.shape) * body
    samples: np.ndarray = np.clip(picture, 0, 4095).astype("<u2")
    return samples


def _dataset(study: str, series: str, sop: str, sop_class: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(sop)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("1.2.826.0.1.3680043.9.9999.1")
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = sop_class, sop, study, series
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = (
        "Bench^Phantom",
        "BENCH-" + study.partition(ROUND.decode() + ".")[2],
        "19600101",
        "O",
    )
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260105", "101500", "A1", "1"
    ds.StudyDescription, ds.SeriesDescription, ds.Modality = "Abdomen", "Axial 1.0", "CT"
    ds.Manufacturer, ds.InstitutionName, ds.StationName = "Phantom", "Bench", "CT1"
    ds.ReferringPhysicianName, ds.BodyPartExamined = "Ref^Erring", "ABDOMEN"
    ds.KVP, ds.ConvolutionKernel, ds.SliceThickness = "120", "B30f", "1.0"
    ds.FrameOfReferenceUID = study + ".9"
    ds.SeriesNumber = 1
    for number in range(40):  # scanners write private elements by the dozen
        ds.add_new(
            0x00190010 if number == 0 else 0x00191000 + number, "LO", "BENCH 1" if number == 0 else f"value {number}"
        )
    return ds


def _image(ds: Dataset, size: int, frames: int | None = None) -> None:
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    if frames is not None:
        ds.NumberOfFrames = frames


def ct_series(folder: Path, count: int, size: int, label: str, seed: int = 0) -> Series:
    """Write a series of single-frame CT slices of `size` x `size` pixels; another `seed` gives other pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    root = f"1.2.826.0.1.3680043.9.9999.{ROUND.decode()}.{label}"
    study, series = f"{root}.1", f"{root}.1.1"
    instances, files = [], []
    for number in range(1, count + 1):
        sop = f"{series}.{number}"
        ds = _dataset(study, series, sop, CTImageStorage)
        _image(ds, size)
        ds.InstanceNumber = number
        ds.ImagePositionPatient = ["-200", "-200", str(float(number))]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        ds.SliceLocation = str(float(number))
        ds.PixelSpacing = ["0.78125", "0.78125"]
        ds.PixelData = slice_pixels(size, seed + number).tobytes()
        path = folder / f"{number:05d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        instances.append(sop)
        files.append(path)
    return Series(study, series, tuple(instances), tuple(files))


def anew(series: Series, round_number: int) -> list[bytes]:
    """Return the files with UIDs and pixels that no earlier round had: pixels that are held already cost us nothing."""
    label = b"%d" % (10**9 + round_number)
    samples = struct.pack("<10H", *map(int, f"{round_number:010d}"))
    files = (path.read_bytes().replace(ROUND, label) for path in series.files)
    return [file[: -len(samples)] + samples for file in files]


def renamed(files: Sequence[Path], folder: Path, name: str) -> None:
    """Write the files anew into `folder` with another patient name of seven characters."""
    assert len(name) == len("Phantom")
    folder.mkdir(parents=True)
    for path in files:
        (folder / path.name).write_bytes(path.read_bytes().replace(b"Bench^Phantom", b"Bench^" + name.encode(), 1))


def noise_multiframe(folder: Path, objects: int, frames: int, size: int, label: str) -> Series:
    """Write multi-frame objects of incompressible frames, `size` x `size` x 16 bit, streaming them to disk."""
    folder.mkdir(parents=True, exist_ok=True)
    root = f"1.2.826.0.1.3680043.9.9999.{ROUND.decode()}.{label}"
    study, series = f"{root}.1", f"{root}.1.1"
    instances, files = [], []
    for number in range(1, objects + 1):
        sop = f"{series}.{number}"
        ds = _dataset(study, series, sop, EnhancedCTImageStorage)
        _image(ds, size, frames)
        ds.InstanceNumber = number
        path = folder / f"{number:05d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        length = frames * size * size * 2
        with path.open("ab") as out:
            out.write(b"\xe0\x7f\x10\x00OW\0\0" + length.to_bytes(4, "little"))
            for chunk in _noise(frames, size * size * 2, number):
                out.write(chunk)
        instances.append(sop)
        files.append(path)
    return Series(study, series, tuple(instances), tuple(files))


def _noise(frames: int, frame_bytes: int, seed: int) -> Iterator[bytes]:
    random = np.random.default_rng(seed)
    for _ in range(frames):
        yield (random.integers(0, 4096, frame_bytes // 2, dtype="<u2")).tobytes()
