"""The cursor file: durable, and worth nothing beside another upstream or catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearframe.edge.cursor import CursorFile, Followed
from nearframe.errors import BackendFailed

HERE = Followed("http://origin", "epoch-1", "abc:17")


def test_it_comes_back(tmp_path: Path) -> None:
    CursorFile(tmp_path).save(HERE)
    CursorFile(tmp_path).save(Followed("http://origin", "epoch-1", "abc:18"))
    assert CursorFile(tmp_path).load("http://origin", "epoch-1") == "abc:18"
    assert [path.name for path in tmp_path.iterdir()] == ["upstream.json"]


@pytest.mark.parametrize(("upstream", "epoch"), [("http://other", "epoch-1"), ("http://origin", "epoch-2")])
def test_it_means_nothing_elsewhere(tmp_path: Path, upstream: str, epoch: str) -> None:
    CursorFile(tmp_path).save(HERE)
    assert CursorFile(tmp_path).load(upstream, epoch) is None


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{", b'{"cursor": "a:1"}', b"\xff"])
def test_what_cannot_be_read_is_no_cursor(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "upstream.json").write_bytes(content)
    assert CursorFile(tmp_path).load("http://origin", "epoch-1") is None


@pytest.mark.parametrize("cursor", ["nowhere", "", ":7", "e:x"])
def test_what_no_upstream_takes_is_no_cursor(tmp_path: Path, cursor: str) -> None:
    CursorFile(tmp_path).save(Followed("http://origin", "epoch-1", cursor))
    assert CursorFile(tmp_path).load("http://origin", "epoch-1") is None


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackendFailed):
        CursorFile(tmp_path / "nowhere").save(HERE)
