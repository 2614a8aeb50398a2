"""What a header blob alone still tells."""

from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom.bulk import BulkValue, find_value
from nearframe.dicom.header_source import HeaderSource, ReadPiece, metadata_of
from nearframe.dicom.limits import BULK_MIN_BYTES
from nearframe.dicom.model import Slice
from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource, FileSource
from nearframe.dicom.split import read_piece, split
from nearframe.errors import MalformedDICOM, MissingIdentifier, NotFound, RequestError
from nearframe.wire.header import HeaderBlob, Hole
from tests.unit.dicom import objects as o
from tests.unit.dicom.objects import packaged

HEADER = HeaderBlob(b"abcdefgh", (Hole(2, 0, 0, 10), Hole(2, 0, 10, 5), Hole(6, 1, 0, 3)))
FILE = b"ab" + b"0" * 10 + b"1" * 5 + b"cdef" + b"222" + b"gh"


def read_piece_of_header(index: int, offset: int, length: int) -> bytes:
    return [b"0" * 10 + b"1" * 5, b"222"][index][offset : offset + length]


def bulk_value_of(
    header: HeaderBlob, path: str, read_piece: ReadPiece | None = None
) -> tuple[BulkValue, tuple[bytes | Hole, ...]]:
    """Find a value by its relative URI: what it is, and the parts that it consists of."""
    source = HeaderSource(header, read_piece)
    part10 = parse(source)
    value = find_value(part10.dataset, path)
    if part10.is_deflated:
        return value, tuple(part10.dataset.source.read(one.offset, one.length) for one in value.slices)
    return value, tuple(part for where in value.slices for part in source.parts(where))


def test_any_range_reads_as_the_file_did() -> None:
    source = HeaderSource(HEADER, read_piece_of_header)
    assert source.size == len(FILE)
    for start in range(len(FILE)):
        for stop in range(start, len(FILE) + 1):
            assert source.read(start, stop - start) == FILE[start:stop]


def test_holes_are_cut_to_the_range() -> None:
    parts = list(HeaderSource(HEADER).parts(Slice(5, 15)))
    assert parts == [Hole(2, 0, 3, 7), Hole(2, 0, 10, 5), b"cde"]


def test_what_is_readable_without_pieces() -> None:
    source = HeaderSource(HEADER)
    assert [source.readable(at) for at in (0, 1, 2, 16, 17, 20, 21, 24, 26)] == [2, 1, 0, 0, 4, 1, 0, 2, 0]
    assert source.read(17, 4) == b"cdef"
    with pytest.raises(MalformedDICOM):
        source.read(16, 2)
    with pytest.raises(MalformedDICOM):
        source.read(20, 100)


def awkward() -> list[bytes]:
    """Objects whose holes lie where a parser would like to look."""
    large = bytes(BULK_MIN_BYTES)
    broken = o.explicit(0x00082218, "SQ", o.item(o.explicit(0x00080100, "SH", b"T", length=9)) + large)
    head = o.meta() + o.identifiers()
    icon = o.explicit(0x7FE00010, "OB", o.item() + o.item(large) + o.SEQUENCE_END, length=o.UNDEFINED)
    implicit = o.meta(o.IMPLICIT) + o.implicit(0x00080018, b"1.2\0")
    return [
        head + broken + o.text(0x00400006, "PN", "x"),
        head + o.explicit(0x00880200, "SQ", o.item(icon)) + o.text(0x20100010, "ST", "x"),
        head + o.explicit(0x00880200, "SQ", o.text(0x00081080, "LO", "no item") + large, length=o.UNDEFINED),
        implicit + o.implicit(0x00091001, large) + o.implicit(0x00100020, b"4711") + o.implicit(0x7FE00010, large),
        head + o.explicit(0x00091001, "UN", large) + o.explicit(0x00091002, "UN", large),
        o.native(bytes(1000), rows=10, columns=100) + large,
        o.encapsulated([large, bytes(10), large], frames=3) + o.explicit(0xFFFCFFFC, "OB", large),
    ]


@pytest.mark.parametrize("data", awkward())
def test_an_awkward_header_says_what_the_file_said(data: bytes) -> None:
    instance = split(BytesSource(data))
    described = metadata_of(instance.header)
    assert described.metadata == instance.metadata
    assert described.identity == instance.identity


def says_the_same(path: Path) -> None:
    with FileSource(path) as source:
        try:
            instance = split(source)
        except (MalformedDICOM, MissingIdentifier):
            return
        pieces = [b"".join(read_piece(instance, source, piece)) for piece in instance.pieces]
        described = metadata_of(instance.header, None, lambda index, at, n: pieces[index][at : at + n])
    assert described.metadata == instance.metadata
    assert described.attributes == instance.attributes
    assert described.pixel == instance.pixel
    assert described.identity == instance.identity
    assert described.transfer_syntax_uid == instance.transfer_syntax_uid
    assert set(described.notes) <= set(instance.notes)


@pytest.mark.parametrize("path", packaged(), ids=lambda path: path.name)
def test_packaged_files(path: Path) -> None:
    says_the_same(path)


@pytest.mark.data
def test_objects_of_every_kind(data_dir: Path) -> None:
    paths = sorted(path for path in data_dir.rglob("*") if path.is_file())
    for path in paths[::7]:  # series of hundreds of slices, all alike
        says_the_same(path)


HOLES = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 9), st.integers(0, 99), st.integers(0, 99)), max_size=6)


@given(HOLES, st.booleans())
def test_a_header_with_holes_anywhere_is_read_or_refused(places: list[tuple[int, ...]], is_implicit: bool) -> None:
    code = o.explicit(0x00082218, "SQ", o.item(o.text(0x00080100, "SH", "T-1")), length=None)
    data = o.meta(o.IMPLICIT if is_implicit else o.EXPLICIT) + o.identifiers() + code + o.picture(4, 4)
    header = HeaderBlob(data, tuple(Hole(*place) for place in sorted(places)))
    with suppress(RequestError):
        metadata_of(header)
    with suppress(RequestError):
        bulk_value_of(header, "bulkdata/00082218/0/00080100")


# -- bulk values ---------------------------------------------------------------------------

LARGE = bytes(range(256)) * 300


def test_a_bulk_value_is_found_by_its_path() -> None:
    nested = o.explicit(0x00880200, "SQ", o.item() + o.item(o.explicit(0x00091010, "OB", LARGE)))
    data = o.meta() + o.identifiers() + nested + o.explicit(0x00420011, "OB", b"%PDF")
    header = split(BytesSource(data)).header
    value, parts = bulk_value_of(header, "bulkdata/00880200/1/00091010")
    assert (value.vr, [(p.piece_index, p.length) for p in parts if isinstance(p, Hole)]) == ("OB", [(0, len(LARGE))])
    value, parts = bulk_value_of(header, "bulkdata/00420011")
    assert (value.vr, parts) == ("OB", (b"%PDF",))


@pytest.mark.parametrize(
    "path",
    ["", "00420011", "00880200", "00880200/0/00091010", "00880200/7/00091010", "00420011/0/00091010", "x", "../../etc"],
)
def test_a_path_that_names_nothing(path: str) -> None:
    nested = o.explicit(0x00880200, "SQ", o.item() + o.item(o.explicit(0x00091010, "OB", b"ab")))
    header = split(BytesSource(o.meta() + o.identifiers() + nested)).header
    with pytest.raises(NotFound):
        bulk_value_of(header, f"bulkdata/{path}")


def test_encapsulated_pixel_data_is_its_fragments() -> None:
    header = split(BytesSource(o.encapsulated([b"ab", b"cdef"], frames=2))).header
    _, parts = bulk_value_of(header, "bulkdata/7FE00010")
    assert [(p.piece_index, p.length) for p in parts if isinstance(p, Hole)] == [(0, 2), (1, 4)]


def test_big_endian_values_say_that_they_must_be_swapped() -> None:
    data = o.meta(o.BIG_ENDIAN) + o.identifiers(">") + o.explicit(0x00281201, "OW", b"\1\2", order=">")
    value, _ = bulk_value_of(split(BytesSource(data)).header, "bulkdata/00281201")
    assert value.swapped_bytes == 2


def test_a_value_of_a_deflated_object() -> None:
    engine = zlib.compressobj(wbits=-15)
    body = engine.compress(o.identifiers() + o.explicit(0x00420011, "OB", LARGE)) + engine.flush()
    instance = split(BytesSource(o.meta(o.DEFLATED) + body))
    _, parts = bulk_value_of(instance.header, "bulkdata/00420011", lambda _, at, n: body[at : at + n])
    assert parts == (LARGE,)
