from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nearframe.errors import LimitExceeded, MalformedRequest
from nearframe.wire.mediatype import MediaType, parse_media_type
from nearframe.wire.multipart import (
    MAX_HEADER_BYTES,
    MAX_PREAMBLE_BYTES,
    MAX_WRITTEN_HEADER_BYTES,
    End,
    MultipartParser,
    PartData,
    PartEnd,
    PartStart,
    boundary_for,
    closing,
    content_type,
    joined,
    part_head,
)

Parts = list[tuple[dict[str, str], bytes]]
DICOM = {"content-type": "application/dicom"}


def parse(body: bytes, boundary: str = "B", chunk: int | None = None) -> Parts:
    """Run a body through the parser in chunks and put its parts together."""
    parser = MultipartParser(boundary)
    events = []
    step = chunk or max(1, len(body))
    for at in range(0, len(body), step):
        events += parser.feed(body[at : at + step])
    parser.close()
    parts: Parts = []
    for event in events:
        match event:
            case PartStart(headers):
                parts.append((dict(headers), b""))
            case PartData(data):
                assert data, "no empty data events"
                parts[-1] = (parts[-1][0], parts[-1][1] + data)
    starts = sum(isinstance(event, PartStart) for event in events)
    assert sum(isinstance(event, PartEnd) for event in events) == starts
    assert [i for i, event in enumerate(events) if isinstance(event, End)] == [len(events) - 1]
    return parts


BODIES: list[tuple[str, bytes, Parts]] = [
    ("plain", b"--B\r\nContent-Type: application/dicom\r\n\r\nabc\r\n--B--\r\n", [(DICOM, b"abc")]),
    ("no final CRLF", b"--B\r\nContent-Type: application/dicom\r\n\r\nabc\r\n--B--", [(DICOM, b"abc")]),
    ("CRLF preamble", b"\r\n--B\r\nContent-Type: application/dicom\r\n\r\nabc\r\n--B--", [(DICOM, b"abc")]),
    ("preamble", b"This is MIME\r\nhello\r\n--B\r\n\r\nabc\r\n--B--", [({}, b"abc")]),
    ("NUL epilogue", b"--B\r\ncontent-type:application/dicom\r\n\r\nabc\r\n--B--" + bytes(60), [(DICOM, b"abc")]),
    ("epilogue with a boundary", b"--B\r\n\r\nabc\r\n--B--\r\n--B\r\n\r\nzzz\r\n--B--", [({}, b"abc")]),
    ("header case", b"--B\r\nCONTENT-TYPE:   application/dicom  \r\n\r\nabc\r\n--B--", [(DICOM, b"abc")]),
    ("padding after boundary", b"--B \t \r\n\r\nabc\r\n--B--  \r\n", [({}, b"abc")]),
    ("folded header", b"--B\r\nContent-Type: application/dicom;\r\n  a=b\r\n\r\nx\r\n--B--",
     [({"content-type": "application/dicom; a=b"}, b"x")]),
    ("empty part", b"--B\r\n\r\n\r\n--B--", [({}, b"")]),
    ("empty part, delimiter right after the headers", b"--B\r\nX: y\r\n\r\n--B--", [({"x": "y"}, b"")]),
    ("no parts", b"--B--\r\n", []),
    ("longer boundary is data", b"--B\r\n\r\na\r\n--Bx\r\nb\r\n--B--", [({}, b"a\r\n--Bx\r\nb")]),
    ("half a delimiter is data", b"--B\r\n\r\n\r\n-\r\n--\r\r\n--\r\n--B--", [({}, b"\r\n-\r\n--\r\r\n--")]),
    ("one dash after the boundary is data", b"--B\r\n\r\na\r\n--B-\r\n--B--", [({}, b"a\r\n--B-")]),
    ("padding that never ends is data", b"--B\r\n\r\na\r\n--B" + b" " * 80 + b"\r\n--B--",
     [({}, b"a\r\n--B" + b" " * 80)]),
    ("two parts", b"--B\r\nA: 1\r\n\r\nab\r\n--B\r\nA: 2\r\n\r\ncd\r\n--B--",
     [({"a": "1"}, b"ab"), ({"a": "2"}, b"cd")]),
]  # fmt: skip


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 7])
@pytest.mark.parametrize(("body", "expected"), [pytest.param(b, e, id=name) for name, b, e in BODIES])
def test_reads_bodies_whole_and_in_pieces(body: bytes, expected: Parts, chunk: int | None) -> None:
    assert parse(body, chunk=chunk) == expected


@pytest.mark.parametrize(("body", "expected"), [pytest.param(b, e, id=name) for name, b, e in BODIES])
def test_reads_bodies_split_anywhere(body: bytes, expected: Parts) -> None:
    for at in range(len(body) + 1):
        parser = MultipartParser("B")
        data = b"".join(e.data for e in parser.feed(body[:at]) + parser.feed(body[at:]) if isinstance(e, PartData))
        parser.close()
        assert data == b"".join(payload for _, payload in expected)


CUT = [
    b"",
    b"no boundary at all",
    b"--B",
    b"--B\r\nContent-Type: application/dicom\r\n",
    b"--B\r\n\r\nabc",
    b"--B\r\n\r\nabc\r\n--B",
    b"--B\r\n\r\nabc\r\n--B-",
    b"--B\r\n\r\nabc\r\n--B\r\n",
]


@pytest.mark.parametrize("body", CUT)
def test_a_body_that_is_cut_short_is_an_error(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse(body)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "grün", "a\r\nb"])
def test_boundaries_that_cannot_be(boundary: str) -> None:
    with pytest.raises(MalformedRequest):
        MultipartParser(boundary)


def test_a_header_line_without_a_colon_is_an_error() -> None:
    with pytest.raises(MalformedRequest, match="colon"):
        parse(b"--B\r\nnonsense\r\n\r\nabc\r\n--B--")


def test_limits() -> None:
    with pytest.raises(LimitExceeded, match="before the first"):
        MultipartParser("B").feed(b"x" * (MAX_PREAMBLE_BYTES + 100))
    with pytest.raises(LimitExceeded, match="header bytes"):
        MultipartParser("B").feed(b"--B\r\nX: " + b"x" * MAX_HEADER_BYTES)
    with pytest.raises(LimitExceeded, match="header bytes"):
        MultipartParser("B").feed(b"--B\r\nX: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n")
    with pytest.raises(LimitExceeded, match="parts"):
        MultipartParser("B", max_parts=2).feed(b"--B\r\n\r\n\r\n" * 3)


def test_memory_stays_bounded_while_a_part_streams_through() -> None:
    parser = MultipartParser("B")
    parser.feed(b"--B\r\n\r\n")
    for _ in range(100):
        parser.feed(b"\r\n--" * 4096)
        assert len(parser._buffer) < 16


def test_what_only_begins_like_a_boundary_does_not_cut_the_data() -> None:
    parser = MultipartParser("B")
    parser.feed(b"--B\r\n\r\n")
    assert len(parser.feed(b"\r\n--Bx" * 1000)) == 1


payloads = st.lists(
    st.one_of(st.binary(max_size=60), st.text(alphabet="\r\n-Bx", max_size=40).map(str.encode)), max_size=4
)


@settings(max_examples=300)
@given(payloads, st.integers(1, 40), st.sampled_from([b"", b"\r\n", b"hello\r\n"]), st.binary(max_size=20))
def test_any_payload_comes_back(contents: list[bytes], chunk: int, preamble: bytes, epilogue: bytes) -> None:
    boundary = boundary_for(*contents)
    body = b"".join(
        part_head(boundary, "application/dicom", first=i == 0) + payload for i, payload in enumerate(contents)
    )
    body = preamble + body + closing(boundary) + epilogue if contents else b"--" + boundary.encode() + b"--" + epilogue
    assert parse(body, boundary, chunk) == [(DICOM, payload) for payload in contents]


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([b"--B", b"\r\n", b"--", b"-", b"\r", b":", b"x", b" ", b"\0"]), max_size=30),
    st.integers(1, 9),
)
def test_garbage_is_read_the_same_however_it_is_cut(pieces: list[bytes], chunk: int) -> None:
    body = b"".join(pieces)

    def outcome(step: int | None) -> Parts | str:
        try:
            return parse(body, chunk=step)
        except MalformedRequest as error:
            return str(error)

    assert outcome(None) == outcome(chunk)


def test_written_heads_are_spelled_exactly() -> None:
    part = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.202"
    head = part_head("nf-1", part, first=True, length=5)
    assert head == (
        b"--nf-1\r\nContent-Type: application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.202\r\n"
        b"Content-Length: 5\r\n\r\n"
    )
    assert part_head("nf-1", part, first=False).startswith(b"\r\n--nf-1\r\n")


@pytest.mark.parametrize("length", [10, 300, 5000])
def test_written_heads_are_short_enough_for_every_viewer(length: int) -> None:
    location = "https://pacs.example/" + "x" * length
    head = part_head(
        boundary_for(b""), "image/jphc; transfer-syntax=" + "1" * 64, first=True, length=2**40, location=location
    )
    assert len(head) < MAX_WRITTEN_HEADER_BYTES
    assert (location.encode() in head) == (length <= 300) or length == 300


def test_the_boundary_depends_on_every_digest_and_stays_the_same() -> None:
    assert boundary_for(b"a" * 32) == boundary_for(b"a" * 32) != boundary_for(b"a" * 32, b"b" * 32)
    assert parse_media_type(
        content_type(boundary_for(b"a"), MediaType("image/jls", {"transfer-syntax": "1.2"}))
    ) == MediaType("multipart/related", {"type": "image/jls", "transfer-syntax": "1.2", "boundary": boundary_for(b"a")})


def test_joined_bodies_are_read_back() -> None:
    assert parse(joined("B", [("a/b", b"1"), ("c/d", b"")])) == [
        ({"content-type": "a/b", "content-length": "1"}, b"1"),
        ({"content-type": "c/d", "content-length": "0"}, b""),
    ]
