"""Files are known by their content."""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_files

from nearframe.errors import MalformedDICOM
from nearframe.importer.reading import lenient_reading
from nearframe.importer.sniff import HEAD_BYTES, Kind, kind_of


def head(path: str | Path) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(HEAD_BYTES)


@pytest.mark.parametrize(
    "data",
    [
        bytes(128) + b"DICM",
        b"\x02\x00\x00\x00UL\x04\x00" + bytes(4),
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100",
        b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100",
        b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100",
    ],
)
def test_dicom_with_and_without_preamble(data: bytes) -> None:
    assert kind_of(data) is Kind.DICOM


@pytest.mark.parametrize(
    "data",
    [b"", b"DICM", bytes(200), b"%PDF-1.7\n" + bytes(200), b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x08\x00\x05\x00" * 20],
)
def test_other_files(data: bytes) -> None:
    assert kind_of(data) is Kind.OTHER


def test_archives() -> None:
    assert kind_of(b"PK\x03\x04" + bytes(40)) is Kind.ZIP
    assert kind_of(gzip.compress(b"abc")) is Kind.GZIP


def test_packaged_objects_are_known() -> None:
    wanted = {"CT_small.dcm", "MR_small.dcm", "ExplVR_BigEnd.dcm", "no_meta_group_length.dcm"}
    paths = {path.name: path for path in map(Path, get_testdata_files()) if path.name in wanted}
    assert paths.keys() == wanted
    for path in paths.values():
        assert kind_of(head(path)) is Kind.DICOM, path.name


def test_a_dicomdir_is_told_from_an_image() -> None:
    path = next(path for path in map(Path, get_testdata_files()) if path.name == "DICOMDIR")
    assert kind_of(head(path)) is Kind.DIRECTORY


@pytest.mark.data
def test_every_object_of_the_zoo_that_a_parser_reads_is_known(data_dir: Path) -> None:
    missed = []
    for path in sorted((data_dir / "zoo").rglob("*.dcm")):
        readable = False
        with suppress(MalformedDICOM), lenient_reading():
            readable = "SOPInstanceUID" in pydicom.dcmread(path, force=True, stop_before_pixels=True)
        if readable and kind_of(head(path)) not in (Kind.DICOM, Kind.DIRECTORY):
            missed.append(path.name)
    assert missed == []
