"""Offers and their answers, there and back, and what is none."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.ids import sha256
from nearframe.wire.offer import (
    MAX_INSTANCES,
    NOT_IN_FILE,
    Answered,
    Offer,
    OfferAnswer,
    OfferedInstance,
    Stand,
    encode_answer,
    encode_offer,
    read_answer,
    read_offer,
)

OFFER = Offer(
    "1.2",
    (
        OfferedInstance("1.2.1", sha256(b"h"), sha256(b"f"), (sha256(b"p"), NOT_IN_FILE)),
        OfferedInstance("1.2.2", sha256(b"h2"), sha256(b"f2"), (), is_again=True),
    ),
)
ANSWER = OfferAnswer(
    (Answered(Stand.RECORDED, "revised", 3, "careful"), Answered(Stand.LACKING), Answered(Stand.REFUSED, reason="no")),
    (sha256(b"p"),),
)


def test_there_and_back() -> None:
    assert read_offer(json.loads(encode_offer(OFFER))) == OFFER
    assert read_answer(json.loads(encode_answer(ANSWER))) == ANSWER


@pytest.mark.parametrize(
    "change",
    [
        {"study": ""},
        {"study": 7},
        {"study": "1" * 257},
        {"instances": []},
        {"instances": {}},
        {"instances": [1]},
        {"instances": [{}]},
    ],
)
def test_what_is_no_offer(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest):
        read_offer(json.loads(encode_offer(OFFER)) | change)


def test_bounds() -> None:
    document = json.loads(encode_offer(OFFER))
    one = document["instances"][0]
    with pytest.raises(MalformedRequest, match="once"):
        read_offer(document | {"instances": [one, one]})
    many = [one | {"instance": f"1.{number}"} for number in range(MAX_INSTANCES + 1)]
    with pytest.raises(MalformedRequest):
        read_offer(document | {"instances": many})
    for pieces in ("AAAA", "?", 5):
        with pytest.raises(MalformedRequest):
            read_offer(document | {"instances": [one | {"pieces": pieces}]})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["study", "instances", "hdr"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["study", "instances", "lacks"]), _JSON))
def test_anything_else_is_refused_in_words(document: dict[str, Any]) -> None:
    for read in (read_offer, read_answer):
        with suppress(MalformedRequest):
            read(document)
