"""Messages as text: cut up as they say themselves, and never anything but a message or an error that says where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import UnacceptableMessage
from nearframe.hl7.acknowledgement import CONDITIONS, Header
from nearframe.hl7.er7 import MAX_SEGMENTS, header_field, read_message, written
from tests.hl7messages import adt, mrg, pid

PLAIN = adt("A40", pid("P2^^^HOSP&1.2&ISO^MR~S^^^SSA"), mrg("P1^^^HOSP^MR"))


def test_fields_are_counted_as_the_standard_does() -> None:
    message = read_message(PLAIN)
    assert [segment.name for segment in message.segments] == ["MSH", "EVN", "PID", "MRG"]
    header = message.header
    assert (header.raw(1), header.raw(2), header.raw(3), header.raw(99)) == ("|", "^~\\&", "ADT1", "")
    assert (header.text(9, 1), header.text(9, 2), header.text(9, 3)) == ("ADT", "A40", "")
    assert [field.text() for field in message.only("PID").repetitions(3)] == ["P2", "S"]
    first = message.only("PID").first(3)
    assert [first.text(4, number) for number in (1, 2, 3, 4)] == ["HOSP", "1.2", "ISO", ""]


def test_other_separators() -> None:
    message = read_message(PLAIN.replace(b"|^~\\&|", b"#*+@!#").translate(bytes.maketrans(b"|^~&", b"#*+!")))
    assert message.only("PID").first(3).text(4, 2) == "1.2"
    assert message.only("PID").text(5, 2) == "Janet"
    with pytest.raises(UnacceptableMessage, match="no EVT segment"):
        message.only("EVT")


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r\r", b"\n\n"])
def test_other_ends_of_segments(ends: bytes) -> None:
    assert len(read_message(PLAIN.replace(b"\r", ends)).segments) == 4


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"plain", "plain"),
        (r"A\T\B \F\ \S\ \R\ \E\ ", "A&B | ^ ~ \\"),
        (r"\X41\\X0D4a\ ", "A\rJ"),
        (r"\Xe9\ ", "�"),
        (r"one\.br\two\.sp+2\\H\bold\N\ ", "one\ntwobold"),
        (r"C:\users", r"C:\users"),
        (r"\Z1\ x", r"\Z1\ x"),
        ('""', ""),
        ("  padded ", "padded"),
    ],
)
def test_escape_sequences(raw: str, text: str) -> None:
    assert read_message(adt("A08", pid("P", name=raw.rstrip(" ")))).only("PID").text(5) == text.rstrip(" ").strip()


@pytest.mark.parametrize("raw", [r"\C2842\\", r"\M244a\\", r"\X4\\", r"\Xzz\\"])
def test_escape_sequences_that_cannot_be_read(raw: str) -> None:
    segment = read_message(adt("A08", pid("P", name=raw[:-1]))).only("PID")
    with pytest.raises(UnacceptableMessage) as raised:
        segment.text(5)
    assert (raised.value.condition, raised.value.segment, raised.value.field) == (102, "PID", 5)


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("8859/1", "latin_1"),
        ("8859/15", "iso8859_15"),
        ("UNICODE UTF-8", "utf_8"),
        ("utf-8", "utf_8"),
        ("", "utf_8"),
        ("ISO-8859-1~ISO IR87", "latin_1"),
    ],
)
def test_character_sets(charset: str, codec: str) -> None:
    data = adt("A08", pid("P", name="Müller^Zoë"), more=f"||||||{charset}").decode().encode(codec)
    assert read_message(data).only("PID").text(5) == "Müller"


def test_a_set_of_two_bytes_whose_second_is_a_separator() -> None:
    # The second byte of 髜 is that of a backslash, of 腷 that of ^, in GB 18030.
    data = adt("A08", pid("P", name="髜腷^张"), more="||||||GB 18030-2000").decode().encode("gb18030")
    assert read_message(data).only("PID").text(5) == "髜腷"


@pytest.mark.parametrize(
    ("data", "condition", "place"),
    [
        (b"", 100, ("MSH", 0)),
        (b"hello", 100, ("MSH", 0)),
        (b"PID|1||P\r", 100, ("MSH", 0)),
        (b"BHS|^~\\&|ADT1\r" + PLAIN + b"BTS|1\r", 100, ("BHS", 0)),
        (PLAIN + PLAIN, 100, ("MSH", 0)),
        (b"MSH", 102, ("MSH", 2)),
        (b"MSH|", 102, ("MSH", 2)),
        (PLAIN.replace(b"^~\\&", b"^~\\^"), 102, ("MSH", 2)),
        (PLAIN.replace(b"^~\\&", b"ABCD"), 102, ("MSH", 2)),
        (PLAIN.replace(b"^~\\&", b"^~"), 102, ("MSH", 2)),
        (PLAIN.replace(b"Janet", b"Jan\xe9t"), 102, ("MSH", 18)),
        (adt("A08", more="||||||KLINGON"), 103, ("MSH", 18)),
        (adt("A08", more="||||||ASCII").replace(b"EVN", b"EVN|\xff"), 102, ("MSH", 18)),
        (PLAIN + b"what is this?\r", 100, ("", 0)),
        (PLAIN + b"Z01|\r" * MAX_SEGMENTS, 102, ("", 0)),
    ],
)
def test_what_is_no_message(data: bytes, condition: int, place: tuple[str, int]) -> None:
    with pytest.raises(UnacceptableMessage) as raised:
        read_message(data)
    assert (raised.value.condition, (raised.value.segment, raised.value.field)) == (condition, place)


def test_fields_of_a_header_that_may_be_anything() -> None:
    assert header_field(PLAIN, 10) == b"MSG-1"
    assert header_field(b"MSH|^~\\&|A", 99) == header_field(b"PID|1", 1) == header_field(b"MSH", 1) == b""


@given(st.lists(st.text(max_size=8) | st.lists(st.text(max_size=5), min_size=1, max_size=3), max_size=6))
def test_what_is_written_reads_as_it_was(fields: list[str | list[str]]) -> None:
    text = written([("MSH", ["A"]), ("ZZZ", fields)])
    segment = next(read_message(text.encode("utf-8", "replace")).every("ZZZ"))
    for number, field in enumerate(fields, start=1):
        for component, value in enumerate([field] if isinstance(field, str) else field, start=1):
            plain = "".join(c if c.isprintable() else " " for c in value).encode("utf-8", "replace").decode()
            expected = "" if plain == '""' else plain.strip()
            assert segment.first(number).text(component) == expected


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(PLAIN)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 20))] = draw(st.binary(max_size=6) | st.sampled_from([b"|", b"\r", b"\\X"]))
    return bytes(data)


@given(damaged() | st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"MSH|^~\\&|" + tail))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    Header.of(data)
    try:
        for segment in read_message(data).segments:
            for number in range(len(segment.fields)):
                for field in segment.repetitions(number):
                    field.text(1, 2)
    except UnacceptableMessage as error:
        assert error.condition in CONDITIONS
