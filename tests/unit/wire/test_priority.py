"""The Priority header, as the RFC writes it and as others do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.context import Urgency
from nearframe.wire.priority import read_priority, write_priority


@pytest.mark.parametrize(
    ("value", "urgency"),
    [
        (b"", Urgency.ROUTINE),
        (b"u=0", Urgency.STAT),
        (b"u=1, i", Urgency.ACTIVE),
        (b"u=2", Urgency.ACTIVE),
        (b"i, u=3", Urgency.ROUTINE),
        (b"u=4;why=x", Urgency.ARCHIVE),
        (b" u = 5 ,i=?0", Urgency.ARCHIVE),
        (b"u=6", Urgency.BULK),
        (b"u=7", Urgency.BULK),
        (b"u=7, u=0", Urgency.STAT),
        (b"u=0, u=x", Urgency.STAT),
        (b"u=8", Urgency.ROUTINE),
        (b"u=-1", Urgency.ROUTINE),
        (b"u=1.5", Urgency.ROUTINE),
        (b"U=0", Urgency.ROUTINE),
        (b'x="a, u=0", i', Urgency.ROUTINE),
        (b"u=0" + b" " * 300, Urgency.ROUTINE),
    ],
)
def test_read(value: bytes, urgency: Urgency) -> None:
    assert read_priority(value) is urgency


@pytest.mark.parametrize("urgency", Urgency)
def test_what_is_written_is_read(urgency: Urgency) -> None:
    assert read_priority(write_priority(urgency)) is urgency


@given(st.binary(max_size=300))
def test_anything_is_some_class(value: bytes) -> None:
    assert read_priority(value) in Urgency
