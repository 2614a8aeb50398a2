"""What a client says it holds: there and back, short, and read with suspicion."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.ids import sha256
from nearframe.wire.studycontents import pack_bits, unpack_bits
from nearframe.wire.syncrequest import Part, SyncRequest, part_of

digests = st.binary(min_size=32, max_size=32)
requests = st.builds(
    SyncRequest,
    root=st.none() | digests,
    levels=st.none() | st.integers(0, 33),
    lacking_headers=st.binary(max_size=5),
    lacking_contents=st.binary(max_size=5),
    parts=st.lists(st.builds(part_of, st.integers(0, 2**32 - 1), digests, st.integers(0, 2**40)), max_size=3).map(
        tuple
    ),
)


@given(requests)
def test_there_and_back(request: SyncRequest) -> None:
    back = SyncRequest.from_json(json.loads(json.dumps(request.to_json())))
    if request.lacks_something:
        assert back == request
    assert (back.root, back.levels, back.parts) == (request.root, request.levels, request.parts)
    assert back.is_plain == request.is_plain


@given(st.none() | digests, st.none() | st.integers(0, 33))
def test_a_plain_request_is_a_query(root: bytes | None, levels: int | None) -> None:
    query = SyncRequest(root, levels).to_query()
    assert SyncRequest.from_query(query.get("from"), query.get("levels")) == SyncRequest(root, levels)


def test_a_thousand_contents_are_named_in_125_bytes() -> None:
    bits = pack_bits({0, 7, 8, 999}, 1000)
    assert len(bits) == 125
    assert unpack_bits(bits, 1000) == {0, 7, 8, 999}
    assert unpack_bits(bits, 999) == {0, 7, 8}
    assert unpack_bits(b"", 10) == set()


@given(st.sets(st.integers(0, 200)), st.integers(201, 210))
def test_bits_there_and_back(numbers: set[int], count: int) -> None:
    assert unpack_bits(pack_bits(numbers, count), count) == numbers


@pytest.mark.parametrize(
    "document",
    [
        {"from": "00"},
        {"from": 3},
        {"levels": -1},
        {"levels": True},
        {"levels": 1000},
        {"lacks": []},
        {"lacks": {"headers": "not base64"}},
        {"parts": "AAAA"},
        [],
    ],
)
def test_what_cannot_be_read(document: object) -> None:
    with pytest.raises(MalformedRequest):
        SyncRequest.from_json(document)


@pytest.mark.parametrize(("root", "levels"), [("x", None), (None, "many"), (None, "-1"), ("00" * 31, None)])
def test_a_query_that_cannot_be_read(root: str | None, levels: str | None) -> None:
    with pytest.raises(MalformedRequest):
        SyncRequest.from_query(root, levels)


def test_a_part_knows_its_form() -> None:
    part = part_of(3, sha256(b"a"), 10)
    assert part == Part(3, sha256(b"a")[:4], 10)
    assert part.is_of(sha256(b"a"))
    assert not part.is_of(sha256(b"b"))
