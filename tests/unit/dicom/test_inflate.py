"""Inflating within bounds."""

from __future__ import annotations

import gc
import os
import zlib
from pathlib import Path

import pytest

from nearframe.dicom import notes
from nearframe.dicom.inflate import inflate
from nearframe.dicom.limits import Limits
from nearframe.dicom.source import BytesSource
from nearframe.errors import LimitExceeded, MalformedDICOM, NoSpace
from nearframe.storage.scratch import ScratchFolder
from nearframe.units import MIB

TEXT = bytes(range(256)) * 5000


def packed(data: bytes, window_bits: int = -15) -> bytes:
    engine = zlib.compressobj(wbits=window_bits)
    return engine.compress(data) + engine.flush()


@pytest.mark.parametrize("window_bits", [-15, 15])
@pytest.mark.parametrize("tail", [b"", b"\0", b"and more"])
def test_what_was_packed_comes_back(window_bits: int, tail: bytes) -> None:
    found: set[str] = set()
    source = inflate(BytesSource(b"head" + packed(TEXT, window_bits) + tail), 4, Limits(), found)
    assert source.size == len(TEXT)
    assert source.read(1000, 500) == TEXT[1000:1500]
    assert found == ({notes.ZLIB_HEADER} if window_bits > 0 else set())
    with pytest.raises(MalformedDICOM):
        source.read(len(TEXT) - 1, 2)


def test_nothing_inflates_to_nothing() -> None:
    assert inflate(BytesSource(b""), 0, Limits(), set()).size == 0


@pytest.mark.parametrize("data", [packed(TEXT)[:-5], packed(TEXT)[:1], b"\xff\xff\xff", packed(TEXT, 15)[:-8]])
def test_what_is_cut_off_or_no_stream(data: bytes) -> None:
    with pytest.raises(MalformedDICOM):
        inflate(BytesSource(data), 0, Limits(), set())


def test_absolute_size_and_ratio_are_bounded() -> None:
    noise = os.urandom(2 * MIB)
    with pytest.raises(LimitExceeded) as caught:
        inflate(BytesSource(packed(noise)), 0, Limits(max_inflated_bytes=MIB), set())
    assert caught.value.limit == "max_inflated_bytes"
    with pytest.raises(LimitExceeded) as caught:
        inflate(BytesSource(packed(bytes(40 * MIB))), 0, Limits(), set())
    assert caught.value.limit == "max_inflate_ratio"
    assert inflate(BytesSource(packed(bytes(30 * MIB))), 0, Limits(), set()).size == 30 * MIB


def open_descriptors() -> int:
    """Count what this process has open, without what others left to the collector of garbage."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_a_large_data_set_goes_to_a_file_that_goes_with_it(tmp_path: Path) -> None:
    before = open_descriptors()
    data = os.urandom(9 * MIB)
    source = inflate(BytesSource(packed(data)), 0, Limits(scratch=ScratchFolder(tmp_path).open), set())
    assert source.size == 9 * MIB
    assert source.read(8 * MIB - 10, 20) == data[8 * MIB - 10 : 8 * MIB + 10]
    assert source.read(9 * MIB - 5, 5) == data[-5:]
    assert open_descriptors() == before + 1
    del source
    assert open_descriptors() == before


def test_a_data_set_that_the_disk_has_no_room_for_is_refused(tmp_path: Path) -> None:
    before = open_descriptors()
    full = ScratchFolder(tmp_path, reserve_bytes=1 << 62)
    with pytest.raises(NoSpace):
        inflate(BytesSource(packed(os.urandom(9 * MIB))), 0, Limits(scratch=full.open), set())
    assert inflate(BytesSource(packed(TEXT)), 0, Limits(scratch=full.open), set()).size == len(TEXT), "fits memory"
    assert open_descriptors() == before
