"""Values of the storage ports."""

import pytest

from nearframe.storage.ports import FeedCursor


def test_a_cursor_reads_back() -> None:
    cursor = FeedCursor("3f:a", 12)
    assert FeedCursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "a", ":1", "a:", "a:-1", "a:1.0", "a:²", "a:" + "9" * 20])
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        FeedCursor.parse(text)
