"""Lists of renditions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.wire.document import encode_document
from nearframe.wire.renditions import RenditionEntry, RenditionList, decode_renditions, encode_renditions

_entries = st.none() | st.builds(
    RenditionEntry,
    st.binary(min_size=32, max_size=32).filter(any),
    st.integers(0, 2**40),
    st.lists(st.integers(0, 2**40), max_size=6).map(tuple),
)


@given(st.lists(_entries, max_size=8).map(tuple), st.booleans())
def test_a_list_comes_back(entries: tuple[RenditionEntry | None, ...], making: bool) -> None:
    renditions = RenditionList(b"r" * 32, "1.2.840.10008.1.2.4.202", entries, making)
    assert decode_renditions(encode_renditions(renditions)) == renditions


@pytest.mark.parametrize(
    "change",
    [{"root": "00"}, {"tsuid": 1}, {"digest": "AAAA"}, {"len": []}, {"len": [1, 2]}, {"off": [["a"]]}, {"len": [-1]}],
)
def test_what_is_no_list_is_refused(change: dict[str, Any]) -> None:
    digest = "//////////////////////////////////////////8="
    document = {"root": "11" * 32, "tsuid": "1.2", "digest": digest, "len": [5], "off": [[1, 2]]}
    decode_renditions(encode_document(document))
    with pytest.raises(MalformedRequest):
        decode_renditions(encode_document(document | change))
