from __future__ import annotations

import pytest

from nearframe.wire.contentcoding import choose_coding

AVAILABLE = ("br", "zstd", "gzip")
CHOICES = [
    (None, "identity"),
    ("", "identity"),
    ("gzip, deflate", "gzip"),
    ("gzip, deflate, br, zstd", "br"),
    ("gzip;q=1.0, br;q=0.5", "gzip"),
    ("*", "br"),
    ("br;q=0, *", "zstd"),
    ("gzip;q=0", "identity"),
    ("identity;q=0.5, gzip;q=0.1", "identity"),
    ("x-gzip", "gzip"),
    ("GZIP", "gzip"),
    ("gzip;q=rubbish", "gzip"),
    ("deflate", "identity"),
    (", ,", "identity"),
]


@pytest.mark.parametrize(("header", "coding"), CHOICES)
def test_coding(header: str | None, coding: str) -> None:
    assert choose_coding(header, AVAILABLE) == coding
