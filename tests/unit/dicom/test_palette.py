from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels.processing import apply_color_lut

from nearframe.dicom.palette import MAX_ENTRIES, expand_segments, palette_of
from nearframe.errors import MalformedDICOM
from tests.frame_samples import packaged


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def test_agrees_with_pydicom() -> None:
    sample = packaged("examples_palette.dcm")
    dataset = sample.dataset
    palette = palette_of(
        tuple(dataset.RedPaletteColorLookupTableDescriptor),
        dataset.RedPaletteColorLookupTableData,
        dataset.GreenPaletteColorLookupTableData,
        dataset.BluePaletteColorLookupTableData,
    )
    indices = sample.reference()
    theirs = apply_color_lut(indices, dataset)
    np.testing.assert_array_equal(palette.apply(indices), theirs >> 8)


def test_indices_outside_get_the_ends() -> None:
    palette = palette_of((2, 10, 16), words(0x1000, 0x2000), words(0, 0), words(0xFF00, 0xFF00))
    assert palette.apply(np.array([[0, 10, 11, 99]], np.uint8))[0, :, 0].tolist() == [0x10, 0x10, 0x20, 0x20]


def test_eight_bit_entries_packed_or_in_words() -> None:
    packed = palette_of((4, 0, 8), b"\1\2\3\4", b"\1\2\3\4", b"\1\2\3\4")
    wide = palette_of((4, 0, 16), *[words(1, 2, 3, 4)] * 3)
    assert packed.colours.tolist() == wide.colours.tolist() == [[n, n, n] for n in (1, 2, 3, 4)]


def test_zero_entries_means_all() -> None:
    table = words(*range(65536))
    assert len(palette_of((0, 0, 16), table, table, table).colours) == MAX_ENTRIES


def test_empty_table_is_malformed() -> None:
    with pytest.raises(MalformedDICOM):
        palette_of((2, 0, 16), b"", b"", b"")


def test_segments() -> None:
    # PS3.3 C.7.9.2: discrete 1 2; linear, 4 entries up to 10; both again by reference.
    data = words(0, 2, 1, 2, 1, 4, 10, 2, 2, 0, 0)
    assert np.frombuffer(expand_segments(data, 12), "<u2").tolist() == [1, 2, 4, 6, 8, 10] * 2


@pytest.mark.parametrize(
    "data",
    [
        words(0, 5, 1),
        words(1, 5, 1),
        words(7, 1, 1),
        words(2, 1, 0),
        words(2, 1, 0, 0),
        words(0, 60000, *[1] * 60000, 0, 60000, *[1] * 60000),
    ],
)
def test_malformed_segments(data: bytes) -> None:
    with pytest.raises(MalformedDICOM):
        expand_segments(data, 256)


@given(st.binary(max_size=60))
def test_any_bytes_expand_or_are_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedDICOM):
        assert len(expand_segments(data, 256)) <= 512
