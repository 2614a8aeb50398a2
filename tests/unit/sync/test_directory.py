"""Which nodes are known, for how long, and in which order they are asked."""

from __future__ import annotations

from typing import Any

import pytest

from nearframe.clock import ManualClock
from nearframe.errors import Busy, ConfigurationError, MalformedRequest
from nearframe.sync.directory import (
    ANNOUNCED_EVERY_S,
    MAX_ANNOUNCED,
    Directory,
    Listed,
    configured,
    ranked,
    read_listed,
)

WARD = Listed("ward", "http://ward.example:8043", ("10.1.0.0/16", "2001:db8:1::/48"), rank=2)
CLINIC = Listed("clinic", "https://clinic.example", ("10.2.0.0/16",), rank=1)
ARCHIVE = Listed("archive", "https://archive.example/pacs", rank=0, role="origin")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", [WARD, CLINIC, ARCHIVE]),
        ("2001:db8:1::7", [WARD, CLINIC, ARCHIVE]),
        ("10.2.0.1", [CLINIC, WARD, ARCHIVE]),
        ("192.0.2.1", [CLINIC, WARD, ARCHIVE]),
        ("", [CLINIC, WARD, ARCHIVE]),
    ],
)
def test_own_networks_first_then_rank_and_the_archive_last(address: str, expected: list[Listed]) -> None:
    assert ranked([ARCHIVE, CLINIC, WARD], address) == expected


@pytest.mark.parametrize("node", [WARD, CLINIC, ARCHIVE])
def test_what_is_written_is_read(node: Listed) -> None:
    assert read_listed(node.as_json()) == node


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": None},
        {"name": "a b"},
        {"name": "x" * 65},
        {"url": "ftp://ward.example"},
        {"url": "http://user:secret@ward.example"},
        {"url": "http://ward.example/?q"},
        {"url": "http://" + "w" * 2000},
        {"url": 7},
        {"networks": ["10.1.0.1/16"]},
        {"networks": ["everywhere"]},
        {"networks": ["10.0.0.0/8"] * 65},
        {"networks": 7},
        {"rank": -1},
        {"rank": True},
        {"rank": "first"},
        {"role": "king"},
        {"colour": "red"},
    ],
)
def test_what_is_no_node_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedRequest):
        read_listed(WARD.as_json() | change)


def test_a_table_of_the_settings_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigurationError, match="table 2: url"):
        configured([CLINIC.as_json(), {"name": "ward"}])


def test_an_edge_that_falls_silent_is_forgotten() -> None:
    clock = ManualClock()
    directory = Directory([CLINIC], clock)
    directory.announced(WARD)
    clock.advance(2 * ANNOUNCED_EVERY_S)
    assert directory.known() == [CLINIC, WARD]
    clock.advance(ANNOUNCED_EVERY_S)
    assert directory.known() == [CLINIC]


def test_our_own_settings_win() -> None:
    directory = Directory([CLINIC], ManualClock())
    directory.announced(Listed("other", CLINIC.url, rank=9))
    directory.told("http://origin", [Listed("other", CLINIC.url, rank=8), ARCHIVE])
    assert directory.known() == [CLINIC, ARCHIVE]
    assert directory.web_origins() == {"https://clinic.example", "https://archive.example"}


def test_who_asks_is_not_told_of_itself() -> None:
    directory = Directory([CLINIC, WARD], ManualClock())
    assert directory.known(besides=CLINIC) == [WARD]
    assert directory.known(besides=Listed("ward", "http://another.example")) == [CLINIC]


def test_what_an_upstream_told_is_kept_until_it_tells_something_else() -> None:
    directory = Directory([], ManualClock())
    directory.told("http://one", [WARD])
    directory.told("http://two", [ARCHIVE])
    directory.told("http://one", [CLINIC])
    assert directory.known() == [CLINIC, ARCHIVE]


def test_announcements_are_bounded() -> None:
    directory = Directory([], ManualClock())
    for number in range(MAX_ANNOUNCED):
        directory.announced(Listed(f"edge-{number}", f"http://edge-{number}.example"))
    directory.announced(Listed("edge-0", "http://edge-0.example"))
    with pytest.raises(Busy):
        directory.announced(WARD)
