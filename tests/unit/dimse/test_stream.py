"""Bytes become PDUs, however they are cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dimse.pdu import Abort, AssociateRQ, ReleaseRQ, SmallPDU, write_data_header
from nearframe.dimse.stream import MAX_SMALL_BYTES, PDUStream, Piece
from nearframe.errors import MalformedPDU

MOST = 1000
SENT = (
    AssociateRQ("A", "B").encode()
    + write_data_header(1, 4, is_command=True, is_last=True)
    + b"echo"
    + write_data_header(1, 300, is_command=False, is_last=False)
    + bytes(300)
    + write_data_header(1, 0, is_command=False, is_last=True)
    + ReleaseRQ().encode()
    + Abort().encode()
)


def read(chunks: Iterable[bytes]) -> list[SmallPDU | tuple[bool, bool, bytes]]:
    """Return PDUs, and fragments put together."""
    stream = PDUStream(MOST)
    found: list[SmallPDU | tuple[bool, bool, bytes]] = []
    fragment = b""
    for chunk in chunks:
        for item in stream.feed(memoryview(chunk)):
            if isinstance(item, Piece):
                fragment += item.data
                if item.is_end:
                    found.append((item.header.is_command, item.header.is_last, fragment))
                    fragment = b""
            else:
                found.append(item)
    assert stream.is_between_pdus
    return found


WHOLE = [
    AssociateRQ("A", "B"),
    (True, True, b"echo"),
    (False, False, bytes(300)),
    (False, True, b""),
    ReleaseRQ(),
    Abort(),
]


def test_all_at_once() -> None:
    assert read([SENT]) == WHOLE


def test_byte_by_byte() -> None:
    assert read(SENT[at : at + 1] for at in range(len(SENT))) == WHOLE


@given(st.lists(st.integers(0, len(SENT)), max_size=12))
def test_cut_anywhere(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SENT)]
    assert read(SENT[start:stop] for start, stop in itertools.pairwise(edges)) == WHOLE


def test_two_fragments_in_one_pdu() -> None:
    first = write_data_header(1, 2, is_command=True, is_last=True)[6:] + b"ab"
    second = write_data_header(3, 1, is_command=False, is_last=True)[6:] + b"c"
    body = first + second
    assert read([b"\4\0" + len(body).to_bytes(4, "big") + body]) == [(True, True, b"ab"), (False, True, b"c")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\4\0\xff\xff\xff\xf0", "P-DATA-TF of 4294967280 bytes"),
        (b"\4\0" + (MOST + 1).to_bytes(4, "big"), "were offered"),
        (b"\1\0" + (MAX_SMALL_BYTES + 1).to_bytes(4, "big"), "ASSOCIATE_RQ"),
        (b"\x47ET / HTTP", "HTTP"),
        (b"\4\0\0\0\0\0", "without a presentation data value"),
        (b"\4\0\0\0\0\x06\0\0\0\x64\1\0", "longer than its P-DATA-TF"),
        (b"\4\0\0\0\0\x0a\0\0\0\x03\1\0x\0\0\0", "bytes behind"),
    ],
    ids=range(7),
)
def test_nonsense_is_told_from_the_header_alone(data: bytes, words: str) -> None:
    with pytest.raises(MalformedPDU, match=words):
        list(PDUStream(MOST).feed(memoryview(data)))


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_any_bytes_are_read_or_refused(chunks: list[bytes]) -> None:
    stream = PDUStream(MOST)
    try:
        for chunk in chunks:
            for found in stream.feed(memoryview(chunk)):
                assert found is not None
    except MalformedPDU:
        pass
