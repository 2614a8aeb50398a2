from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.wire.mediatype import MAX_FIELD_CHARS, MediaType, parse_media_type, parse_media_types, split_list

READ = [
    ("application/dicom", "application/dicom", {}),
    ("Application/DICOM", "application/dicom", {}),
    ('multipart/related; type="application/dicom"; boundary="a;b,c"', "multipart/related",
     {"type": "application/dicom", "boundary": "a;b,c"}),
    ("multipart/related; type=application/dicom; boundary=x", "multipart/related",
     {"type": "application/dicom", "boundary": "x"}),
    ("multipart/related;BOUNDARY=x;Type=application/dicom", "multipart/related",
     {"type": "application/dicom", "boundary": "x"}),
    (r'text/plain; title="a \"b\" \\ c"', "text/plain", {"title": r'a "b" \ c'}),
    ("text/plain; charset", "text/plain", {"charset": ""}),
    ("text/plain;; ;charset=utf-8;", "text/plain", {"charset": "utf-8"}),
    ("a/b; x=1; x=2", "a/b", {"x": "1"}),
    ("image/", "image/*", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "essence", "parameters"), READ)
def test_reads_content_types(text: str, essence: str, parameters: dict[str, str]) -> None:
    assert parse_media_type(text) == MediaType(essence, parameters)


@pytest.mark.parametrize("text", ["", "nonsense", "a/b/c", "/b", "; type=a/b", ", ,", "a b/c"])
def test_what_is_no_media_type_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        parse_media_type(text)


def test_members_that_are_no_media_types_are_left_out() -> None:
    assert [m.essence for m in parse_media_types("application/json, rubbish, , */*;q=0.1,")] == [
        "application/json",
        "*/*",
    ]


def test_separators_in_quotes_do_not_separate() -> None:
    assert list(split_list('a="1,2", b ,, c="\\",", d')) == ['a="1,2"', "b", 'c="\\","', "d"]


def test_an_endless_header_is_refused_before_it_is_split() -> None:
    with pytest.raises(MalformedRequest, match="at most"):
        parse_media_types("a/b," * MAX_FIELD_CHARS)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for media_type in parse_media_types(text):
        assert parse_media_type(str(media_type)).essence == media_type.essence


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_written_parameters_are_read_back(value: str) -> None:
    written = str(MediaType("multipart/related", {"boundary": value}))
    assert parse_media_type(written).get("boundary") == value.strip() or value != value.strip() or value == ""
