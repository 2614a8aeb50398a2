from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.storage.catalogue.text import (
    MAX_TEXT,
    fold,
    fold_name,
    grams,
    name_groups,
    name_index,
    plain_date,
    plain_datetime,
    plain_time,
    sound,
    words,
)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Müller", "muller"),
        ("  Weiß   Anna ", "weiss anna"),
        ("ŁÓDŹ", "łodz"),
        ("Ångström", "angstrom"),
        ("ΑΘΗΝΑ", "αθηνα"),
        ("ﾔﾏﾀﾞ", "ヤマダ"),  # half-width kana of old modalities
        ("か", "か"),
        ("が", "が"),  # another word than か
        ("Ｓｍｉｔｈ", "smith"),
        ("", ""),
    ],
)
def test_folding(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_folding_is_bounded() -> None:
    assert len(fold("x" * 10 * MAX_TEXT)) == MAX_TEXT


@pytest.mark.parametrize(
    ("name", "folded"),
    [("DOE^JANE^^^", "doe^jane"), ("Doe ^ Jane", "doe^jane"), ("^^", ""), ("Müller^Jürgen^^Dr.", "muller^jurgen^^dr.")],
)
def test_names_lose_trailing_components(name: str, folded: str) -> None:
    assert fold_name(name) == folded


def test_groups_of_a_name() -> None:
    value = {"Alphabetic": "Yamada^Tarou", "Phonetic": "やまだ^たろう"}
    assert name_groups(value) == ("yamada^tarou", "", "やまだ^たろう")
    assert name_groups(None) == ("", "", "")
    assert name_groups({"Alphabetic": None}) == ("", "", "")


def test_words() -> None:
    assert words("muller^jurgen-otto^^dr.") == ["muller", "jurgen", "otto", "dr"]


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("robert", "r163"),
        ("rupert", "r163"),
        ("ashcraft", "a261"),
        ("tymczak", "t522"),
        ("pfister", "p236"),
        ("honeyman", "h555"),
        ("smith", "s530"),
        ("smythe", "s530"),
        ("li", None),
        ("山田太郎", None),
        ("x2y", None),
    ],
)
def test_sounds(word: str, code: str | None) -> None:
    assert sound(word) == code


def test_fragments() -> None:
    assert grams("smith") == {"smi", "mit", "ith"}
    assert grams("sm") == set()


def test_index_of_a_name() -> None:
    assert name_index(("smith^john", "", "")) == " smith john ~s530 ~j500 "
    assert name_index(("", "", "")) == " "


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("20180107", "20180107"),
        ("2018.01.07", "20180107"),
        ("2018-01-07", "20180107"),
        ("2018", ""),
        ("yesterday", ""),
        ("", ""),
        ("201801071", ""),
    ],
)
def test_dates(value: str, date: str) -> None:
    assert plain_date(value) == date


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("10", "100000.000000", "105959.999999"),
        ("1030", "103000.000000", "103059.999999"),
        ("103015", "103015.000000", "103015.999999"),
        ("103015.25", "103015.250000", "103015.259999"),
        ("10:30:15", "103015.000000", "103015.999999"),
        ("1", "", ""),
        ("103015.1234567", "", ""),
    ],
)
def test_times(value: str, first: str, last: str) -> None:
    assert (plain_time(value), plain_time(value, "9")) == (first, last)


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("2018", "20180101000000.000000", "20181231235959.999999"),
        ("20180107", "20180107000000.000000", "20180107235959.999999"),
        ("201801071030+0100", "20180107093000.000000", "20180107093059.999999"),
        ("20180101003000.5-0500", "20180101053000.500000", "20180101053000.599999"),
        ("99991231235959-1200", "", ""),
        ("201813", "20181301000000.000000", "20181331235959.999999"),
        ("20181301+0100", "", ""),
        ("now", "", ""),
    ],
)
def test_datetimes(value: str, first: str, last: str) -> None:
    assert (plain_datetime(value), plain_datetime(value, "9")) == (first, last)


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for read in (plain_date, plain_time, plain_datetime):
        assert isinstance(read(text), str)
    index = name_index((fold_name(text), "", ""))
    assert index[0] == index[-1] == " "
