"""Real files, damaged: parsed and reassembled, or refused for a reason; never anything else."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nearframe.dicom.header_source import metadata_of
from nearframe.dicom.limits import Limits
from nearframe.dicom.source import BytesSource
from nearframe.dicom.split import read_piece, split
from nearframe.errors import LimitExceeded, MalformedDICOM, MissingIdentifier
from tests.unit.dicom import objects as o
from tests.unit.dicom.objects import packaged

MAX_SEED_BYTES = 20_000
SEEDS = [path.read_bytes() for path in packaged() if path.stat().st_size < MAX_SEED_BYTES]

#: What makes parsers stumble: undefined, huge and zero lengths, delimiters, VRs.
TROUBLE = [
    *(b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\1\0", b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0"),
    *(
        b"\xfe\xff\xdd\xe0",
        b"SQ\0\0",
        b"UN\0\0",
        b"OB\0\0",
        b"\xe0\x7f\x10\x00",
        b"\x28\x00\x08\x00",
        b"IS\x04\x009999",
    ),
]

#: Where damage goes: headers are at the beginning.
PLACES = st.integers(0, 2000) | st.integers(0, MAX_SEED_BYTES)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(PLACES) % max(1, len(data))
        kind = draw(st.sampled_from(["overwrite", "insert", "flip", "delete", "truncate"]))
        if kind == "overwrite":
            trouble = draw(st.sampled_from(TROUBLE))
            data[at : at + len(trouble)] = trouble
        elif kind == "insert":
            data[at:at] = draw(st.sampled_from(TROUBLE) | st.binary(max_size=12))
        elif kind == "flip":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "delete":
            del data[at : at + draw(st.integers(1, 16))]
        else:
            del data[at + 132 :]
    return bytes(data)


def holds_together(data: bytes) -> None:
    source = BytesSource(data)
    try:
        instance = split(source, Limits(max_parse_seconds=5))
    except (MalformedDICOM, LimitExceeded, MissingIdentifier):
        return
    json.dumps(instance.metadata, allow_nan=False)
    pieces = [b"".join(read_piece(instance, source, piece)) for piece in instance.pieces]
    assert [len(piece) for piece in pieces] == [piece.length for piece in instance.pieces]

    def read(index: int, offset: int, length: int) -> bytes:
        return pieces[index][offset : offset + length]

    assert b"".join(instance.header.reassemble(read)) == data
    described = metadata_of(instance.header, None, read)
    assert described.metadata == instance.metadata
    assert described.identity == instance.identity


@given(damaged())
@settings(max_examples=400, deadline=None)
def test_damaged_files(data: bytes) -> None:
    holds_together(data)


@pytest.mark.drill
@given(damaged())
@settings(max_examples=20_000, deadline=None)
def test_very_many_damaged_files(data: bytes) -> None:
    holds_together(data)


@given(st.binary(max_size=400))
@example(b"")
def test_a_header_and_then_anything(tail: bytes) -> None:
    for head in (
        b"",
        o.meta(),
        o.meta(o.IMPLICIT),
        o.meta(o.BIG_ENDIAN),
        o.meta(o.DEFLATED),
        o.meta() + o.identifiers(),
    ):
        holds_together(head + tail)


def test_an_element_header_that_reaches_beyond_its_item() -> None:
    inner = o.item(o.text(0x00080100, "SH", "T-1") + b"\x08\x00\x00\x01", length=16)
    holds_together(
        o.meta() + o.identifiers() + o.explicit(0x00082218, "SQ", inner + o.SEQUENCE_END, length=o.UNDEFINED)
    )


def test_an_odd_vr_before_pixels_is_framed_alike_without_them() -> None:
    pixel_data = struct.pack("<HHL", 0x7FE0, 0x0010, 16) + bytes(16) + b"tail"
    holds_together(o.meta() + o.identifiers() + o.picture(4, 4) + pixel_data)


def test_many_private_blocks_cost_no_more_than_their_number() -> None:
    elements = b"".join(o.implicit(0x00090000 + (n << 17) + 0x1000 + (m << 8)) for n in range(200) for m in range(200))
    holds_together(o.meta(o.IMPLICIT) + o.implicit(0x00080018, b"1.2\0") + elements)


def test_there_are_files_to_damage() -> None:
    assert len(SEEDS) > 50
