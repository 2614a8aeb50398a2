"""The cursor file: durable, and worth nothing beside another catalogue."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearframe.edge.cursor import MAX_TO_COMPARE, CursorFile, Place
from nearframe.errors import BackendFailed

ORIGIN, OTHER = "http://origin", "http://other"
PLACES = {ORIGIN: Place("abc:17", frozenset({"1.2", "1.3"})), OTHER: Place("def:3", is_anew=True)}


def test_it_comes_back(tmp_path: Path) -> None:
    CursorFile(tmp_path).save("epoch-1", {ORIGIN: Place("abc:1")})
    CursorFile(tmp_path).save("epoch-1", PLACES)
    assert CursorFile(tmp_path).load("epoch-1") == PLACES
    assert [path.name for path in tmp_path.iterdir()] == ["upstream.json"]


def test_it_means_nothing_beside_another_catalogue(tmp_path: Path) -> None:
    CursorFile(tmp_path).save("epoch-1", PLACES)
    assert CursorFile(tmp_path).load("epoch-2") == {}


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"{", b'{"cursor": "a:1"}', b"\xff", b'{"local_epoch": "epoch-1", "upstreams": 7}']
)
def test_what_cannot_be_read_is_no_cursor(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "upstream.json").write_bytes(content)
    assert CursorFile(tmp_path).load("epoch-1") == {}


@pytest.mark.parametrize("cursor", ["nowhere", "", ":7", "e:x", None, 7])
def test_what_no_upstream_takes_is_no_cursor(tmp_path: Path, cursor: object) -> None:
    written = {"local_epoch": "epoch-1", "upstreams": {ORIGIN: {"cursor": cursor, "compare": ["1.2"]}}}
    (tmp_path / "upstream.json").write_text(json.dumps(written))
    assert CursorFile(tmp_path).load("epoch-1") == {ORIGIN: Place()}


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(BackendFailed):
        CursorFile(tmp_path / "nowhere").save("epoch-1", PLACES)


def test_beyond_some_everything_is_compared() -> None:
    place = Place("abc:17")
    for number in range(MAX_TO_COMPARE):
        place = place.but_for(f"1.{number}")
    assert place.but_for("1.0") == place
    assert place.but_for("2.1") == Place()
