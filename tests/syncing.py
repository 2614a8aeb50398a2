"""Parts for tests of what moves between nodes: objects to move, and an archive's shelves to put them on."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import split
from nearframe.intake.prepare import Arrival, append_contents
from nearframe.storage.catalogue import SQLCatalogue, open_catalogue
from nearframe.storage.packs import PackSettings, PackStore
from nearframe.storage.ports import NewVersion, Recorded
from nearframe.units import MIB
from nearframe.wire.header import HeaderBlob

CT_IMAGE = UID("1.2.840.10008.5.1.4.1.1.2")
EXPLICIT_LE = UID("1.2.840.10008.1.2.1")
STUDY_UID = "1.2.826.0.1.3680043.2.1125.1"
RECEIVED_AT = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)

Change = Callable[[pydicom.Dataset], None]


# What differs from slice to slice, at fixed width, so that a thousand files cost one to write.
_UID, _NUMBER, _CURRENT, _TIME, _Z = b"8765432109", b"4321", b"987", b"235959.5", b"-9999.875"
_PLACES = re.compile(b"|".join(map(re.escape, (_UID, _NUMBER, _CURRENT, _TIME, _Z))))


def ct_series(
    count: int, *, rows: int = 16, study: str = STUDY_UID, series: int = 1, seed: int = 1, change: Change | None = None
) -> list[bytes]:
    """Part 10 files of a CT series as a scanner writes them: a hundred elements, private ones included.

    The same arguments give the same files; with `change`, what they are after it.
    """
    ds = _ct_slice(rows, study, series)
    if change is not None:
        change(ds)
    template = written(ds)
    head = template[: -rows * rows * 2]
    rng = random.Random(seed)
    return [_filled(head, rng, number) + _pixels(rng, rows) for number in range(1, count + 1)]


def _pixels(rng: random.Random, rows: int) -> bytes:
    """Return a slice of 12 bits that compresses as real ones do, unlike any other."""
    noise = np.frombuffer(rng.randbytes(rows * rows), dtype=np.uint8).reshape(rows, rows) & 7
    ramp = np.add.outer(np.arange(rows), np.arange(rows)) * 16
    return bytes(((ramp + noise) & 0xFFF).astype("<u2").tobytes())


def _filled(head: bytes, rng: random.Random, number: int) -> bytes:
    values = {
        _UID: b"%d" % (1_000_000_000 + rng.randrange(10**6) * 1000 + number % 1000),
        _NUMBER: b"%-4d" % number,
        _CURRENT: b"%3d" % rng.randrange(100, 400),
        _TIME: b"10%02d%02d.%d" % (number // 60 % 60, number % 60, number % 10),
        _Z: b"%+9.3f" % (-300 + number * 0.625),
    }
    # In one pass: a value may read like the place of another.
    return _PLACES.sub(lambda found: values[found[0]], head)


def _ct_slice(rows: int, study: str, series: int) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = EXPLICIT_LE
    ds.file_meta.MediaStorageSOPClassUID = CT_IMAGE
    uid = UID(f"{study}.{series}.{_UID.decode()}")
    ds.file_meta.MediaStorageSOPInstanceUID = uid
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CT_IMAGE, uid
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20261122"
    ds.StudyTime, ds.ContentTime = "081500", _TIME.decode()
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "A-1", "CT", "Example Scanners"
    ds.StudyDescription, ds.SeriesDescription = "CT thorax", "Thorax 1.0 B50f"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Doe^Jane", "PID-1", "19700101", "F"
    block = ds.private_block(0x0009, "EXAMPLE SCANNERS", create=True)
    for n in range(60):
        block.add_new(n, "LO", f"calibration value {n} of this scanner")
    ds.KVP, ds.SliceThickness, ds.ConvolutionKernel = "120", "1", "B50f"
    ds.XRayTubeCurrent = _CURRENT.decode()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.{series}"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", str(series), _NUMBER.decode()
    ds.ImagePositionPatient = ["-125", "-125", _Z.decode()]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceLocation = _Z.decode()
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = rows
    ds.PixelSpacing = [0.7, 0.7]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.WindowCenter, ds.WindowWidth, ds.RescaleIntercept, ds.RescaleSlope = "40", "400", "-1024", "1"
    ds.PixelData = bytes(rows * rows * 2)
    return ds


def written(ds: pydicom.Dataset) -> bytes:
    """Return the Part 10 file of a data set."""
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def edited(file: bytes, change: Change) -> bytes:
    """Return the file after a change of its data set."""
    ds = pydicom.dcmread(io.BytesIO(file))
    change(ds)
    return written(ds)


def rename(name: str) -> Change:
    """The change that every archive sees most: the patient's name was wrong."""

    def change(ds: pydicom.Dataset) -> None:
        ds.PatientName = name

    return change


def accession(number: str) -> Change:
    """Another accession number."""

    def change(ds: pydicom.Dataset) -> None:
        ds.AccessionNumber = number

    return change


def implicit(ds: pydicom.Dataset) -> None:
    """Another transfer syntax with the same frames."""
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def instance_uid(file: bytes) -> str:
    """Return the SOP Instance UID of a file."""
    return str(pydicom.dcmread(io.BytesIO(file), specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


@dataclass
class Shelves:
    """A store and a catalogue in one folder, filled without the ingest service."""

    store: PackStore
    catalogue: SQLCatalogue

    @classmethod
    def open(cls, home: Path) -> Shelves:
        store = PackStore(home, PackSettings(segment_bytes=16 * MIB, reserve_bytes=0))
        return cls(store, open_catalogue(home / "catalogue.sqlite"))

    def close(self) -> None:
        self.store.close()
        self.catalogue.close()

    def put(self, files: Iterable[bytes], tenant: str = "main") -> list[Recorded]:
        """Store files durably, as one group."""
        mark = self.store.mark()
        versions = [self._append(file, tenant) for file in files]
        self.store.sync(mark)
        return self.catalogue.record(versions)

    def file(self, sop_instance_uid: str, tenant: str = "main") -> bytes:
        """Return the current file of an instance from what is held here, byte for byte."""
        record = self.catalogue.find_instance(tenant, sop_instance_uid)
        header = HeaderBlob.decode(self.store.read(record.study, record.hdr))

        def read(piece_index: int, offset: int, length: int) -> bytes:
            place = record.pieces[piece_index]
            digest = record.frames.enc_of(place) if place >= 0 else record.bulk[-1 - place].digest
            return self.store.read(record.study, digest, offset, offset + length)

        return b"".join(header.reassemble(read))

    def _append(self, file: bytes, tenant: str) -> NewVersion:
        source = BytesSource(file)
        return append_contents(self.store, source, split(source), Arrival(tenant, "test", RECEIVED_AT))


def shelves(home: Path) -> Iterator[Shelves]:
    """Yield empty shelves, and close them: the body of a fixture."""
    opened = Shelves.open(home)
    yield opened
    opened.close()
