"""Keyed identifiers: stable, different, and of the form they stand for."""

from __future__ import annotations

import stat
import uuid
from pathlib import Path

import pytest

from nearframe.deidentify.pseudonyms import Pseudonyms, keyed_pseudonyms
from nearframe.errors import ConfigurationError

KEY = bytes(range(32))


def test_the_same_key_gives_the_same() -> None:
    one, other = Pseudonyms(KEY), Pseudonyms(KEY)
    assert one.uid("1.2.3") == other.uid("1.2.3") != one.uid("1.2.4")
    assert one.word("patient", "7") == other.word("patient", "7") != one.word("00400512", "7")
    assert one.days("7") == other.days("7")


def test_another_key_or_none_gives_others() -> None:
    uids = {made.uid("1.2.3") for made in (Pseudonyms(KEY), Pseudonyms(bytes(32)), Pseudonyms(), Pseudonyms())}
    assert len(uids) == 4


def test_a_uid_is_that_of_a_uuid() -> None:
    made = Pseudonyms(KEY).uid("1.2.3")
    assert uuid.UUID(int=int(made.removeprefix("2.25."))).version == 4
    assert len(made) <= 64


def test_dates_move_one_to_ten_years_back() -> None:
    made = Pseudonyms(KEY)
    assert all(-3650 <= made.days(str(patient)) <= -365 for patient in range(200))


def test_a_key_file_is_drawn_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = keyed_pseudonyms(path).uid("1.2.3")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keyed_pseudonyms(path).uid("1.2.3") == first


@pytest.mark.parametrize("content", ["", "00", "x" * 64])
def test_what_is_no_key(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="64 hex"):
        keyed_pseudonyms(path)


def test_no_place_for_a_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no place"):
        keyed_pseudonyms(tmp_path / "nowhere" / "key")
