"""Taking files apart, and putting them together again."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.dicom import notes
from nearframe.dicom.describe import derived_uid
from nearframe.dicom.frames import pix_of_frame
from nearframe.dicom.limits import BULK_MIN_BYTES, Limits
from nearframe.dicom.model import PieceKind, SplitInstance
from nearframe.dicom.source import BytesSource, FileSource
from nearframe.dicom.split import read_piece, split
from nearframe.errors import LimitExceeded, MalformedDICOM, MissingIdentifier
from tests.unit.dicom import objects as o
from tests.unit.dicom.objects import packaged

PACKAGED = packaged()


def taken_apart(data: bytes) -> tuple[SplitInstance, list[bytes]]:
    """Split, and prove that the parts make the file again."""
    source = BytesSource(data)
    instance = split(source)
    pieces = [b"".join(read_piece(instance, source, piece, 1000)) for piece in instance.pieces]
    assert [len(piece) for piece in pieces] == [piece.length for piece in instance.pieces]
    again = b"".join(instance.header.reassemble(lambda index, at, n: pieces[index][at : at + n]))
    assert again == data
    return instance, pieces


def frames(data: bytes) -> list[bytes]:
    instance, pieces = taken_apart(data)
    return [pieces[index] for index in instance.frame_pieces]


# -- identity ------------------------------------------------------------------------------


def test_identity() -> None:
    instance, _ = taken_apart(o.native(bytes(16), rows=4, columns=4))
    assert instance.identity.sop_instance_uid == o.INSTANCE
    assert instance.identity.series_instance_uid == o.SERIES
    assert instance.identity.study_instance_uid == o.STUDY
    assert instance.identity.sop_class_uid == o.SECONDARY_CAPTURE
    assert instance.notes == ()


def test_no_sop_instance_uid_is_refused() -> None:
    with pytest.raises(MissingIdentifier) as caught:
        split(BytesSource(o.meta() + o.identifiers(sop_instance_uid="")))
    assert caught.value.failure_reason == 0xA900


def test_missing_study_and_series_uids_are_derived() -> None:
    data = o.meta() + o.text(0x00080016, "UI", o.SECONDARY_CAPTURE) + o.text(0x00080018, "UI", "1.2.3")
    instance, _ = taken_apart(data)
    assert instance.notes == (notes.NO_SERIES_UID, notes.NO_STUDY_UID)
    assert instance.identity.study_instance_uid == derived_uid("study", "1.2.3")
    assert instance.identity.series_instance_uid == derived_uid("series", derived_uid("study", "1.2.3"))
    assert instance.identity.study_instance_uid.startswith("2.25.")
    assert len(instance.identity.study_instance_uid) <= 64
    assert instance.metadata["0020000D"]["Value"] == [instance.identity.study_instance_uid]


def test_instances_of_one_series_without_study_uid_come_together() -> None:
    series = o.text(0x0020000E, "UI", o.SERIES)
    first, _ = taken_apart(o.meta() + o.text(0x00080018, "UI", "1.1") + series)
    second, _ = taken_apart(o.meta() + o.text(0x00080018, "UI", "1.2") + series)
    assert first.identity.study_instance_uid == second.identity.study_instance_uid
    assert first.identity.sop_class_uid == o.SECONDARY_CAPTURE, "from the meta group"


def test_of_an_element_that_occurs_twice_the_later_counts() -> None:
    instance, _ = taken_apart(o.meta() + o.identifiers() + o.text(0x0020000E, "UI", "1.2.9"))
    assert instance.identity.series_instance_uid == "1.2.9"
    assert instance.metadata["0020000E"]["Value"] == ["1.2.9"]
    assert instance.notes == (notes.DUPLICATE_TAG,)


def test_a_uid_ends_at_its_nul() -> None:
    data = (
        o.meta()
        + o.explicit(0x00080018, "UI", b"1.2\0left ")
        + o.text(0x0020000D, "UI", "1")
        + o.text(0x0020000E, "UI", "2")
    )
    instance, _ = taken_apart(data)
    assert instance.identity.sop_instance_uid == "1.2"


# -- native frames -------------------------------------------------------------------------


def test_native_frames() -> None:
    pixels = bytes(range(48))
    assert frames(o.native(pixels, rows=4, columns=4, frames=3)) == [pixels[:16], pixels[16:32], pixels[32:]]
    assert frames(o.native(pixels, rows=4, columns=3, bits=16, frames=2)) == [pixels[:24], pixels[24:]]


def test_the_padding_of_odd_pixel_data_stays_in_the_header() -> None:
    instance, pieces = taken_apart(o.native(bytes(range(10)), rows=3, columns=3))
    assert pieces == [bytes(range(9))]
    assert instance.header.literals[-1:] == b"\x09"


def test_pixel_data_shorter_than_its_frames_is_kept_as_one_value() -> None:
    instance, pieces = taken_apart(o.native(bytes(40), rows=4, columns=4, frames=3))
    assert instance.frame_pieces == ()
    assert instance.pieces[0].kind is PieceKind.BULK
    assert pieces == [bytes(40)]
    assert instance.notes == (notes.FRAMES_NOT_FOUND,)


def test_pixel_data_without_description_is_kept_as_one_value() -> None:
    instance, _ = taken_apart(o.meta() + o.identifiers() + o.explicit(0x7FE00010, "OB", bytes(40)))
    assert instance.pixel is None
    assert [piece.kind for piece in instance.pieces] == [PieceKind.BULK]
    assert instance.notes == (notes.NOT_A_PICTURE,)


def test_aligned_frames_of_one_bit() -> None:
    assert frames(o.native(bytes([1, 2, 3, 4]), rows=4, columns=4, bits=1, frames=2)) == [b"\1\2", b"\3\4"]
    assert frames(o.native(bytes([1, 3]), rows=3, columns=3, bits=1)) == [b"\1\3"]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 6), st.randoms(use_true_random=False))
def test_frames_of_one_bit_are_moved_to_byte_boundaries(rows: int, columns: int, count: int, random: Random) -> None:
    bits = [[random.getrandbits(1) for _ in range(rows * columns)] for _ in range(count)]
    packed = sum(bit << at for at, bit in enumerate(bit for frame in bits for bit in frame))
    value = packed.to_bytes(-(-rows * columns * count // 8), "little")
    apart = [
        sum(bit << at for at, bit in enumerate(frame)).to_bytes(-(-rows * columns // 8), "little") for frame in bits
    ]
    assert frames(o.native(value + b"\0" * (len(value) % 2), rows=rows, columns=columns, bits=1, frames=count)) == apart


def test_float_pixel_data() -> None:
    data = o.meta() + o.identifiers() + o.us(0x00280010, 2) + o.us(0x00280011, 2)
    instance, pieces = taken_apart(data + o.explicit(0x7FE00008, "OF", bytes(range(16))))
    assert instance.pixel is not None
    assert (instance.pixel.vr, instance.pixel.bits_allocated) == ("OF", 32)
    assert instance.pieces[0].tag == 0x7FE00008
    assert pieces == [bytes(range(16))]


# -- encapsulated frames -------------------------------------------------------------------

SOI, EOI = b"\xff\xd8\xff", b"\xff\xd9"


def test_one_fragment_a_frame() -> None:
    assert frames(o.encapsulated([b"ab", b"cdef"], frames=2)) == [b"ab", b"cdef"]


def test_one_frame_of_all_fragments() -> None:
    assert frames(o.encapsulated([b"ab", b"cdef", b"gh"])) == [b"abcdefgh"]


def test_a_basic_offset_table_groups_fragments() -> None:
    data = o.encapsulated([b"ab", b"cdef", b"gh"], frames=2, offset_table=[0, 22])
    assert frames(data) == [b"abcdef", b"gh"]


@pytest.mark.parametrize("offset_table", [[0], [0, 10, 20], [0, 11], [4, 22], [22, 0]])
def test_a_wrong_offset_table_is_not_followed(offset_table: list[int]) -> None:
    data = o.encapsulated([SOI + b"a", b"bb", SOI + b"c", b"dd"], frames=2, offset_table=offset_table)
    instance, pieces = taken_apart(data)
    assert pieces == [SOI + b"abb", SOI + b"cdd"]
    assert instance.notes == (notes.WRONG_OFFSET_TABLE,)


def test_an_extended_offset_table_goes_first() -> None:
    data = o.encapsulated([b"ab", b"cdef"], frames=2)
    table = o.explicit(0x7FE00001, "OV", struct.pack("<2Q", 0, 10))
    table += o.explicit(0x7FE00002, "OV", struct.pack("<2Q", 2, 4))
    at = data.index(b"\xe0\x7f\x10\x00")
    assert frames(data[:at] + table + data[at:]) == [b"ab", b"cdef"]


def test_frames_are_told_apart_by_where_code_streams_end() -> None:
    data = o.encapsulated([b"head", b"a" + EOI + b"\0", b"head", b"bb" + EOI], frames=2)
    assert frames(data) == [b"heada" + EOI + b"\0", b"headbb" + EOI]


@pytest.mark.parametrize(("fragments", "count"), [([b"ab", b"cd", b"ef"], 2), ([b"ab"], 2), ([b"ab", b""], 2), ([], 2)])
def test_frames_that_cannot_be_told_apart_stay_one_value(fragments: list[bytes], count: int) -> None:
    instance, pieces = taken_apart(o.encapsulated(fragments, frames=count))
    assert instance.frame_pieces == ()
    assert pieces == [b"".join(fragments)][: len(fragments)]
    assert instance.notes == (notes.FRAMES_NOT_FOUND,)


def test_video_is_one_value() -> None:
    data = o.encapsulated([b"mpeg", b"more"], frames=250, syntax="1.2.840.10008.1.2.4.102")
    instance, pieces = taken_apart(data)
    assert pieces == [b"mpegmore"]
    assert (instance.pieces[0].kind, instance.pieces[0].tag) == (PieceKind.BULK, 0x7FE00010)
    assert instance.frame_pieces == ()
    assert instance.notes == (notes.VIDEO,)


@given(
    st.lists(st.binary(max_size=12).filter(lambda f: len(f) % 2 == 0), max_size=8),
    st.integers(1, 8),
    st.lists(st.integers(0, 80), max_size=4),
)
def test_any_fragments_come_back(fragments: list[bytes], count: int, offset_table: list[int]) -> None:
    taken_apart(o.encapsulated(fragments, frames=count, offset_table=offset_table))


# -- other values --------------------------------------------------------------------------


def test_large_values_leave_the_header_at_any_depth() -> None:
    large, small = bytes(BULK_MIN_BYTES), bytes(BULK_MIN_BYTES - 2)
    nested = o.explicit(0x00880200, "SQ", o.item(o.explicit(0x00091010, "OB", large)))
    data = o.meta() + o.identifiers() + o.explicit(0x00091001, "UN", large) + o.explicit(0x00091002, "UN", small)
    instance, _ = taken_apart(data + nested + o.explicit(0x00420011, "OB", large + b"ab"))
    assert [piece.tag for piece in instance.pieces] == [0x00091001, 0x00091010, 0x00420011]
    assert {piece.kind for piece in instance.pieces} == {PieceKind.BULK}
    assert instance.metadata["00420011"] == {"vr": "OB", "BulkDataURI": "bulkdata/00420011"}
    inner = instance.metadata["00880200"]["Value"][0]["00091010"]
    assert inner["BulkDataURI"] == "bulkdata/00880200/0/00091010"


def test_a_deflated_object_is_opaque_and_has_frames_all_the_same() -> None:
    engine = zlib.compressobj(wbits=-15)
    pixels = bytes(range(32))
    plain = o.identifiers() + o.picture(4, 4, frames=2) + o.explicit(0x7FE00010, "OB", pixels)
    instance, pieces = taken_apart(o.meta(o.DEFLATED) + engine.compress(plain) + engine.flush())
    assert [(piece.kind, piece.derived) for piece in instance.pieces] == [
        (PieceKind.OPAQUE, False),
        (PieceKind.FRAME, True),
        (PieceKind.FRAME, True),
    ]
    assert [pieces[index] for index in instance.frame_pieces] == [pixels[:16], pixels[16:]]
    assert [hole.piece_index for hole in instance.header.holes] == [0]


def test_a_large_tail_leaves_the_header() -> None:
    data = o.native(bytes(16), rows=4, columns=4) + bytes(BULK_MIN_BYTES)
    instance, _ = taken_apart(data)
    assert [piece.kind for piece in instance.pieces] == [PieceKind.FRAME, PieceKind.OPAQUE]


def test_a_header_larger_than_allowed_is_refused_before_it_is_read() -> None:
    data = o.meta() + o.identifiers() + o.explicit(0x00104000, "LT", bytes(60_000))
    with pytest.raises(LimitExceeded):
        split(BytesSource(data), Limits(max_header_bytes=50_000))


def test_more_frames_than_allowed_are_refused() -> None:
    with pytest.raises(LimitExceeded) as caught:
        split(BytesSource(o.native(bytes(64), rows=1, columns=1, frames=64)), Limits(max_frames=50))
    assert caught.value.limit == "max_frames"


# -- real files ----------------------------------------------------------------------------


def comes_back(path: Path) -> None:
    with FileSource(path) as source:
        try:
            instance = split(source)
        except (MalformedDICOM, MissingIdentifier):
            return
        data = path.read_bytes()
        pieces = [b"".join(read_piece(instance, source, piece)) for piece in instance.pieces]
    again = b"".join(instance.header.reassemble(lambda index, at, n: pieces[index][at : at + n]))
    assert again == data
    assert instance.pixel is None or len(instance.frame_pieces) in (0, instance.pixel.number_of_frames)


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.name)
def test_packaged_files_come_back(path: Path) -> None:
    comes_back(path)


@pytest.mark.data
def test_every_object_comes_back(data_dir: Path) -> None:
    for path in sorted(data_dir.rglob("*")):
        if path.is_file():
            comes_back(path)


def test_odd_frame_of_big_endian_words_keeps_its_last_sample() -> None:
    found = set()
    for name in ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"):
        instance, pieces = taken_apart(next(path.read_bytes() for path in PACKAGED if path.name == name))
        assert instance.pixel is not None
        found.add(pix_of_frame(pieces[instance.frame_pieces[0]], instance.transfer_syntax_uid, instance.pixel))
    assert len(found) == 1
