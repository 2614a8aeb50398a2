from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearframe.errors import BackendFailed
from nearframe.storage.catalogue.values import (
    microseconds,
    moment,
    pack_bulk,
    pack_metadata,
    pack_pieces,
    pack_pixel,
    unpack_bulk,
    unpack_metadata,
    unpack_pieces,
    unpack_pixel,
)
from nearframe.storage.ports import BulkEntry, ContentKind
from tests.unit.storage.catalogue.objects import PIXEL


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_come_back(value: datetime) -> None:
    assert moment(microseconds(value)) == value


def test_times_of_other_zones_are_the_same_moment() -> None:
    local = datetime(2026, 11, 22, 9, tzinfo=timezone(timedelta(hours=1)))
    assert moment(microseconds(local)) == datetime(2026, 11, 22, 8, tzinfo=UTC)


_entries = st.builds(
    BulkEntry,
    st.sampled_from(ContentKind),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**63 - 1),
)


@given(st.lists(_entries, max_size=5).map(tuple))
def test_bulk_entries_come_back(entries: tuple[BulkEntry, ...]) -> None:
    assert unpack_bulk(pack_bulk(entries)) == entries


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5).map(tuple), st.integers(0, 5))
def test_pieces_come_back(pieces: tuple[int, ...], frames: int) -> None:
    assert unpack_pieces(pack_pieces(pieces, frames), frames) == pieces


def test_frames_in_order_take_no_room() -> None:
    assert pack_pieces(tuple(range(100_000)), 100_000) == b""


def test_pixel_descriptions_come_back() -> None:
    assert unpack_pixel(pack_pixel(PIXEL)) == PIXEL
    assert unpack_pixel(pack_pixel(None)) is None


def test_metadata_come_back_in_any_thread() -> None:
    texts = [b"%d" % n * 1000 for n in range(200)]
    with ThreadPoolExecutor(4) as threads:
        packed = list(threads.map(pack_metadata, texts))
        assert list(threads.map(unpack_metadata, packed)) == texts
    assert len(packed[0]) < 100


def test_damaged_metadata_are_not_returned() -> None:
    with pytest.raises(BackendFailed):
        unpack_metadata(b"not zstd")
