"""What a node is told of a frame that it has not heard of, and what it makes of nonsense."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.delta.apply import make
from nearframe.delta.choose import choose
from nearframe.delta.sent import decode_sent, encode_sent
from nearframe.errors import IntegrityError, MalformedRequest, RequestError
from nearframe.wire.framerecipe import Operation
from tests.unit.delta.held import SLOW, Store, picture

STORE = Store()
FORM = STORE.native(picture(rows=64, columns=80, noise=3))
SENT = encode_sent(FORM, choose(FORM, (), STORE.read, SLOW).recipe)


def test_round_trip() -> None:
    form, recipe = decode_sent(FORM.enc, SENT)
    assert form == FORM
    assert recipe.operation is Operation.CODED
    assert make(recipe, form, ()) == STORE.read(FORM.enc)


@given(st.integers(0, len(SENT) - 1), st.binary(max_size=8))
def test_damage_is_found(at: int, junk: bytes) -> None:
    damaged = SENT[:at] + junk + SENT[at + len(junk) :]
    try:
        form, recipe = decode_sent(FORM.enc, damaged)
        made = make(recipe, form, ())
    except (RequestError, IntegrityError):
        return
    assert made == STORE.read(FORM.enc)


@pytest.mark.parametrize(
    "change",
    [
        {"length": -1},
        {"length": "9"},
        {"syntax": 7},
        {"pixel": {}},
        {"pixel": {"rows": "many"}},
        {"pixel": {"rows": 1 << 40}},
        {"pixel": {"colour": 1}},
        {"pixel": None},
    ],
)
def test_odd_descriptions_are_refused(change: dict[str, object]) -> None:
    described = {"length": 1, "syntax": "1.2", "pixel": {}} | change
    text = json.dumps(described).encode()
    with pytest.raises(MalformedRequest, match="not described"):
        decode_sent(FORM.enc, bytes([len(text)]) + text)
