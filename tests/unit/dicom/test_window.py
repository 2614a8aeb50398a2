"""What is read while walking, counted."""

from __future__ import annotations

import pytest

from nearframe.dicom.part10 import parse
from nearframe.dicom.source import BytesSource
from nearframe.dicom.window import FIRST_BLOCK_BYTES, PROBE_BYTES, Window
from nearframe.errors import LimitExceeded
from nearframe.units import KIB, MIB
from tests.unit.dicom import objects as o


class CountingSource(BytesSource):
    """Remembers what was read."""

    __slots__ = ("reads",)

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read(offset, length)


def test_a_small_header_is_read_once() -> None:
    source = CountingSource(o.native(bytes(10 * MIB), rows=1024, columns=10240))
    parse(source)
    assert source.reads == [(0, FIRST_BLOCK_BYTES)]


def test_large_values_are_not_read() -> None:
    large = o.explicit(0x00091010, "OB", bytes(MIB))
    source = CountingSource(o.meta() + large + o.identifiers() + o.explicit(0x7FE00010, "OB", bytes(MIB)))
    part10 = parse(source)
    assert sum(length for _, length in source.reads) <= FIRST_BLOCK_BYTES + PROBE_BYTES
    assert part10.dataset.text(0x0020000D) == o.STUDY


def test_between_fragments_only_item_tags_are_read() -> None:
    source = CountingSource(o.encapsulated([bytes(100 * KIB)] * 50, frames=50))
    parse(source)
    assert sum(length for _, length in source.reads) <= FIRST_BLOCK_BYTES + 51 * 8


def test_a_long_header_is_read_in_growing_blocks() -> None:
    elements = b"".join(o.explicit(0x00090000 + (n << 17) + 0x10, "LO", bytes(5000)) for n in range(1000))
    source = CountingSource(o.meta() + elements)
    part10 = parse(source)
    assert len(part10.dataset.elements) == 1000
    assert len(part10.dataset.head) == source.size
    assert len(source.reads) < 12


def test_the_budget_bounds_what_is_read() -> None:
    window = Window(BytesSource(bytes(MIB)), 100_000)
    with pytest.raises(LimitExceeded):
        for at in range(0, MIB, 1000):
            window.cover(at, 12)
