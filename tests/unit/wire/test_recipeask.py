"""What a receiver says when it asks for a recipe."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import LimitExceeded, MalformedRequest
from nearframe.wire.framerecipe import MAX_BASES
from nearframe.wire.recipeask import MAX_PROPOSALS, Proposal, encode_ask, quantised, read_line, read_proposals

_digests = st.binary(min_size=32, max_size=32)
_proposals = st.builds(
    Proposal,
    st.integers(1, 99),
    st.from_regex(r"[1-9]{1,5}(\.[1-9]{1,5}){0,5}", fullmatch=True),
    st.lists(_digests, min_size=1, max_size=MAX_BASES).map(tuple),
)


@given(st.floats(1, 1e11), st.lists(_proposals, max_size=MAX_PROPOSALS))
def test_what_is_asked_comes_back(line: float, proposals: list[Proposal]) -> None:
    asked = parse_qs(encode_ask(quantised(line), proposals))
    assert read_line(asked["line"][0]) == quantised(line) <= max(line, 1024)
    assert read_proposals(asked.get("base", [])) == tuple(proposals)


@pytest.mark.parametrize("text", [None, "", "x", "-5", "1", "²", "1" * 16, "9" * 15])
def test_what_is_no_line_is_refused(text: str | None) -> None:
    with pytest.raises(MalformedRequest):
        read_line(text)


DIGEST = "ab" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1:1.2",
        "1:1.2:ab",
        f"x:1.2:{DIGEST}",
        f"111:1.2:{DIGEST}",
        f"1::{DIGEST}",
        f"1:{'1' * 65}:{DIGEST}",
        "1:1.2" + (MAX_BASES + 1) * f":{DIGEST}",
    ],
)
def test_what_is_no_proposal_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        read_proposals([text])


def test_no_more_is_proposed_than_is_worth_a_try() -> None:
    with pytest.raises(LimitExceeded):
        read_proposals([f"1:1.2:{DIGEST}"] * (MAX_PROPOSALS + 1))
