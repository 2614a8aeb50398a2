"""Compression against what a client has."""

from __future__ import annotations

import base64
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.ids import sha256
from nearframe.wire.dictionarycoding import available_dictionary, compress_against, decompress_against, use_for


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_there_and_back(data: bytes, dictionary: bytes) -> None:
    coded = compress_against(data, dictionary)
    assert decompress_against(coded, dictionary, 1000) == data
    with pytest.raises(ValueError, match="another dictionary"):
        decompress_against(coded, dictionary + b"x", 1000)


def test_a_small_change_is_small() -> None:
    """Also in documents that are larger than zstd usually looks back at this level."""
    rng = random.Random(1)
    rows = [{"name": "Doe^Jane", "uid": f"1.2.{rng.getrandbits(90)}", "z": rng.random()} for _ in range(30_000)]
    old = json.dumps(rows).encode()
    new = old.replace(b"Doe^Jane", b"Doe^Janet", 50)
    assert len(old) > 2_000_000
    coded = compress_against(new, old)
    assert len(coded) < 1500
    assert decompress_against(coded, old, len(new)) == new
    with pytest.raises(ValueError, match="larger"):
        decompress_against(coded, old, len(new) - 1)


def test_which_dictionary_a_client_has() -> None:
    digest = sha256(b"x")
    header = f":{base64.b64encode(digest).decode()}:"
    assert available_dictionary(header, "gzip, br, zstd, dcb, dcz") == digest
    assert available_dictionary(header, "gzip, zstd") is None
    assert available_dictionary(header, None) is None
    for wrong in (None, "", "x", ":x:", "::", f":{base64.b64encode(digest[:31]).decode()}:", header[:-1]):
        assert available_dictionary(wrong, "dcz") is None


def test_a_path_that_is_a_pattern_is_not_offered() -> None:
    assert use_for("/dicomweb/studies/1.2/metadata") == 'match="/dicomweb/studies/1.2/metadata*"'
    for path in ("/a(b)", "/a*", '/a"b', "/a:b", "/\N{GREEK SMALL LETTER ALPHA}"):
        assert use_for(path) is None
