"""Frames in a stream, however the stream is cut up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.hl7.mllp import CR, FS, MAX_STRAY_BYTES, VT, Cut, Frame, FrameReader, framed

MOST = 40
texts = st.binary(max_size=MOST).map(lambda data: data.replace(VT, b"").replace(FS, b"") or b"x")


def read(data: bytes, *cuts: int) -> list[Frame]:
    """Read a stream that comes in pieces."""
    reader, at = FrameReader(MOST), 0
    found: list[Frame] = []
    for cut in sorted({*cuts, len(data)}):
        found += reader.feed(data[at:cut])
        at = cut
    return found


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"", []),
        (framed(b"a"), [Frame(b"a")]),
        (framed(b"a") + framed(b"b"), [Frame(b"a"), Frame(b"b")]),
        (VT + b"a" + FS, [Frame(b"a")]),  # some senders end with FS alone
        (VT + b"a" + FS + b"\r\n" + framed(b"b"), [Frame(b"a"), Frame(b"b")]),
        (b"\r\n" + framed(b"a") + b"\0\0" + framed(b"b"), [Frame(b"a"), Frame(b"b")]),
        (FS + CR + framed(b"a"), [Frame(b"a")]),
        (VT + b"a" + framed(b"b"), [Frame(b"a", Cut.NOT_ENDED), Frame(b"b")]),
        (VT + VT + b"a" + FS + FS + CR, [Frame(b"a")]),
        (VT + FS + CR, []),
        (framed(b"m" * (MOST + 1)) + framed(b"a"), [Frame(b"m" * (MOST + 1), Cut.TOO_LONG), Frame(b"a")]),
    ],
)
def test_frames_whole_and_byte_by_byte(stream: bytes, frames: list[Frame]) -> None:
    assert read(stream) == frames
    found = read(stream, *range(len(stream)))
    assert [frame.cut for frame in found] == [frame.cut for frame in frames]
    assert [frame.data for frame in found if not frame.cut] == [frame.data for frame in frames if not frame.cut]


@given(st.lists(texts, max_size=5), st.lists(st.integers(0, 250), max_size=6))
def test_messages_come_out_as_they_went_in(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(framed, messages))
    assert read(stream, *(cut for cut in cuts if cut < len(stream))) == [Frame(one) for one in messages]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_frames_or_no_mllp(stream: bytes, cut: int) -> None:
    try:
        assert all(len(frame.data) <= MOST + len(stream) for frame in read(stream, min(cut, len(stream))))
    except MalformedRequest as error:
        assert "MLLP" in str(error)


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (b"MSH|^~\\&|", "without the frame"),
        (b"\x16\x03\x01\x02\x00\x01", "TLS"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"\x01\x00\x00\x00\x00\xcd", "DICOM"),
        (b"?" * (MAX_STRAY_BYTES + 1), "something else"),
    ],
)
def test_who_speaks_another_protocol_is_told_apart(stream: bytes, says: str) -> None:
    with pytest.raises(MalformedRequest, match=says):
        read(stream)


def test_a_message_that_is_too_long_is_not_held() -> None:
    reader = FrameReader(MOST)
    assert list(reader.feed(VT + bytes(1_000_000))) == []
    assert list(reader.feed(bytes(1_000_000))) == []
    (frame,) = reader.feed(FS)
    assert frame.cut is Cut.TOO_LONG
    assert len(frame.data) < 5000
    assert reader.is_between_frames
