"""Lists of perceptual hashes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.wire.document import encode_document
from nearframe.wire.hashes import HASH_BYTES, HashEntry, HashList, decode_hashes, encode_hashes

_seen = st.builds(HashEntry, st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES), st.integers(0, 100))
_entries = st.none() | st.just(HashEntry(b"", 0)) | _seen


@given(st.lists(_entries, max_size=8).map(tuple))
def test_a_list_comes_back(entries: tuple[HashEntry | None, ...]) -> None:
    hashes = HashList(b"r" * 32, entries)
    assert decode_hashes(encode_hashes(hashes)) == hashes


@pytest.mark.parametrize(
    "change",
    [
        {"root": "00"},
        {"quality": [5, 5]},
        {"quality": [101]},
        {"quality": [-2]},
        {"quality": [True]},
        {"quality": "5"},
        {"quality": 5},
        {"hash": "AAAA"},
        {"hash": "no base64"},
        {"hash": None},
    ],
)
def test_what_is_no_list_is_refused(change: dict[str, Any]) -> None:
    document = {"root": "11" * 32, "quality": [5, None, -1], "hash": "/" * 42 + "8="}
    decode_hashes(encode_document(document))
    with pytest.raises(MalformedRequest):
        decode_hashes(encode_document(document | change))
