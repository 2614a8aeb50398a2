"""Streams of headers: however they are cut, and when they are cut short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import LimitExceeded, MalformedRequest
from nearframe.wire.headerstream import HeaderStreamReader, frame_header


def read(chunks: list[bytes]) -> list[bytes]:
    reader = HeaderStreamReader(max_bytes=100)
    blobs = [blob for chunk in chunks for blob in reader.feed(chunk)]
    reader.close()
    return blobs


@given(st.lists(st.binary(max_size=100), max_size=5), st.integers(1, 9))
def test_headers_come_back_however_they_are_cut(blobs: list[bytes], step: int) -> None:
    stream = b"".join(map(frame_header, blobs))
    assert read([stream]) == blobs
    assert read([stream[at : at + step] for at in range(0, len(stream), step)]) == blobs


def test_layout() -> None:
    assert frame_header(b"abc") == b"\x03\x00\x00\x00abc"


@pytest.mark.parametrize("cut", [1, 4, 6])
def test_a_cut_header_is_noticed(cut: int) -> None:
    with pytest.raises(MalformedRequest):
        read([frame_header(b"one"), frame_header(b"two")[:cut]])


def test_a_long_header_is_refused_before_it_is_read() -> None:
    with pytest.raises(LimitExceeded):
        read([frame_header(bytes(101))[:4]])
