"""Real studies: what is left of them tells nobody, and is as good an object as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nearframe.deidentify import Option, Profile, Pseudonyms, deidentify
from nearframe.deidentify.table import basic_actions, device_tags, institution_tags, patient_tags
from nearframe.dicom.dictionary import public_vr
from nearframe.dicom.source import BytesSource
from nearframe.errors import NearframeError
from nearframe.importer.sources import Found, find
from tests.dciodvfy import needs_dciodvfy, new_errors
from tests.identifiers import read_original

pytestmark = [pytest.mark.data, pytest.mark.filterwarnings("ignore")]  # pydicom's, of odd objects

PSEUDONYMS = Pseudonyms(bytes(range(32)))
BASIC = Profile(pixels_checked=True)
#: Everything that may be kept but UIDs and dates as they are: whose it is must not be told all the same.
RETAINING = Profile(frozenset(Option) - {Option.UIDS, Option.DATES}, pixels_checked=True)
#: Times of day keep their distance where dates are moved.
_TIMES = {tag for tag in basic_actions() if public_vr(tag) == "TM"} | {0x00080201}  # and the zone they are of
KEPT_BY_IT = device_tags() | institution_tags() | patient_tags() | _TIMES


def _files(data_dir: Path, step: int) -> Iterator[bytes]:
    """Yield every `step`-th object of each folder."""
    for folder in sorted(data_dir.iterdir()):
        found = [one for one in find([folder]) if isinstance(one, Found)]
        for one in found[::step]:
            with one.open() as stream:
                yield stream.read()


def _cleaned(data: bytes, profile: Profile = BASIC) -> bytes | None:
    try:
        return b"".join(deidentify(BytesSource(data), profile, PSEUDONYMS).file.chunks())
    except NearframeError:
        return None


def test_no_listed_identifier_is_left_in_any_byte(data_dir: Path) -> None:
    _assert_nothing_left(data_dir, BASIC, step=12)


def test_what_may_be_kept_names_nobody(data_dir: Path) -> None:
    _assert_nothing_left(data_dir, RETAINING, step=40)


@pytest.mark.drill
def test_what_may_be_kept_names_nobody_in_all(data_dir: Path) -> None:
    _assert_nothing_left(data_dir, RETAINING, step=1)


def _assert_nothing_left(data_dir: Path, profile: Profile, step: int) -> None:
    kept = KEPT_BY_IT if profile is RETAINING else frozenset()
    checked = 0
    for data in _files(data_dir, step):
        if (file := _cleaned(data, profile)) is not None:
            left = read_original(data).left_in(file, kept)
            assert not left, f"object {checked}"
            checked += 1
    assert checked > 1200 // step


@needs_dciodvfy
def test_dciodvfy_finds_nothing_new(data_dir: Path, tmp_path: Path) -> None:
    for data in _files(data_dir, step=40):
        if (file := _cleaned(data)) is not None:
            assert not new_errors(data, file, tmp_path)
