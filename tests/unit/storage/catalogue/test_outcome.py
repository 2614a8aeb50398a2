from __future__ import annotations

import pytest

from nearframe.storage.catalogue.outcome import Pixels, compare_pixels
from nearframe.storage.ports import BulkEntry, ContentKind
from nearframe.wire.frametable import FrameTable
from tests.unit.storage.catalogue.objects import bulk, frame_table

NONE: tuple[BulkEntry, ...] = ()
OPAQUE = ContentKind.OPAQUE


@pytest.mark.parametrize(
    ("current", "incoming", "expected"),
    [
        (frame_table("a", "b"), frame_table("a", "b"), Pixels.SAME),
        (frame_table("a", pix=(None,)), frame_table("a", pix=(None,)), Pixels.SAME),
        (frame_table("a", pix=(None,)), frame_table("a"), Pixels.SAME),
        (frame_table("a", "b"), frame_table("A", "b", pix=("a", "b")), Pixels.SAME),
        (frame_table("a", "b"), frame_table("a", "x"), Pixels.DIFFERENT),
        (frame_table("a", "b"), frame_table("b", "a"), Pixels.DIFFERENT),
        (frame_table("a", "b"), frame_table("a"), Pixels.DIFFERENT),
        (frame_table(), frame_table("a"), Pixels.DIFFERENT),
        (frame_table(), frame_table(), Pixels.SAME),
        (frame_table("a"), frame_table("A", pix=(None,)), Pixels.UNKNOWN),
        (frame_table("a", pix=(None,)), frame_table("A", pix=("a",)), Pixels.UNKNOWN),
        # One frame proves the difference, whatever the other would show.
        (frame_table("a", "b"), frame_table("A", "x", pix=(None, "x")), Pixels.DIFFERENT),
    ],
)
def test_frames(current: FrameTable, incoming: FrameTable, expected: Pixels) -> None:
    assert compare_pixels(current, NONE, incoming, NONE) is expected
    assert compare_pixels(incoming, NONE, current, NONE) is expected


@pytest.mark.parametrize(
    ("current", "incoming", "expected"),
    [
        ((bulk(ContentKind.BULK, 1, "a"),), (bulk(ContentKind.BULK, 1, "a"),), Pixels.SAME),
        ((bulk(ContentKind.BULK, 1, "a"),), (bulk(ContentKind.BULK, 1, "b"),), Pixels.DIFFERENT),
        ((bulk(ContentKind.BULK, 1, "a"),), (bulk(ContentKind.BULK, 2, "a"),), Pixels.DIFFERENT),
        ((bulk(ContentKind.BULK, 1, "a"),), NONE, Pixels.DIFFERENT),
        # Deflated: the header is part of the bytes, and the frames have been compared.
        ((bulk(OPAQUE, 0, "deflated"),), (bulk(OPAQUE, 0, "deflated otherwise"),), Pixels.SAME),
        ((bulk(OPAQUE, 0, "deflated"),), NONE, Pixels.SAME),
    ],
)
def test_bulk_values_beside_frames(
    current: tuple[BulkEntry, ...], incoming: tuple[BulkEntry, ...], expected: Pixels
) -> None:
    frames = frame_table("a")
    assert compare_pixels(frames, current, frames, incoming) is expected


def test_what_could_not_be_cut_counts_where_it_is_everything() -> None:
    nothing = frame_table()
    one, other = (bulk(OPAQUE, 0, "x"),), (bulk(OPAQUE, 0, "y"),)
    assert compare_pixels(nothing, one, nothing, one) is Pixels.SAME
    assert compare_pixels(nothing, one, nothing, other) is Pixels.DIFFERENT
