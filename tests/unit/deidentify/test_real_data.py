"""Real studies: what is left of them tells nobody, and is as good an object as before."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from nearframe.deidentify import Profile, Pseudonyms, deidentify
from nearframe.deidentify.table import basic_actions
from nearframe.dicom.charset import character_set
from nearframe.dicom.source import BytesSource
from nearframe.errors import NearframeError
from nearframe.importer.sources import Found, find

pytestmark = [pytest.mark.data, pytest.mark.filterwarnings("ignore")]  # pydicom's, of odd objects

PSEUDONYMS = Pseudonyms(bytes(range(32)))
#: Shorter words, and shorter numbers, occur in any megabyte.
LEAST_CHARS, LEAST_DIGITS = 6, 8
IDENTIFYING_VRS = ("PN", "LO", "SH", "UI", "DA", "DT", "TM", "AE")
OURS = {b"000000", b"19000101", b"REMOVED", b"Removed"}
WELL_KNOWN = b"1.2.840.10008."


def _files(data_dir: Path, step: int) -> Iterator[bytes]:
    """Yield every `step`-th object of each folder."""
    for folder in sorted(data_dir.iterdir()):
        found = [one for one in find([folder]) if isinstance(one, Found)]
        for one in found[::step]:
            with one.open() as stream:
                yield stream.read()


def _cleaned(data: bytes) -> bytes | None:
    try:
        out = deidentify(BytesSource(data), Profile(pixels_checked=True), PSEUDONYMS)
        return b"".join(out.file.chunks())
    except NearframeError:
        return None


def _values(ds: pydicom.Dataset, *, listed: bool) -> Iterator[bytes]:
    """Yield the raw values of the attributes that the table lists, or of the others, at any depth."""
    for tag in list(ds.keys()):
        if tag.is_private:
            continue
        element = ds.get_item(tag)
        if isinstance(element.value, bytes) and element.VR != "SQ":
            is_listed = basic_actions().get(int(tag), "X/Z/U*") != "X/Z/U*"
            if is_listed is listed and (element.VR or ds[tag].VR) in IDENTIFYING_VRS + (() if listed else ("CS",)):
                yield from (part.strip(b"\0 ") for part in element.value.split(b"\\"))
        elif ds[tag].VR == "SQ":
            for item in ds[tag].value:
                yield from _values(item, listed=listed)


def _left(data: bytes, file: bytes) -> int:
    """Return how many listed identifiers of an object are in a file, and were in nothing that is kept."""
    ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data), force=True)
    charset = character_set("\\".join(ds.get("SpecificCharacterSet") or ("",)).encode())
    others = b"\0".join(_values(ds, listed=False)).lower()
    searched = file.lower()
    count = 0
    for value in set(_values(ds, listed=True)):
        least = LEAST_DIGITS if value.isdigit() else LEAST_CHARS
        if len(value) < least or value in OURS or value.startswith(WELL_KNOWN) or value.lower() in others:
            continue
        count += value.lower() in searched or charset.decode(value).lower().encode() in searched
    return count


def test_no_listed_identifier_is_left_in_any_byte(data_dir: Path) -> None:
    _assert_nothing_left(data_dir, step=12)


@pytest.mark.drill
def test_no_listed_identifier_is_left_in_any_byte_of_all(data_dir: Path) -> None:
    _assert_nothing_left(data_dir, step=1)


def _assert_nothing_left(data_dir: Path, step: int) -> None:
    checked = 0
    for data in _files(data_dir, step):
        if (file := _cleaned(data)) is not None:
            left = _left(data, file)  # counted first: a failed assertion prints what was in it
            assert left == 0, f"object {checked}"
            checked += 1
    assert checked > 1200 // step


def test_dciodvfy_finds_nothing_new(data_dir: Path, tmp_path: Path) -> None:
    _assert_valid_as_before(data_dir, tmp_path, step=40)


@pytest.mark.drill
def test_dciodvfy_finds_nothing_new_in_all(data_dir: Path, tmp_path: Path) -> None:
    _assert_valid_as_before(data_dir, tmp_path, step=1)


def _assert_valid_as_before(data_dir: Path, folder: Path, step: int) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dicom3tools is not installed")
    for data in _files(data_dir, step):
        if (file := _cleaned(data)) is not None:
            before, after = _errors(data, folder), _errors(file, folder)
            assert any("read failed" in error for error in before) or not after - before


def _errors(data: bytes, folder: Path) -> set[str]:
    """Return what is wrong with which attribute, values left out."""
    path = folder / "object.dcm"
    path.write_bytes(data)
    said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, check=False)
    lines = (said.stdout + said.stderr).decode("utf-8", "replace").splitlines()
    return {_without_values(line) for line in lines if line.startswith("Error")}


def _without_values(line: str) -> str:
    where, _, rest = line.partition(">")
    return where.partition("[")[0] + rest.partition("= <")[0].partition("'")[0]
