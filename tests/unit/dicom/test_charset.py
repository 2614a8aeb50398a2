"""Text in the character sets of PS3.5, most of it the standard's own examples (annexes H to K)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.charset import character_set

JAPANESE = r"\ISO 2022 IR 87"
KATAKANA = r"ISO 2022 IR 13\ISO 2022 IR 87"
KOREAN = r"\ISO 2022 IR 149"


@pytest.mark.parametrize(
    ("terms", "raw", "text"),
    [
        ("", b"Doe^Jane", "Doe^Jane"),
        ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        ("ISO_IR 101", b"\xa1", "Ą"),
        ("ISO_IR 109", b"\xa1", "Ħ"),
        ("ISO_IR 110", b"\xa2", "ĸ"),
        ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
        ("ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea", "قباني"),
        ("ISO_IR 138", b"\xf9\xf8\xe5\xef", "שרון"),
        ("ISO_IR 144", b"\xbb\xee\xda\x63", "Люкc"),
        ("ISO_IR 148", b"\xfe", "ş"),
        ("ISO_IR 166", b"\xca\xc1", "สม"),
        ("ISO_IR 203", b"\xa4", "€"),
        ("ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东".encode(), "Wang^XiaoDong=王^小东"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        ("GBK", "王^小东".encode("gbk"), "王^小东"),
        ("ISO 2022 IR 100", b"J\xe9", "Jé"),
        (
            JAPANESE,
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            KATAKANA,
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        ),
        (r"\ISO 2022 IR 159", b"\x1b$(D0!\x1b(B", "丂"),
        (
            KOREAN,
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        (r"\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "Zhang^XiaoDong=张^小东="),
        (r"ISO 2022 IR 100\ISO 2022 IR 144", b"Buc^J\xe9r\xf4me=\x1b-L\xbb\xee\xda", "Buc^Jérôme=Люк"),
    ],
)
def test_the_sets_of_the_standard(terms: str, raw: bytes, text: str) -> None:
    charset = character_set(terms.encode())
    assert charset.decode(raw) == text
    assert charset.decode(charset.encode(text)) == text
    assert charset.misfits == 0


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ("", "é"),
        ("ISO_IR 100", "山"),
        ("ISO_IR 13", "山"),
        ("ISO_IR 13", "¥"),
        (KOREAN, "قباني"),
        ("ISO_IR 192", "\ud800"),
    ],
)
def test_a_text_that_a_set_lacks_is_not_written(terms: str, text: str) -> None:
    with pytest.raises(UnicodeError):
        character_set(terms.encode()).encode(text)


def test_the_initial_set_is_active_again_behind_a_delimiter() -> None:
    charset = character_set(rb"ISO 2022 IR 100\ISO 2022 IR 144")
    assert charset.decode(b"\x1b-L\xbb\xee\xda^J\xe9r") == "Люк^Jér"


def test_an_escape_that_is_not_repeated_behind_a_delimiter_still_counts() -> None:
    assert character_set(KOREAN.encode()).decode(b"\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7") == "洪^吉洞"


@pytest.mark.parametrize(
    ("terms", "raw", "text"),
    [
        ("", "Jérôme".encode(), "Jérôme"),
        ("", b"J\xe9r\xf4me", "Jérôme"),
        ("ISO_IR 192", b"J\xe9r\xf4me", "Jérôme"),
        ("KOI8", b"J\xe9r\xf4me", "Jérôme"),
        (r"\ISO 2022 IR 58", b"Zhang=\xd5\xc5", "Zhang=张"),
        ("ISO_IR 6", b"\x1b$BJ\xff", "\x1b$BJÿ"),
    ],
)
def test_text_that_does_not_fit_is_kept_and_counted(terms: str, raw: bytes, text: str) -> None:
    charset = character_set(terms.encode())
    assert charset.decode(raw) == text
    assert charset.misfits > 0


@pytest.mark.parametrize(
    "term", ["ISO-IR 100", "ISO_IR_100", "iso_ir 100", "ISO IR 100", "ISO2022 IR 100", " ISO_IR 100"]
)
def test_spellings_of_other_writers(term: str) -> None:
    assert character_set(term.encode()).decode(b"\xe9") == "é"


@given(st.sampled_from(["", "ISO_IR 192", KATAKANA, KOREAN, "GB18030", "x"]), st.binary(max_size=40))
def test_any_bytes_become_text(terms: str, raw: bytes) -> None:
    character_set(terms.encode()).decode(raw).encode()


@pytest.mark.parametrize(
    ("terms", "raw", "text"),
    [
        ("", b"Doe^Jane", "Doe^Jane"),
        ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        ("ISO_IR 192", "王^小东".encode(), "王^小东"),
        ("GB18030", b"\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东"),
        ("ISO_IR 13", b"\xd4\xcf\xc0\xde", "ﾔﾏﾀﾞ"),
        (JAPANESE, b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        (KATAKANA, b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
        (KOREAN, b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "Hong^Gildong=洪^吉洞"),
        (r"\ISO 2022 IR 58", b"Zhang=\x1b$)A\xd5\xc5", "Zhang=张"),
        (r"ISO 2022 IR 100\ISO 2022 IR 144", b"J\xe9r\xf4me\\\x1b-L\xbb\xee\xda\x63", "Jérôme\\Люкc"),
    ],
)
def test_text_is_written_as_the_standard_has_it(terms: str, raw: bytes, text: str) -> None:
    assert character_set(terms.encode()).encode(text) == raw


@given(
    st.sampled_from(["ISO_IR 100", "ISO_IR 144", "GB18030", "ISO_IR 13", JAPANESE, KATAKANA, KOREAN]),
    st.text(st.sampled_from("aZ1^=\\ ~¥é¤Люﾔﾏﾞやまだンヴ山田郎東东張张홍길동洪€\n"), max_size=20),
)
def test_what_is_written_is_read_as_it_was(terms: str, text: str) -> None:
    charset = character_set(terms.encode())
    with suppress(UnicodeError):
        assert charset.decode(charset.encode(text)) == text
