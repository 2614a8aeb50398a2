"""A consultation as a file: sets of objects, and what happens to them, in order.

``bench/consult.json`` is one. A step is one of::

    {"archive": SET}              the archive is sent the set
    {"resend": SET}               the same once more, byte for byte
    {"correct": SET}              the same with another patient name
    {"pause_s": SECONDS}          nothing happens
    {"open": SET, "by": READER}   a reader gets the metadata of its studies, and each frame in turn

A set is a folder of objects below the folder of real studies, or of JPEG files there, of
which photographs in DICOM are made.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pydicom
from PIL import Image
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, VLPhotographicImageStorage

WORKLOAD: Final = Path(__file__).with_name("consult.json")
_STEPS: Final = ("archive", "resend", "correct", "pause_s", "open")
_CORRECTED: Final = "Consult^Corrected"
_ROOT: Final = "1.2.826.0.1.3680043.9.9999.6"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens; `what` is a set, or the seconds of a pause."""

    verb: str
    what: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """A whole consultation.

    Attributes
    ----------
    sets
        For each set the objects as files.
    studies
        For each set the studies that its objects are of.
    """

    megabits: float
    round_trip_s: float
    sets: dict[str, tuple[bytes, ...]]
    studies: dict[str, tuple[str, ...]]
    steps: tuple[Step, ...]


def read_workload(path: Path, data: Path) -> Workload:
    """Read a workload, and the objects it names below `data`."""
    described = json.loads(path.read_text())
    sets = {name: objects_in(data, source) for name, source in described["sets"].items()}
    studies = {name: tuple(sorted({study_of(file) for file in files})) for name, files in sets.items()}
    steps = tuple(_step(step, sets) for step in described["steps"])
    line = described["line"]
    return Workload(line["megabits"], line["round_trip_ms"] / 1e3, sets, studies, steps)


def corrected(file: bytes) -> bytes:
    """Return an object with another patient name."""
    ds = pydicom.dcmread(io.BytesIO(file))
    ds.PatientName = _CORRECTED
    return _written(ds)


def _step(step: dict[str, Any], sets: dict[str, tuple[bytes, ...]]) -> Step:
    (verb,) = [key for key in step if key in _STEPS]
    what = str(step[verb])
    if verb != "pause_s" and what not in sets:
        raise ValueError(f"a step names the set {what!r}, which there is not")
    return Step(verb, what, step.get("by", ""))


def objects_in(data: Path, source: dict[str, str]) -> tuple[bytes, ...]:
    """Return the objects of a set, made if it is one of bare photographs."""
    if "stills" in source:
        paths = sorted((data / source["stills"]).glob("*.jpg"))
        objects = tuple(photograph(path.read_bytes(), number) for number, path in enumerate(paths, 1))
    else:
        files = (_unpacked(path) for path in sorted((data / source["data"]).rglob("*")) if path.is_file())
        objects = tuple(file for file in files if file[128:132] == b"DICM" and _is_instance(file))
    if not objects:
        raise ValueError(f"nothing there: {source}")
    return objects


def _unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _is_instance(file: bytes) -> bool:
    """Return whether a file is no directory of a medium."""
    return "SOPInstanceUID" in pydicom.dcmread(io.BytesIO(file), specific_tags=["SOPInstanceUID"])


def study_of(file: bytes) -> str:
    """Return the study that an object is of."""
    return str(pydicom.dcmread(io.BytesIO(file), specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def photograph(jpeg: bytes, number: int) -> bytes:
    """Return a photograph in DICOM (PS3.3 A.32.4) around a JPEG file, whose bytes stay as they are."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        columns, rows = picture.size
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = VLPhotographicImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{_ROOT}.1.1.{number}")
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    meta.ImplementationClassUID = UID("1.2.826.0.1.3680043.9.9999.1")
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = VLPhotographicImageStorage, f"{_ROOT}.1.1.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _ROOT + ".1", _ROOT + ".1.1"
    ds.PatientName, ds.PatientID, ds.Modality, ds.InstanceNumber = "Bench^Skin", "BENCH-6", "XC", number
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PlanarConfiguration = rows, columns, 3, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PhotometricInterpretation, ds.LossyImageCompression = "YBR_FULL_422", "01"
    ds.PixelData = encapsulate([jpeg])
    ds["PixelData"].VR = "OB"
    return _written(ds)


def _written(ds: Dataset) -> bytes:
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def write(files: Sequence[bytes], folder: Path) -> Path:
    """Write objects into a new folder, under numbers."""
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        (folder / f"{number:05d}.dcm").write_bytes(file)
    return folder
