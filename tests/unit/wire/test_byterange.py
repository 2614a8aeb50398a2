from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import RangeNotSatisfiable
from nearframe.wire.byterange import MAX_RANGES, ByteRange, requested_ranges, unsatisfied_content_range

SIZE = 1000
ANSWERS = [
    (None, ()),
    ("bytes=0-0", ((0, 1),)),
    ("bytes=0-", ((0, 1000),)),
    ("bytes=10-19", ((10, 20),)),
    ("bytes=990-5000", ((990, 1000),)),
    ("bytes=-10", ((990, 1000),)),
    ("bytes=-5000", ((0, 1000),)),
    ("BYTES = 0-9", ((0, 10),)),
    ("bytes=0-9,20-29", ((0, 10), (20, 30))),
    ("bytes=20-29 , 0-9", ((20, 30), (0, 10))),
    ("bytes=0-9,10-19", ((0, 20),)),
    ("bytes=0-99,50-149,-1", ((0, 150), (999, 1000))),
    ("bytes=500-,0-9,490-499", ((490, 1000), (0, 10))),
    ("bytes=0-9,5000-6000", ((0, 10),)),
    ("bytes=,0-9,", ((0, 10),)),
    # malformed or of another unit: ignored
    ("bytes=9-0", ()),
    ("bytes=", ()),
    ("bytes", ()),
    ("bytes=a-b", ()),
    ("bytes=-", ()),
    ("bytes=0-9;20-29", ()),
    ("bytes=+1-2", ()),
    ("items=0-9", ()),
    ("bytes=0-" + "9" * 30, ()),
    ("bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(MAX_RANGES + 1)), ()),
    ("bytes=" + "0-0," * 1000, ()),
]


@pytest.mark.parametrize(("header", "expected"), ANSWERS)
def test_ranges(header: str | None, expected: tuple[tuple[int, int], ...]) -> None:
    assert requested_ranges(header, SIZE) == tuple(ByteRange(*pair) for pair in expected)


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-2000,3000-", "bytes=-0"])
def test_outside_the_representation(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        requested_ranges(header, SIZE)
    assert unsatisfied_content_range(caught.value.size) == "bytes */1000"


def test_nothing_can_be_cut_from_an_empty_representation() -> None:
    with pytest.raises(RangeNotSatisfiable):
        requested_ranges("bytes=0-", 0)


@pytest.mark.parametrize(
    ("if_range", "etag", "partial"),
    [
        ('"a"', '"a"', True),
        (' "a" ', '"a"', True),
        ('"b"', '"a"', False),
        ('W/"a"', 'W/"a"', False),
        ('"a"', None, False),
        ("Sun, 06 Nov 1994 08:49:37 GMT", '"a"', False),
    ],
)
def test_if_range(if_range: str, etag: str | None, partial: bool) -> None:
    assert bool(requested_ranges("bytes=0-9", SIZE, if_range=if_range, etag=etag)) is partial


def test_content_range() -> None:
    assert ByteRange(10, 20).content_range(SIZE) == "bytes 10-19/1000"
    assert len(ByteRange(10, 20)) == 10


@given(st.text(max_size=60), st.integers(0, 10**12))
def test_any_header_gives_ranges_inside_or_none(text: str, size: int) -> None:
    try:
        ranges = requested_ranges("bytes=" + text, size)
    except RangeNotSatisfiable:
        return
    assert all(0 <= found.start < found.stop <= size for found in ranges)
    ordered = sorted(ranges)
    assert all(left.stop < right.start for left, right in itertools.pairwise(ordered))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8))
def test_merged_ranges_cover_exactly_what_was_asked(pairs: list[tuple[int, int]]) -> None:
    asked = [(min(pair), max(pair)) for pair in pairs]
    header = "bytes=" + ",".join(f"{first}-{last}" for first, last in asked)
    found = requested_ranges(header, 100)
    assert {n for r in found for n in range(r.start, r.stop)} == {n for a, b in asked for n in range(a, b + 1)}
