"""Content streams: whole, byte by byte, cut, and not what was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import MalformedRequest
from nearframe.ids import sha256
from nearframe.wire.contentstream import (
    Absent,
    ContentStreamReader,
    Data,
    Opened,
    absence,
    ending,
    opening,
)

#: A content, or None for one the study does not have.
Contents = list[bytes | None]


def digest_of(content: bytes | None, index: int) -> bytes:
    return sha256(b"absent %d" % index if content is None else content)


def write(contents: Contents) -> bytes:
    out = b""
    for index, content in enumerate(contents):
        digest = digest_of(content, index)
        out += absence(digest) if content is None else opening(digest, len(content)) + content
    return out + ending(len(contents))


def read(contents: Contents, chunks: list[bytes]) -> Contents:
    reader = ContentStreamReader([digest_of(c, i) for i, c in enumerate(contents)], max_length=1000)
    found: Contents = []
    for chunk in chunks:
        for event in reader.feed(chunk):
            if isinstance(event, Absent):
                found.append(None)
            elif isinstance(event, Opened):
                found.append(b"")
            else:
                assert found[-1] is not None
                found[-1] += event.data
    reader.close()
    return found


lists_of_contents = st.lists(st.none() | st.binary(max_size=50), max_size=5)


@given(lists_of_contents, st.integers(1, 7))
def test_contents_come_back_however_they_are_cut(contents: Contents, step: int) -> None:
    stream = write(contents)
    assert read(contents, [stream]) == contents
    assert read(contents, [stream[at : at + step] for at in range(0, len(stream), step)]) == contents


def test_layout() -> None:
    assert write([b"abc"]) == sha256(b"abc") + b"\x03" + bytes(7) + b"abc" + bytes(32) + b"\x01" + bytes(7)


def test_events_say_where_a_content_ends() -> None:
    reader = ContentStreamReader([sha256(b"abc"), sha256(b"")], max_length=10)
    stream = write([b"abc", b""])
    assert [*reader.feed(stream[:42]), *reader.feed(stream[42:])] == [
        Opened(sha256(b"abc"), 3),
        Data(b"ab", last=False),
        Data(b"c", last=True),
        Opened(sha256(b""), 0),
        Data(b"", last=True),
    ]


@given(lists_of_contents, st.data())
def test_a_cut_stream_is_noticed(contents: Contents, data: st.DataObject) -> None:
    stream = write(contents)
    cut = data.draw(st.integers(0, len(stream) - 1))
    with pytest.raises(MalformedRequest):
        read(contents, [stream[:cut]])


@pytest.mark.parametrize(
    "stream",
    [
        write([b"other"]),
        write([]),
        write([b"asked", b"more"]),
        write([b"asked"]) + b"x" * 40,
        opening(sha256(b"asked"), 1001),
        opening(sha256(b"asked"), 5) + b"asked" + ending(2),
    ],
)
def test_what_was_not_asked_for_is_refused(stream: bytes) -> None:
    with pytest.raises(MalformedRequest):
        read([b"asked"], [stream])


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        read([b"asked", None], [data])
