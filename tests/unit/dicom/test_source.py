"""Sources of an object's bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nearframe.dicom.model import Slice, Source
from nearframe.dicom.source import BytesSource, FileSource, read_slices
from nearframe.errors import MalformedDICOM

DATA = bytes(range(200))


@pytest.fixture(params=["bytes", "file"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    if request.param == "bytes":
        return BytesSource(DATA)
    path = tmp_path / "object"
    path.write_bytes(DATA)
    opened = FileSource(path)
    request.addfinalizer(opened.close)
    return opened


def test_ranges(source: Source) -> None:
    assert source.size == 200
    assert source.read(0, 200) == DATA
    assert source.read(10, 5) == DATA[10:15]
    assert source.read(200, 0) == b""


@pytest.mark.parametrize(("offset", "length"), [(0, 201), (199, 2), (300, 1), (0, 2**40)])
def test_a_range_beyond_the_end(source: Source, offset: int, length: int) -> None:
    with pytest.raises(MalformedDICOM):
        source.read(offset, length)


def test_slices_come_in_bounded_chunks(source: Source) -> None:
    chunks = list(read_slices(source, (Slice(0, 25), Slice(100, 10)), 10))
    assert [len(chunk) for chunk in chunks] == [10, 10, 5, 10]
    assert b"".join(chunks) == DATA[:25] + DATA[100:110]


def test_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(DATA)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with FileSource(path) as source:
            source.read(0, 1)
        source.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_shrank_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(DATA)
    with FileSource(path) as source:
        path.write_bytes(DATA[:50])
        with pytest.raises(MalformedDICOM):
            source.read(40, 100)
